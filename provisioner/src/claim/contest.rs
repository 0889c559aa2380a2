//! With a provisioner on each node, a claim with immediate binding is for the node that is first to select itself
//! (docs/upstream/provisioner.md, "Node deployment").

use base::queue::Outcome;
use csi::{grpc_text, v1};
use kubernetes::api;
use kubernetes::object::annotation::SELECTED_NODE;
use kubernetes::object::{Claim, Class};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::name::volume_name;
use super::reconcile::Claims;
use super::request::{Prepared, prepare};
use super::reschedule::Edited;
use crate::node::NodeSettings;

impl Claims {
    /// Waits, looks whether there is room here, and selects this node for the claim. The claim then comes back as this
    /// node's own, or as another's.
    ///
    /// `Differs:` upstream holds a worker while it waits. Where no node has room, it looks again when the claim changes, and
    /// every 15 minutes; we look again also after shorter pauses, which grow up to that.
    pub(super) async fn contend(&self, claim: &Claim, class: &Class, node: &NodeSettings) -> Outcome {
        let uid = &claim.meta.uid;
        if let Some(left) = self.memory().contest(uid, node, Instant::now()) {
            return Outcome::After(left);
        }
        match self.select_own(claim, class, node).await {
            Ok(Some(Edited::Done | Edited::Not | Edited::Gone)) => {
                self.memory().end_contest(uid);
                Outcome::Done
            }
            Ok(Some(Edited::Conflict)) => Outcome::After(self.memory().lose(uid, node, Instant::now())),
            Ok(None) => Outcome::After(self.memory().no_room(uid, self.config.backoff.base)),
            // We may have failed only because we no longer lead; the next leader goes on.
            Err(_) if !self.seat.leadership.holds() => Outcome::Retry,
            Err(error) => {
                base::error!(api::text(&error), "Cannot select this node for the claim; will retry"; "claim" => claim.meta.key);
                Outcome::Retry
            }
        }
    }

    /// `None`: there is no room here.
    async fn select_own(
        &self,
        claim: &Claim,
        class: &Class,
        node: &NodeSettings,
    ) -> Result<Option<Edited>, api::Error> {
        if !self.has_room(claim, class, node).await {
            base::v!(4, "No room on this node for the claim"; "claim" => claim.meta.key);
            return Ok(None);
        }
        let edited = self.edit(&claim.meta, |live| select(live, &node.name)).await?;
        if edited == Edited::Done {
            base::info!("Selected this node for the claim"; "claim" => claim.meta.key, "node" => node.name);
        }
        Ok(Some(edited))
    }

    /// Whether the driver has room for the claim in one of the places that it may be in. If no request can be made for the
    /// claim, or if the driver cannot tell, the owner finds out and says so in an event: somebody has to be that.
    async fn has_room(&self, claim: &Claim, class: &Class, node: &NodeSettings) -> bool {
        let Some(Prepared { request, placement, bytes, .. }) = self.prepared_here(claim, class, node).await
        else {
            return true;
        };
        if bytes == 0 {
            return true;
        }
        let places = placement.map(|placement| placement.requirement().requisite).unwrap_or_default();
        let places = if places.is_empty() { vec![None] } else { places.into_iter().map(Some).collect() };
        for accessible_topology in places {
            let request = v1::GetCapacityRequest {
                volume_capabilities: request.volume_capabilities.clone(),
                parameters: request.parameters.clone(),
                accessible_topology,
            };
            match self.seat.driver.call(request, self.config.timeout).await {
                Ok(said) if said.available_capacity < bytes => {}
                Ok(_) => return true,
                Err(status) => {
                    base::v!(3, "GetCapacity failed; selecting this node all the same";
                        "claim" => claim.meta.key, "err" => grpc_text(&status));
                    return true;
                }
            }
        }
        false
    }

    async fn prepared_here(&self, claim: &Claim, class: &Class, node: &NodeSettings) -> Option<Prepared> {
        let name = volume_name(&self.config, &claim.meta.uid.to_string())?;
        let known = self.nodes.as_ref().map(|nodes| nodes.known(Some(&node.name))).unwrap_or_default();
        let found = self.found(claim, false).await.ok()?;
        prepare(&self.config, claim, class, name, &known, &found).ok()
    }
}

/// Selects the node in the live claim, unless one is selected.
fn select(live: &mut Value, node: &str) -> bool {
    let Some(metadata) = live.get_mut("metadata").and_then(Value::as_object_mut) else { return false };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    let Some(annotations) = annotations.as_object_mut() else { return false };
    let selected = annotations.get(SELECTED_NODE).and_then(Value::as_str).unwrap_or_default();
    if !selected.is_empty() {
        return false;
    }
    annotations.insert(SELECTED_NODE.to_owned(), json!(node));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_selected_only_where_none_is() {
        let selected = |node: &str| json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
        for (mut live, done, expected) in [
            (json!({"metadata": {}}), true, selected("node-1")),
            (selected(""), true, selected("node-1")),
            (selected("node-2"), false, selected("node-2")),
            (selected("node-1"), false, selected("node-1")),
        ] {
            assert_eq!((select(&mut live, "node-1"), live), (done, expected));
        }
    }
}

//! Asks the scheduler to choose another node for a claim (docs/upstream/provisioner.md, "Outcome").

use std::time::Duration;

use kubernetes::api;
use kubernetes::collection::{Collection, Written};
use kubernetes::object::annotation::SELECTED_NODE;
use kubernetes::object::{Claim, Meta, WireClaim, WireCsiNode};
use serde_json::Value;
use tokio::time::sleep;

use super::reconcile::Claims;

/// Pauses between the tries when somebody else changes the claim at the same time. Each is up to a tenth longer.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(50), Duration::from_millis(250)];

/// What became of a change to a claim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Edited {
    /// It is made.
    Done,
    /// The claim is gone: with this change, which took off its last finalizer, or before it.
    Gone,
    /// There is nothing to change: the claim is gone, another, or no longer what it was.
    Not,
    /// Somebody else changed the claim at the same time.
    Conflict,
}

impl Claims {
    /// Whether the API server has no such CSINode. Our cache may be late.
    ///
    /// `Differs:` upstream believes its cache.
    pub(super) async fn is_gone(&self, node: &str) -> bool {
        matches!(self.seat.objects.exists::<WireCsiNode>("", node).await, Ok(false))
    }

    /// Removes the selected node from the claim. False means: try the claim again, as after any error.
    ///
    /// `Differs:` upstream compares neither the claim's uid nor the node, so that a newer choice, or a new claim of that
    /// name, loses its annotation.
    pub(super) async fn reschedule(&self, claim: &Claim) -> bool {
        for pause in PAUSES.map(Some).into_iter().chain([None]) {
            match self.unselect(claim).await {
                Ok(Edited::Done) => {
                    base::info!("Asked the scheduler for another node"; "claim" => claim.meta.key);
                    return true;
                }
                Ok(Edited::Not | Edited::Gone) => return false,
                Ok(Edited::Conflict) => {}
                Err(error) => {
                    base::error!(api::text(&error), "Cannot remove the selected node from the claim; will retry";
                        "claim" => claim.meta.key);
                    return false;
                }
            }
            if let Some(pause) = pause {
                sleep(pause.mul_f64(1.0 + fastrand::f64() / 10.0)).await;
            }
        }
        base::warn!("Cannot remove the selected node from the claim: it keeps changing; will retry"; "claim" => claim.meta.key);
        false
    }

    async fn unselect(&self, claim: &Claim) -> Result<Edited, api::Error> {
        self.edit(&claim.meta, |live| remove_selected(live, claim)).await
    }

    /// Changes the claim as the API server has it. `change` says whether it did.
    pub(super) async fn edit(
        &self,
        meta: &Meta,
        change: impl FnOnce(&mut Value) -> bool,
    ) -> Result<Edited, api::Error> {
        let (namespace, name) = (meta.namespace(), meta.name());
        let Some(mut live) = self.seat.objects.raw::<WireClaim>(namespace, name).await? else {
            return Ok(Edited::Not);
        };
        let uid = live.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
        if meta.uid != uid.into() || !change(&mut live) {
            return Ok(Edited::Not);
        }
        let claims = Collection::new(self.seat.objects.clone(), self.claims.clone());
        match claims.replace(meta, "", &live).await {
            Ok(Written::Kept { .. }) => Ok(Edited::Done),
            Ok(Written::Gone) => Ok(Edited::Gone),
            Err(error) if api::is(&error, 409) => Ok(Edited::Conflict),
            Err(error) => Err(error),
        }
    }
}

/// Takes the annotation off the live claim, if that has the same node as the one that was tried.
fn remove_selected(live: &mut Value, tried: &Claim) -> bool {
    let Some(chosen) = tried.meta.annotations.get(SELECTED_NODE) else { return false };
    let annotations = live.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    annotations.is_some_and(|annotations| {
        let same = annotations.get(SELECTED_NODE).and_then(Value::as_str) == Some(chosen);
        same && annotations.remove(SELECTED_NODE).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::claim_from;
    use serde_json::json;

    #[test]
    fn only_the_choice_that_was_tried_is_removed() {
        let tried = claim_from(json!({SELECTED_NODE: "node-1"}), json!({}));
        let live =
            |uid: &str, annotations: Value| json!({"metadata": {"uid": uid, "annotations": annotations}});
        let selected = |node: &str| json!({SELECTED_NODE: node, "other": "stays"});
        for (name, mut object, removed) in [
            ("same", live("testid", selected("node-1")), true),
            ("a newer choice", live("testid", selected("node-2")), false),
            ("gone already", live("testid", json!({"other": "stays"})), false),
            ("no annotations", live("testid", Value::Null), false),
        ] {
            let before = object.clone();
            assert_eq!(remove_selected(&mut object, &tried), removed, "{name}");
            let expected = if removed { live("testid", json!({"other": "stays"})) } else { before };
            assert_eq!(object, expected, "{name}");
        }
        let by_alpha = claim_from(json!({"volume.alpha.kubernetes.io/selected-node": "node-1"}), json!({}));
        assert!(!remove_selected(&mut live("testid", selected("node-1")), &by_alpha));
    }
}

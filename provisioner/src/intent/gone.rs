//! Deletes the empty Leases of nodes that are gone.
//!
//! With a provisioner on each node, each deletes its own Leases when they are empty. A node that is lost cannot. So every
//! provisioner looks about once a day, at a random time, and the first that sees such a Lease deletes it. It may if its role
//! allows it to list and delete Leases, and to get CSINodes. A node is gone when it has no CSINode. A Lease is deleted as it was
//! seen, or not at all; not one that was written to within a day; and only one that says itself which driver's and node's it is,
//! because the names of two drivers' Leases can look alike. Of a node that has left a request, all Leases stay.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kubernetes::api;
use kubernetes::lease::Lease;
use kubernetes::object::WireCsiNode;
use tokio::time::sleep;

use super::log::Intents;
use super::place::{DRIVER, NODE, Place};
use super::read::intents_of;

/// How often each provisioner looks. A look lists the Leases of the namespace.
const PERIOD: Duration = Duration::from_secs(24 * 3600);

/// A Lease as it was seen.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    name: String,
    version: String,
}

/// The Leases of each other node that has empty ones only, the last of them first: those before it may be needed as long as it is there.
fn left_empty(place: &Place, leases: Vec<Lease>, now: Timestamp) -> BTreeMap<String, Vec<Seen>> {
    let mut nodes: BTreeMap<String, Option<BTreeMap<usize, Seen>>> = BTreeMap::new();
    for lease in leases {
        let name = lease.metadata.name.clone().unwrap_or_default();
        let Some((node, page)) = place.other_node(&name) else { continue };
        let is_empty = is_of(&lease, place, node);
        let seen =
            Seen { version: lease.metadata.resource_version.clone().unwrap_or_default(), name: name.clone() };
        let is_empty = is_empty && !is_fresh(&lease, now) && intents_of(lease).is_empty();
        let known = nodes.entry(node.to_owned()).or_insert_with(|| Some(BTreeMap::new()));
        match known {
            Some(pages) if is_empty => drop(pages.insert(page, seen)),
            Some(_) | None => *known = None,
        }
    }
    let last_first = |pages: BTreeMap<usize, Seen>| pages.into_values().rev().collect();
    nodes.into_iter().filter_map(|(node, pages)| Some((node, last_first(pages?)))).collect()
}

/// Whether the Lease was written to within a day: its node is there, or some other day will do.
fn is_fresh(lease: &Lease, now: Timestamp) -> bool {
    let written = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    written.is_some_and(|written| now.duration_since(written.0).as_hours() < 24)
}

/// Whether the Lease says that it is this driver's and this node's.
fn is_of(lease: &Lease, place: &Place, node: &str) -> bool {
    let (labels, annotations) = (&lease.metadata.labels, &lease.metadata.annotations);
    let driver = labels.as_ref().and_then(|labels| labels.get(DRIVER));
    let named = annotations.as_ref().and_then(|annotations| annotations.get(NODE));
    driver == Some(&place.driver_label()) && named.is_some_and(|named| named == node)
}

impl Intents {
    /// Deletes the empty Leases of nodes that are gone, from time to time. Never ends.
    pub(crate) async fn sweep(&self) {
        let Some(place) = self.place.as_ref().filter(|place| place.shared.is_some()) else {
            return std::future::pending().await;
        };
        sleep(PERIOD.mul_f64(fastrand::f64())).await;
        let mut is_told = false;
        loop {
            match self.sweep_once(place).await {
                Err(error) if api::is(&error, 403) && !std::mem::replace(&mut is_told, true) => {
                    base::info!("Empty Leases of nodes that are gone stay: csi-provisioner may not list and delete Leases in this namespace, or get CSINodes";
                        "namespace" => place.namespace, "err" => api::text(&error));
                }
                Err(error) => {
                    base::v!(2, "Cannot look for Leases of nodes that are gone"; "err" => api::text(&error));
                }
                Ok(()) => {}
            }
            sleep(PERIOD.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    async fn sweep_once(&self, place: &Place) -> Result<(), api::Error> {
        if self.state().keeps {
            return Ok(());
        }
        let (leases, _) = self.objects.list::<Lease>(&place.namespace).await?;
        for (node, leases) in left_empty(place, leases, Timestamp::now()) {
            if self.objects.get::<WireCsiNode>("", &node).await?.is_some() {
                continue;
            }
            for Seen { name, version } in leases {
                match self.objects.delete_unchanged::<Lease>(&place.namespace, &name, &version).await {
                    Ok(()) => {
                        base::info!("Deleted an empty Lease of a node that is gone"; "lease" => name, "node" => node);
                    }
                    Err(error) if api::is(&error, 403) => {
                        self.state().keeps = true;
                        return Err(error);
                    }
                    // It is written to: the node is there. Or what is wrong concerns this Lease; those before it wait.
                    Err(error) => {
                        base::v!(2, "Cannot delete an empty Lease of a node that is gone"; "lease" => name, "err" => api::text(&error));
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lease(name: &str, driver: &str, node: &str, intent: bool) -> Lease {
        let mut annotations = json!({NODE: node});
        if intent {
            annotations["intent.mooring.dev/a.b"] = json!("x");
        }
        serde_json::from_value(json!({
            "metadata": {
                "name": format!("mooring-intents-{name}"), "resourceVersion": "7", "labels": {DRIVER: driver},
                "annotations": annotations,
            },
        }))
        .unwrap()
    }

    #[test]
    fn only_nodes_with_nothing_but_empty_leases_are_found() {
        let place = Place::new("ns".into(), "driver", Some("own"));
        let leases = vec![
            lease("driver-a-0", "driver", "a", false),
            lease("driver-a-12", "driver", "a", false),
            lease("driver-a-2", "driver", "a", false),
            lease("driver-own-0", "driver", "own", false),
            lease("driver-0", "driver", "", false),
            lease("driver-open-0", "driver", "open", false),
            lease("driver-open-1", "driver", "open", true),
            lease("driver-two-0", "driver-two", "", false),
            lease("driver-x-0", "driver-x", "x", false),
            lease("driver-y-0", "driver", "z", false),
        ];
        let found = left_empty(&place, leases, Timestamp::now());
        let names: Vec<&str> = found.values().flatten().map(|seen| &*seen.name).collect();
        assert_eq!(names, ["12", "2", "0"].map(|page| format!("mooring-intents-driver-a-{page}")));
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["a"]);
    }
}

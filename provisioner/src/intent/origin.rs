//! Whether a Lease was written by a csi-provisioner of this cluster, and lately.
//!
//! A backup of the Leases may be restored into another cluster that uses the same storage. There the claims and volumes of the
//! first cluster are unknown: whoever believed such a Lease would take a volume that is in use for one that nobody has.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kubernetes::lease::Lease;
use serde_json::{Value, json};

use super::place::{DRIVER, MANAGED_BY, NODE, Place};

/// The annotation that holds the uid of the Lease that it is on; on one that was written once only, that of the driver's first
/// Lease. Nobody can choose the uid of a new object, so it is wrong on each copy.
const UID: &str = "mooring.dev/lease-uid";
/// What Velero leaves out.
const NO_BACKUP: &str = "velero.io/exclude-from-backup";
/// What nobody has written to for so long is not believed: too much may have happened at the driver meanwhile.
const OLD: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Where a Lease comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was written where it is.
    Here,
    /// It is a copy of another Lease, or a csi-provisioner that wrote no uids has written it.
    Copy,
    /// It was last written so many days ago.
    Old(i64),
}

/// The Lease as it is to be stored. Without a version it is a new one. `uid`: its own, or that of the driver's first Lease.
pub(super) fn body<'a>(
    place: &'a Place,
    name: &str,
    mut annotations: BTreeMap<&'a str, &'a str>,
    version: Option<&str>,
    uid: Option<&'a str>,
) -> Value {
    annotations.extend(uid.map(|uid| (UID, uid)));
    annotations.extend(place.node.as_deref().map(|node| (NODE, node)));
    let (managed_by, us) = MANAGED_BY;
    let labels = json!({NO_BACKUP: "true", managed_by: us, DRIVER: place.driver_label()});
    let now = Timestamp::now();
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": name, "namespace": place.namespace, "annotations": annotations, "labels": labels,
            "resourceVersion": version,
        },
        "spec": {"renewTime": format!("{now:.6}")},
    })
}

/// Where this Lease comes from. `first`: the uid of the driver's first Lease, if there is one.
pub(super) fn origin_of(lease: &Lease, first: Option<&str>, now: Timestamp) -> Origin {
    let metadata = &lease.metadata;
    let named = metadata.annotations.as_ref().and_then(|annotations| annotations.get(UID));
    let is_ours = |named: &String| metadata.uid.as_ref() == Some(named) || first == Some(named);
    if !named.is_some_and(is_ours) {
        return Origin::Copy;
    }
    let written = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    let age = written.map(|written| now.duration_since(written.0)).unwrap_or_default();
    if age > OLD { Origin::Old(age.as_hours() / 24) } else { Origin::Here }
}

/// Tells of a Lease whose requests are not sent again.
pub(super) fn tell_of(name: &str, intents: usize, origin: Origin) {
    match origin {
        Origin::Here => {}
        Origin::Copy => {
            base::warn!("A Lease holds requests that were not written down in it: it may be a copy from another cluster. They are not sent again. If their claims are gone, their volumes may be left at the driver; delete the Lease when you have seen to that";
                "lease" => name, "requests" => intents);
        }
        Origin::Old(days) => {
            base::warn!("A Lease holds requests, and nobody has written to it for long. They are not sent again. If their claims are gone, their volumes may be left at the driver; delete the Lease when you have seen to that";
                "lease" => name, "requests" => intents, "days" => days);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = "2026-01-01T00:00:00.000000Z";

    fn lease(named: Option<&str>, uid: &str, written: Option<&str>) -> Lease {
        let annotations = named.map(|named| json!({UID: named}));
        serde_json::from_value(json!({
            "metadata": {"name": "n", "uid": uid, "annotations": annotations}, "spec": {"renewTime": written},
        }))
        .unwrap()
    }

    #[test]
    fn only_lease_that_names_itself_and_is_young_is_believed() {
        for (named, uid, written, days, expected) in [
            (Some("a"), "a", Some(WRITTEN), 30, Origin::Here),
            (Some("first"), "a", Some(WRITTEN), 30, Origin::Here),
            (Some("a"), "a", Some(WRITTEN), 31, Origin::Old(31)),
            (Some("a"), "a", Some(WRITTEN), -1, Origin::Here),
            (Some("a"), "a", None, 90, Origin::Here),
            (Some("b"), "a", Some(WRITTEN), 0, Origin::Copy),
            (None, "a", Some(WRITTEN), 0, Origin::Copy),
        ] {
            let now = WRITTEN.parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * days);
            let found = origin_of(&lease(named, uid, written), Some("first"), now);
            assert_eq!(found, expected, "{named:?} {uid} {days}");
        }
        let now = WRITTEN.parse().unwrap();
        assert_eq!(origin_of(&lease(Some("first"), "a", None), None, now), Origin::Copy);
    }

    #[test]
    fn stored_lease_says_whose_it_is_and_stays_out_of_backups() {
        let place = Place::new("ns".into(), "csi.example", Some("node-1"));
        let mut stored = body(&place, "n", BTreeMap::from([("a", "b")]), Some("7"), Some("me"));
        stored["metadata"]["uid"] = json!("me");
        let labels = json!({
            "velero.io/exclude-from-backup": "true", "app.kubernetes.io/managed-by": "mooring-csi-provisioner",
            "mooring.dev/driver": "csi.example",
        });
        assert_eq!(stored["metadata"]["labels"], labels);
        assert_eq!(stored["metadata"]["annotations"]["mooring.dev/node"], "node-1");
        assert_eq!(stored["metadata"]["resourceVersion"], "7");
        let stored: Lease = serde_json::from_value(stored).unwrap();
        assert_eq!(origin_of(&stored, None, Timestamp::now()), Origin::Here);
    }
}

//! The other resources that sidecars use.

use serde_json::{Value, json};

use super::Exchange;
use super::objects::*;

/// What the capacity, attributes and node parts of sidecars do.
// A list is as long as what it lists.
#[allow(clippy::too_many_lines)]
pub(crate) fn more() -> Vec<Exchange> {
    const CAPACITIES: &str = "/apis/storage.k8s.io/v1/namespaces/default/csistoragecapacities";
    const ATTRIBUTES: &str = "/apis/storage.k8s.io/v1/volumeattributesclasses";
    const NODES: &str = "/apis/storage.k8s.io/v1/csinodes";
    let capacity = |size: &str| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity", "metadata": { "name": "c" },
            "storageClassName": "fast", "capacity": size,
            "nodeTopology": { "matchLabels": { "zone": "z1" } },
        })
    };
    let attributes = |iops: &str| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": { "name": "gold" },
            "driverName": "d.example", "parameters": { "iops": iops },
        })
    };
    let node = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": { "name": "n1" },
        "spec": { "drivers": [{ "name": "d.example", "nodeID": "id", "topologyKeys": ["zone"] }] },
    });
    let with_version = |mut body: Value, version: &str| {
        body["metadata"]["resourceVersion"] = json!(version);
        body
    };
    let (c, gold) = (format!("{CAPACITIES}/c"), format!("{ATTRIBUTES}/gold"));
    vec![
        post(CAPACITIES, capacity("1Gi")).keep("capacity", "/metadata/resourceVersion"),
        put(&c, with_version(capacity("2Gi"), "$capacity")),
        put(&c, with_version(capacity("3Gi"), "$capacity")),
        put(&c, capacity("3Gi")),
        merge(&c, json!({ "storageClassName": "slow" })),
        delete(&c),
        post(ATTRIBUTES, attributes("1")),
        merge(&gold, json!({ "parameters": { "iops": "2" } })),
        merge(&gold, json!({ "driverName": "other.example" })),
        delete(&gold),
        post(NODES, node.clone()).keep("node", "/metadata/resourceVersion"),
        put(&format!("{NODES}/n1"), node.clone()),
        put(&format!("{NODES}/n1"), with_version(node, "$node")),
        strategic(
            &format!("{NODES}/n1"),
            json!({ "spec": { "drivers": [{ "name": "e.example", "nodeID": "id", "topologyKeys": ["rack"] }] } }),
        ),
        delete(&format!("{NODES}/n1")),
        post(
            "/api/v1/namespaces",
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "extra" } }),
        ),
        post(
            "/api/v1/namespaces/extra/secrets",
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "k" } }),
        ),
        delete("/api/v1/namespaces/extra"),
        post(
            "/api/v1/namespaces/extra/secrets",
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "l" } }),
        ),
        put(&format!("{VAS}/none/status"), attachment("none")),
        post(PVS, volume("last")),
        put(&format!("{PVS}/last/status"), {
            let mut body = volume("last");
            body["status"] = json!({ "phase": "Released" });
            body["spec"]["capacity"]["storage"] = json!("9Gi");
            body
        }),
        merge(
            &format!("{PVS}/last"),
            json!({ "spec": { "claimRef": { "namespace": "default", "name": "x", "uid": "u", "kind": "PersistentVolumeClaim", "apiVersion": "v1" } } }),
        ),
        merge(&format!("{PVS}/last"), json!({ "metadata": { "generateName": "other-" } })),
        request("DELETE", &format!("{PVS}/last?dryRun=All"), "application/json", &json!({})),
        get(&format!("{PVS}/last")),
    ]
}

// A list is as long as what it lists.
#[allow(clippy::too_many_lines)]
pub(crate) fn others() -> Vec<Exchange> {
    let lease = |holder: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "l" },
            "spec": { "holderIdentity": holder, "leaseDurationSeconds": 15 },
        })
    };
    let snapshot = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": { "name": "s" },
        "spec": { "source": { "persistentVolumeClaimName": "data" } }, "status": { "readyToUse": true },
    });
    let s = format!("{SNAPSHOTS}/s");
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e", "namespace": "default" },
        "involvedObject": { "kind": "PersistentVolumeClaim", "namespace": "default", "name": "data" },
        "reason": "Provisioning", "message": "m", "type": "Normal", "count": 1, "source": { "component": "c" },
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
    });
    let review = |verb: &str| {
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": { "verb": verb, "resource": "secrets" } },
        })
    };
    vec![
        post(LEASES, lease("a")).keep("lease", "/metadata/resourceVersion"),
        put(&format!("{LEASES}/l"), lease("b")),
        put(&format!("{LEASES}/l"), {
            let mut body = lease("b");
            body["metadata"]["resourceVersion"] = json!("$lease");
            body
        }),
        put(&format!("{LEASES}/l"), {
            let mut body = lease("c");
            body["metadata"]["resourceVersion"] = json!("$lease");
            body
        }),
        delete(&format!("{LEASES}/l")),
        post(SNAPSHOTS, snapshot),
        merge(&s, json!({ "spec": { "volumeSnapshotClassName": "c" } })),
        merge(&s, json!({ "metadata": { "finalizers": ["a.example/s"] } })),
        merge(&s, json!({ "status": { "readyToUse": false } })),
        merge(
            &format!("{s}/status"),
            json!({ "status": { "readyToUse": false }, "spec": { "x": "y" }, "metadata": { "labels": { "a": "b" } } }),
        ),
        strategic(&s, json!({ "metadata": {} })),
        get(SNAPSHOTS),
        put(
            &s,
            json!({ "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": { "name": "s" } }),
        ),
        delete(&s),
        merge(&s, json!({ "metadata": { "finalizers": null } })),
        get(&s),
        post(
            SECRETS,
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "k" }, "stringData": { "a": "plain" } }),
        ),
        get(&format!("{SECRETS}/k")),
        delete(&format!("{SECRETS}/k")),
        post(EVENTS, event),
        strategic(&format!("{EVENTS}/e"), json!({ "count": 2 })),
        delete(&format!("{EVENTS}/e")),
        post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review("delete")),
    ]
}

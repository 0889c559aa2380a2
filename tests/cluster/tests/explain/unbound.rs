//! Claims that have no volume.

use serde_json::{Value, json};

use crate::site::DRIVER;
use crate::state::{State, claim, class, lease, merged, object, pod, volume};

/// A claim of 1 MiB that is filled from something.
fn filled(source: Value) -> Value {
    claim("data", "csi", json!({"spec": {"dataSource": source}}))
}

fn of_snapshot() -> Value {
    filled(json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "snap"}))
}

fn of_claim() -> Value {
    filled(json!({"kind": "PersistentVolumeClaim", "name": "source"}))
}

/// A class that binds late.
fn late(name: &str, fields: Value) -> Value {
    merged(class(name, DRIVER, json!({"volumeBindingMode": "WaitForFirstConsumer"})), fields)
}

/// A snapshot of a driver as snapshot-controller leaves it.
pub(crate) fn snapshot(namespace: &str, driver: &str, status: Value) -> Vec<Value> {
    let (api, content) = ("snapshot.storage.k8s.io/v1", format!("content-{namespace}"));
    let of_content = json!({
        "spec": {
            "driver": driver, "deletionPolicy": "Delete", "source": {"volumeHandle": "v"},
            "volumeSnapshotRef": {"namespace": namespace, "name": "snap", "uid": "UID OF snap"},
        },
    });
    let mut bound = json!({"boundVolumeSnapshotContentName": content});
    bound = merged(bound, status);
    let of_snapshot = json!({"spec": {"source": {"persistentVolumeClaimName": "origin"}}, "status": bound});
    vec![
        object(api, "VolumeSnapshot", "snap", of_snapshot),
        object(api, "VolumeSnapshotContent", &content, of_content),
    ]
}

/// The states.
pub(crate) fn states() -> Vec<State> {
    [of_classes(), of_places(), of_sources(), of_drivers()].into_iter().flatten().collect()
}

fn of_classes() -> Vec<State> {
    let no_class = object(
        "v1",
        "PersistentVolumeClaim",
        "data",
        json!({
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
        }),
    );
    let taken = volume("volume-taken", "static", DRIVER, json!({"spec": {"claimRef": {"name": "other"}}}));
    let named = |name: &str| json!({"spec": {"volumeName": name}});
    vec![
        State::of_claim("no-class", vec![no_class]),
        State::of_claim("class-missing", vec![claim("data", "nowhere", json!({}))]),
        State::of_claim(
            "by-hand",
            vec![
                class("local", "kubernetes.io/no-provisioner", json!({})),
                claim("data", "local", json!({})),
            ],
        ),
        State::of_claim(
            "in-tree-migrated",
            vec![class("ebs", "kubernetes.io/aws-ebs", json!({})), claim("data", "ebs", json!({}))],
        ),
        State::of_claim(
            "in-tree-gone",
            vec![class("gluster", "kubernetes.io/glusterfs", json!({})), claim("data", "gluster", json!({}))],
        ),
        State::of_claim("volume-missing", vec![claim("data", "static", named("pv-nowhere"))]),
        State::of_claim("volume-taken", vec![taken, claim("data", "static", named("pv-volume-taken"))]),
        State::of_claim(
            "volume-unfit",
            vec![
                volume(
                    "volume-unfit",
                    "static",
                    DRIVER,
                    json!({"spec": {"capacity": {"storage": "1Ki"}, "claimRef": null}}),
                ),
                claim("data", "static", named("pv-volume-unfit")),
            ],
        ),
        State::of_claim(
            "quota",
            vec![object(
                "v1",
                "ResourceQuota",
                "storage",
                json!({"spec": {"hard": {"persistentvolumeclaims": "0"}}}),
            )],
        ),
    ]
}

fn of_places() -> Vec<State> {
    let on = |node: &str| json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": node}, "tolerations": [{"operator": "Exists"}]}});
    let zone = json!({"allowedTopologies": [
        {"matchLabelExpressions": [{"key": "topology.hostpath.csi/node", "values": ["node-9"]}]},
    ]});
    vec![
        State::of_claim("no-pod", vec![late("late", json!({})), claim("data", "late", json!({}))]),
        State::of_claim(
            "pod-unschedulable",
            vec![claim("data", "late", json!({})), pod("app", "data", on("node-none"))],
        ),
        State::of_claim(
            "pod-gated",
            vec![
                claim("data", "late", json!({})),
                pod("app", "data", json!({"spec": {"schedulingGates": [{"name": "example.com/wait"}]}})),
            ],
        ),
        State::of_claim(
            "scheduler-passed-over",
            vec![
                claim("data", "late", json!({})),
                pod("app", "data", json!({"spec": {"nodeName": "node-1"}})),
            ],
        ),
        State::of_claim(
            "no-capacity",
            vec![
                object(
                    "storage.k8s.io/v1",
                    "CSIDriver",
                    "small.example.com",
                    json!({"spec": {"storageCapacity": true}}),
                ),
                class("small", "small.example.com", json!({"volumeBindingMode": "WaitForFirstConsumer"})),
                object(
                    "storage.k8s.io/v1",
                    "CSIStorageCapacity",
                    "small",
                    json!({
                        "storageClassName": "small", "capacity": "1Ki", "nodeTopology": {},
                    }),
                ),
                claim("data", "small", json!({})),
                pod("app", "data", on("node-1")),
            ],
        ),
        State::of_claim(
            "node-without-driver",
            vec![claim(
                "data",
                "keyed",
                json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-2"}}}),
            )],
        ),
        State::of_claim(
            "node-gone",
            vec![claim(
                "data",
                "keyed",
                json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-9"}}}),
            )],
        ),
        State::of_claim(
            "label-missing",
            vec![claim(
                "data",
                "keyed",
                json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-1"}}}),
            )],
        ),
        State::of_claim(
            "topology-unmet",
            vec![class("zoned", "keyed.example.com", zone), claim("data", "zoned", json!({}))],
        ),
    ]
}

fn of_sources() -> Vec<State> {
    let ready = json!({"readyToUse": true, "restoreSize": "1Mi"});
    let with = |mut objects: Vec<Value>, claim: Value| {
        objects.push(claim);
        objects
    };
    let image = json!({"apiGroup": "example.com", "kind": "Image", "name": "base"});
    let modify = |name: &str| json!({"spec": {"volumeAttributesClassName": name}});
    vec![
        State::of_claim("snapshot-missing", vec![of_snapshot()]),
        State::of_claim(
            "snapshot-not-ready",
            with(snapshot("snapshot-not-ready", DRIVER, json!({"readyToUse": false})), of_snapshot()),
        ),
        State::of_claim(
            "snapshot-foreign",
            with(snapshot("snapshot-foreign", "other.example.com", ready.clone()), of_snapshot()),
        ),
        State::of_claim(
            "snapshot-larger",
            with(
                snapshot("snapshot-larger", DRIVER, json!({"readyToUse": true, "restoreSize": "2Mi"})),
                of_snapshot(),
            ),
        ),
        State::of_claim("source-missing", vec![of_claim()]),
        State::of_claim("source-unbound", vec![claim("source", "nowhere", json!({})), of_claim()]),
        State::of_claim("populator", vec![claim("data", "csi", json!({"spec": {"dataSourceRef": image}}))]),
        State::of_claim("attributes-missing", vec![claim("data", "csi", modify("nowhere"))]),
        State::of_claim(
            "attributes-foreign",
            vec![
                object(
                    "storage.k8s.io/v1",
                    "VolumeAttributesClass",
                    "alien",
                    json!({
                        "driverName": "other.example.com", "parameters": {"a": "b"},
                    }),
                ),
                claim("data", "csi", modify("alien")),
            ],
        ),
    ]
}

fn of_drivers() -> Vec<State> {
    let secret = json!({"parameters": {
        "csi.storage.k8s.io/provisioner-secret-name": "key-${pvc.name}",
        "csi.storage.k8s.io/provisioner-secret-namespace": "${pvc.namespace}",
    }});
    let half = json!({"parameters": {"csi.storage.k8s.io/provisioner-secret-name": "key"}});
    vec![
        State::of_claim(
            "secret-missing",
            vec![class("secret", DRIVER, secret), claim("data", "secret", json!({}))],
        ),
        State::of_claim("secret-half", vec![class("half", DRIVER, half), claim("data", "half", json!({}))]),
        State::of_claim(
            "driver-unknown",
            vec![class("typo", "hostpth.csi.k8s.io", json!({})), claim("data", "typo", json!({}))],
        ),
        State::of_claim(
            "no-leader",
            vec![
                lease("stale-example-com", "2026-01-02T03:04:05.000000Z"),
                class("stale", "stale.example.com", json!({})),
                claim("data", "stale", json!({})),
            ],
        ),
        State::of_claim(
            "refused",
            vec![claim("data", "csi", json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}}))],
        ),
        State::of_claim(
            "selector",
            vec![claim("data", "csi", json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}))],
        ),
    ]
}

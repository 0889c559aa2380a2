//! What a claim is filled from.

use serde_json::{Value, json};

use crate::ask::Kind;
use crate::fixture::{World, bound, claim, class, lease, object, volume};

fn causes(source: Value, fields: Value, more: Vec<Value>) -> Vec<&'static str> {
    let mut filled = claim(json!({"metadata": {"name": "copy"}, "spec": {"dataSource": source}}));
    for (key, value) in fields.as_object().unwrap() {
        filled["spec"][key] = value.clone();
    }
    let objects = [filled, class(json!({})), lease("d", 3)];
    World::of(objects.into_iter().chain(more)).causes(Kind::Claim, "copy")
}

#[test]
fn snapshot_must_be_ready_and_fit() {
    let source = || json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    let snapshot = |fields: Value| {
        let status = json!({"boundVolumeSnapshotContentName": "c", "readyToUse": true, "restoreSize": "1Gi"});
        let mut snapshot = object(Kind::Snapshot, "s", json!({"status": status}));
        for (key, value) in fields.as_object().unwrap() {
            snapshot["metadata"][key] = value.clone();
        }
        snapshot
    };
    let content = |spec: Value| {
        let reference = json!({"namespace": "team", "name": "s", "uid": "uid-s"});
        let mut content =
            object(Kind::Content, "c", json!({"spec": {"driver": "d", "volumeSnapshotRef": reference}}));
        for (key, value) in spec.as_object().unwrap() {
            content["spec"][key] = value.clone();
        }
        content
    };
    let with = |fields: Value, spec: Value, claim: Value| {
        causes(source(), claim, vec![snapshot(fields), content(spec)])
    };
    let none = || json!({});
    assert_eq!(causes(source(), none(), vec![]), ["SourceMissing"]);
    assert_eq!(with(none(), none(), none()), ["Provisioning"]);
    let deleted = json!({"deletionTimestamp": "2026-11-30T11:30:00Z", "finalizers": ["x"]});
    assert_eq!(with(deleted, none(), none()), ["SourceDeleted"]);
    let held = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection";
    let held = json!({"deletionTimestamp": "2026-11-30T11:30:00Z", "finalizers": [held]});
    assert_eq!(with(held, none(), none()), ["Provisioning"], "csi-provisioner goes on");
    assert_eq!(with(none(), json!({"driver": "other"}), none()), ["SourceForeign"]);
    let small = json!({"resources": {"requests": {"storage": "1023Mi"}}});
    assert_eq!(with(none(), none(), small), ["SourceLarger"]);
    assert_eq!(with(none(), json!({"sourceVolumeMode": "Block"}), none()), ["SourceMode"]);
    assert_eq!(
        with(none(), json!({"sourceVolumeMode": "Block"}), json!({"volumeMode": "Block"})),
        ["Provisioning"]
    );
}

#[test]
fn claim_must_be_bound_and_fit() {
    let source = || json!({"kind": "PersistentVolumeClaim", "name": "data"});
    let with = |origin: Value, claim: Value| causes(source(), claim, vec![origin, volume(json!({}))]);
    let none = || json!({});
    assert_eq!(causes(source(), none(), vec![]), ["SourceMissing"]);
    assert_eq!(with(bound(none()), none()), ["Provisioning"]);
    let mut deleted = bound(none());
    deleted["metadata"]["deletionTimestamp"] = json!("2026-11-30T11:30:00Z");
    assert_eq!(with(deleted, none()), ["SourceDeleted"]);
    assert_eq!(with(bound(json!({"spec": {"volumeMode": "Block"}})), none()), ["SourceMode"]);
    let large = bound(json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}));
    assert_eq!(with(large, none()), ["SourceLarger"]);
    let foreign = volume(json!({"spec": {"csi": {"driver": "other"}}}));
    assert_eq!(causes(source(), none(), vec![bound(none()), foreign]), ["SourceForeign"]);
}

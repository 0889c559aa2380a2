//! Objects that are being deleted, and detachments.

use serde_json::{Value, json};

use crate::ask::Kind;
use crate::field::name;
use crate::fixture::{World, attachment, bound, claim, lease, node, object, pod, volume, warning};

const SINCE: &str = "2026-11-30T11:30:00Z";
const RUNS: i64 = 3;

/// The object, being deleted, with these finalizers.
fn deleted(mut object: Value, finalizers: &[&str]) -> Value {
    object["metadata"]["deletionTimestamp"] = json!(SINCE);
    object["metadata"]["finalizers"] = json!(finalizers);
    object
}

/// The causes for the first of the objects, each of which says since when.
fn causes(kind: Kind, objects: Vec<Value>) -> Vec<&'static str> {
    let name = name(&objects[0]).to_owned();
    let answer = World::of(objects).explain(kind, &name).unwrap();
    assert!(answer.findings.iter().all(|finding| finding.since.is_some()), "{answer:?}");
    answer.findings.iter().map(|finding| finding.cause).collect()
}

#[test]
fn each_finalizer_of_a_claim_has_its_reason() {
    let cloning = "provisioner.storage.kubernetes.io/cloning-protection";
    let snapshots = "snapshot.storage.kubernetes.io/pvc-as-source-protection";
    let of = |finalizer: &str, more: Vec<Value>| {
        let claim = deleted(bound(json!({})), &[finalizer]);
        causes(Kind::Claim, [claim, volume(json!({}))].into_iter().chain(more).collect())
    };
    assert_eq!(of("kubernetes.io/pvc-protection", vec![]), ["ProtectionPending"]);
    assert_eq!(of("kubernetes.io/pvc-protection", vec![pod(json!({}))]), ["InUse"]);
    let ended = pod(json!({"status": {"phase": "Succeeded"}}));
    assert_eq!(of("kubernetes.io/pvc-protection", vec![ended]), ["ProtectionPending"]);
    let ephemeral =
        json!({"metadata": {"name": "data"}, "spec": {"volumes": [{"name": "x", "ephemeral": {}}]}});
    assert_eq!(
        of("kubernetes.io/pvc-protection", vec![pod(ephemeral)]),
        ["ProtectionPending"],
        "data-x is another"
    );

    let copy = |status: &str| {
        let source = json!({"kind": "PersistentVolumeClaim", "name": "data"});
        claim(json!({
            "metadata": {"name": "copy"}, "spec": {"dataSource": source}, "status": {"phase": status},
        }))
    };
    assert_eq!(of(cloning, vec![copy("Pending")]), ["Cloned"]);
    assert_eq!(of(cloning, vec![copy("Bound"), lease("d", RUNS)]), ["ProtectionPending"]);
    assert_eq!(of(cloning, vec![copy("Bound"), lease("d", 60)]), ["NoLeader"]);

    let snapshot = |ready: bool| {
        let source = json!({"persistentVolumeClaimName": "data"});
        object(Kind::Snapshot, "s", json!({"spec": {"source": source}, "status": {"readyToUse": ready}}))
    };
    assert_eq!(of(snapshots, vec![snapshot(false)]), ["Snapshotted"]);
    assert_eq!(of(snapshots, vec![snapshot(true)]), ["ProtectionPending"]);
    assert_eq!(of("example.com/held", vec![]), ["ForeignFinalizer"]);
}

#[test]
fn each_finalizer_of_a_volume_has_its_reason() {
    let ours = "external-provisioner.volume.kubernetes.io/finalizer";
    let of = |phase: &str, finalizer: &str, more: Vec<Value>| {
        let volume = deleted(volume(json!({"status": {"phase": phase}})), &[finalizer]);
        let leases = [lease("d", RUNS), lease("external-attacher-leader-d", RUNS)];
        causes(Kind::Volume, std::iter::once(volume).chain(leases).chain(more).collect())
    };
    assert_eq!(of("Bound", "kubernetes.io/pv-protection", vec![]), ["Bound"]);
    assert_eq!(of("Bound", ours, vec![]), ["Bound"]);
    assert_eq!(of("Released", ours, vec![]), ["Deleting"]);
    assert_eq!(of("Released", "external-attacher/d", vec![]), ["ProtectionPending"]);
    let detaching = deleted(attachment(json!({})), &["external-attacher/d"]);
    let more: Vec<Value> = node().into_iter().chain([detaching]).collect();
    assert_eq!(of("Released", "external-attacher/d", more.clone()), ["StillAttached", "Detaching"]);
    assert_eq!(of("Released", ours, more), ["StillAttached", "Detaching"]);
    assert_eq!(of("Released", "example.com/held", vec![]), ["ForeignFinalizer"]);
}

#[test]
fn detachment_names_what_is_missing() {
    let of = |fields: Value, more: Vec<Value>| {
        let attachment = deleted(attachment(fields), &["external-attacher/d"]);
        let objects = [attachment, lease("external-attacher-leader-d", RUNS)];
        causes(Kind::Attachment, objects.into_iter().chain(more).collect())
    };
    let with_id = || json!({"metadata": {"annotations": {"csi.alpha.kubernetes.io/node-id": "n"}}});
    assert_eq!(of(with_id(), vec![]), ["VolumeMissing"]);
    assert_eq!(of(with_id(), vec![volume(json!({}))]), ["Detaching"]);
    assert_eq!(of(json!({}), vec![volume(json!({}))]), ["NodeIdUnknown"]);
    let [node, csi_node] = node();
    assert_eq!(of(json!({}), vec![volume(json!({})), node, csi_node]), ["Detaching"]);
    let mut failed = with_id();
    failed["status"] =
        json!({"attached": true, "detachError": {"message": "rpc error: code = Internal desc = x"}});
    assert_eq!(of(failed, vec![volume(json!({}))]), ["DetachFailed"]);
    // Whoever has an answer of the driver knew the node's id.
    let failed = json!({"status": {"detachError": {"message": "rpc error: code = Internal desc = x"}}});
    assert_eq!(of(failed, vec![volume(json!({}))]), ["DetachFailed"]);
    let secret =
        json!({"spec": {"csi": {"controllerPublishSecretRef": {"namespace": "team", "name": "key"}}}});
    assert_eq!(of(with_id(), vec![volume(secret.clone())]), ["SecretMissing"]);
    assert_eq!(of(with_id(), vec![volume(secret), object(Kind::Secret, "key", json!({}))]), ["Detaching"]);
    let others = deleted(attachment(json!({})), &["example.com/held"]);
    assert_eq!(causes(Kind::Attachment, vec![others]), ["ForeignFinalizer"]);
}

#[test]
fn each_finalizer_of_a_snapshot_has_its_reason() {
    let source = "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection";
    let hold = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection";
    let content = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection";
    let of = |finalizer: &str, more: Vec<Value>| {
        let status = json!({"status": {"boundVolumeSnapshotContentName": "c", "readyToUse": true}});
        let snapshot = deleted(object(Kind::Snapshot, "s", status), &[finalizer]);
        let leases =
            [lease("snapshot-controller-leader", RUNS), lease("external-snapshotter-leader-d", RUNS)];
        causes(Kind::Snapshot, std::iter::once(snapshot).chain(leases).chain(more).collect())
    };
    let restored = |phase: &str| {
        let source = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
        claim(json!({"spec": {"dataSource": source}, "status": {"phase": phase}}))
    };
    for finalizer in [source, hold] {
        assert_eq!(of(finalizer, vec![restored("Pending")]), ["Restored"]);
        assert_eq!(of(finalizer, vec![restored("Bound")]), ["ProtectionPending"]);
    }
    let of_driver = || object(Kind::Content, "c", json!({"spec": {"driver": "d"}}));
    let permitted = || {
        let mut content = deleted(of_driver(), &["x"]);
        content["metadata"]["annotations"] =
            json!({"snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": "yes"});
        content
    };
    assert_eq!(of(content, vec![]), ["ProtectionPending"]);
    assert_eq!(of(content, vec![of_driver()]), ["ContentKept"]);
    assert_eq!(of(content, vec![deleted(of_driver(), &["x"])]), ["ContentKept"], "without permission");
    assert_eq!(of(content, vec![permitted()]), ["Deleting"]);
    let mut said = warning("c", "SnapshotDeleteError", "rpc error: code = Internal desc = x");
    said["metadata"]["namespace"] = json!("default");
    assert_eq!(of(content, vec![permitted(), said]), ["DeleteFailed"]);
    assert_eq!(of("snapshot.storage.kubernetes.io/volumesnapshot-in-group-protection", vec![]), ["InGroup"]);
    assert_eq!(of("example.com/held", vec![]), ["ForeignFinalizer"]);
}

#[test]
fn snapshot_is_followed_to_its_content() {
    let of = |content: Value, more: Vec<Value>| {
        let status = json!({"status": {"boundVolumeSnapshotContentName": "c", "readyToUse": false}});
        let reference = json!({"namespace": "team", "name": "s", "uid": "uid-s"});
        let mut object_ =
            object(Kind::Content, "c", json!({"spec": {"driver": "d", "volumeSnapshotRef": reference}}));
        for (key, value) in content.as_object().unwrap() {
            object_[key] = value.clone();
        }
        let objects =
            [object(Kind::Snapshot, "s", status), object_, lease("external-snapshotter-leader-d", RUNS)];
        causes(Kind::Snapshot, objects.into_iter().chain(more).collect())
    };
    assert_eq!(of(json!({}), vec![]), ["Snapshotting"]);
    assert_eq!(of(json!({"status": {"error": {"message": "no room"}}}), vec![]), ["SnapshotFailed"]);
    let other = json!({"driver": "d", "volumeSnapshotRef": {"namespace": "team", "name": "other"}});
    assert_eq!(of(json!({"spec": other}), vec![]), ["ContentMisbound"]);
    let former =
        json!({"driver": "d", "volumeSnapshotRef": {"namespace": "team", "name": "s", "uid": "old"}});
    assert_eq!(of(json!({"spec": former}), vec![]), ["ContentMisbound"]);
    let secret = json!({"name": "c", "annotations": {
        "snapshot.storage.kubernetes.io/deletion-secret-name": "key",
        "snapshot.storage.kubernetes.io/deletion-secret-namespace": "team",
    }});
    assert_eq!(of(json!({"metadata": secret}), vec![]), ["SecretMissing"]);
    assert_eq!(
        of(json!({"metadata": secret}), vec![object(Kind::Secret, "key", json!({}))]),
        ["Snapshotting"]
    );
}

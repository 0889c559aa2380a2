//! Volumes, attachments and snapshots.

use serde_json::{Value, json};

use crate::site::DRIVER;
use crate::state::{State, attachment, claim, lease, object, volume};
use crate::unbound::snapshot;

/// The states.
pub(crate) fn states() -> Vec<State> {
    [volumes(), attachments(), snapshots()].into_iter().flatten().collect()
}

const RETAIN: &str = "static";

fn volumes() -> Vec<State> {
    let is = |name: &'static str, ask: &'static str, objects: Vec<Value>| State { name, ask, objects };
    let free = json!({"spec": {"claimRef": null}});
    let released = |policy: &str, driver: &str, name: &str| {
        volume(
            name,
            RETAIN,
            driver,
            json!({
                "spec": {"persistentVolumeReclaimPolicy": policy, "claimRef": {"uid": "0d1a1d72-0000-4000-8000-000000000000"}},
            }),
        )
    };
    let mut held = released("Delete", "gone.example.com", "pv-attached");
    held["metadata"]["finalizers"] = json!(["external-attacher/gone-example-com"]);
    held["deleted"] = json!(true);
    vec![
        is("pv-free", "pv pv-pv-free", vec![volume("pv-free", "nobody", DRIVER, free)]),
        is("pv-reserved", "pv pv-pv-reserved", vec![volume("pv-reserved", RETAIN, DRIVER, json!({}))]),
        is("pv-retained", "pv pv-pv-retained", vec![released("Retain", DRIVER, "pv-retained")]),
        is(
            "pv-no-provisioner",
            "pv pv-pv-no-provisioner",
            vec![released("Delete", "gone.example.com", "pv-no-provisioner")],
        ),
        is(
            "pv-attached",
            "pv pv-pv-attached",
            vec![attachment("pv-attached", "gone.example.com", "node-1", json!({})), held],
        ),
        is(
            "pv-bound",
            "pv pv-pv-bound",
            vec![
                volume("pv-bound", RETAIN, DRIVER, json!({})),
                claim("data", RETAIN, json!({"spec": {"volumeName": "pv-pv-bound"}, "bound": true})),
                volume("pv-bound", RETAIN, DRIVER, json!({"deleted": true})),
            ],
        ),
        is(
            "claim-lost",
            "pvc data",
            vec![
                volume("claim-lost", RETAIN, DRIVER, json!({})),
                claim("data", RETAIN, json!({"spec": {"volumeName": "pv-claim-lost"}, "bound": true})),
                volume("claim-lost", RETAIN, DRIVER, json!({"deleted": true, "freed": true})),
            ],
        ),
    ]
}

fn attachments() -> Vec<State> {
    let is = |name: &'static str, ask: &'static str, objects: Vec<Value>| State { name, ask, objects };
    let of = |name: &str, driver: &str, fields: Value| {
        vec![volume(name, RETAIN, driver, json!({})), attachment(name, driver, "node-1", fields)]
    };
    let ours = "external-attacher/gone-example-com";
    let leaving = json!({"metadata": {"finalizers": [ours]}, "deleted": true});
    let failing = json!({
        "metadata": {"finalizers": ["external-attacher/stale-example-com"]}, "deleted": true,
        "status": {"attached": true, "detachError": {"time": "2026-01-02T03:04:05Z", "message": "rpc error: code = Internal desc = busy"}},
    });
    let mut gone = of("va-node-gone", "gone.example.com", json!({"status": {"attached": true}}));
    gone[1]["spec"]["nodeName"] = json!("node-9");
    let mut foreign = of("va-foreign", "gone.example.com", json!({}));
    foreign[1]["spec"]["attacher"] = json!("hostpath.csi.k8s.io");
    vec![
        is(
            "va-no-volume",
            "va va-va-no-volume",
            vec![attachment("va-no-volume", DRIVER, "node-1", json!({}))],
        ),
        is("va-foreign", "va va-va-foreign", foreign),
        is("va-no-attacher", "va va-va-no-attacher", of("va-no-attacher", "plain.example.com", json!({}))),
        is("va-failed", "va va-va-failed", of("va-failed", DRIVER, json!({}))),
        is("va-no-node-id", "va va-va-no-node-id", of("va-no-node-id", "gone.example.com", leaving)),
        is(
            "va-detach-failed",
            "va va-va-detach-failed",
            of("va-detach-failed", "stale.example.com", failing),
        ),
        is("va-node-gone", "va va-va-node-gone", gone),
    ]
}

fn snapshots() -> Vec<State> {
    let is = |name: &'static str, objects: Vec<Value>| State { name, ask: "snapshot snap", objects };
    let api = "snapshot.storage.k8s.io/v1";
    let of = |spec: Value, more: Value| {
        crate::state::merged(object(api, "VolumeSnapshot", "snap", json!({"spec": spec})), more)
    };
    let cut = |claim: &str, class: Option<&str>| {
        let class = class.map_or(json!({}), |class| json!({"volumeSnapshotClassName": class}));
        crate::state::merged(json!({"source": {"persistentVolumeClaimName": claim}}), class)
    };
    let bound = || claim("data", "csi", json!({"bound": true}));
    let class = |name: &str, driver: &str| {
        object(api, "VolumeSnapshotClass", name, json!({"driver": driver, "deletionPolicy": "Delete"}))
    };
    let error = json!({"error": {"time": "2026-01-02T03:04:05Z", "message": "Failed to create snapshot: rpc error: code = Internal desc = no room"}});
    let mut failed = snapshot("snap-failed", "snap.example.com", json!({"readyToUse": false}));
    failed[1]["status"] = error;
    let mut working = snapshot("snap-working", "snap.example.com", json!({"readyToUse": false}));
    working[1]["status"] = json!({"snapshotHandle": "s", "readyToUse": false});
    let mut restored = snapshot("snap-restored", DRIVER, json!({"readyToUse": true}));
    restored[0]["metadata"]["finalizers"] =
        json!(["snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection"]);
    restored[0]["deleted"] = json!(true);
    restored.push(claim(
        "data",
        "nowhere",
        json!({"spec": {"dataSource": {
            "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "snap",
        }}}),
    ));
    let mut undeleted = snapshot("snap-undeleted", "gone.example.com", json!({"readyToUse": true}));
    undeleted[1]["metadata"]["finalizers"] =
        json!(["snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection"]);
    undeleted[1]["metadata"]["annotations"] =
        json!({"snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": "yes"});
    undeleted[1]["deleted"] = json!(true);
    undeleted[0]["metadata"]["finalizers"] =
        json!(["snapshot.storage.kubernetes.io/volumesnapshot-bound-protection"]);
    undeleted[0]["deleted"] = json!(true);
    vec![
        is("snap-no-claim", vec![of(cut("data", None), json!({}))]),
        is("snap-claim-unbound", vec![claim("data", "nowhere", json!({})), of(cut("data", None), json!({}))]),
        is("snap-no-class", vec![bound(), of(cut("data", None), json!({}))]),
        is("snap-class-missing", vec![bound(), of(cut("data", Some("nowhere")), json!({}))]),
        is(
            "snap-class-foreign",
            vec![class("alien", "other.example.com"), bound(), of(cut("data", Some("alien")), json!({}))],
        ),
        is(
            "snap-no-controller",
            vec![class("cut", DRIVER), bound(), of(cut("data", Some("cut")), json!({}))],
        ),
        is(
            "snap-content-missing",
            vec![of(json!({"source": {"volumeSnapshotContentName": "nowhere"}}), json!({}))],
        ),
        is("snap-failed", {
            failed.insert(
                0,
                lease("external-snapshotter-leader-snap-example-com", "2099-01-02T03:04:05.000000Z"),
            );
            failed
        }),
        is("snap-working", working),
        is("snap-restored", restored),
        is("snap-undeleted", undeleted),
    ]
}

//! Attaching (docs/upstream/attacher.md, "Attach", "Error status", "Requests" and "Test cases").

use std::time::Duration;

use csi::v1::ControllerPublishVolumeRequest;
use serde_json::{Value, json};
use sim::{Fault, World};

use crate::harness::{ATTACHER, object};
use crate::objects::{
    VA, attachment, csi_node, csi_node_with, gce_pd, inline, ours, protected, pv, secret, va, with,
    with_secret_ref,
};

const PUBLISHED: &str = "publish id-of-pv1 node1-id Ok";
const PUBLISHED_INLINE: &str = "publish id-of-inline node1-id Ok";
const ALL: [&str; 3] = ["protect pv1", "save", "attached"];

fn status(world: &World) -> Value {
    object(world, "volumeattachments", VA)["status"].clone()
}

fn request(world: &World) -> ControllerPublishVolumeRequest {
    let calls = world.driver.calls_of("ControllerPublishVolume");
    calls.last().and_then(|call| call.request().cloned()).expect("a call")
}

#[tokio::test(start_paused = true)]
async fn one_attach_costs_one_call_and_three_writes() {
    let world = ATTACHER
        .case("attachment added", [pv("pv1"), va(), csi_node("node1")])
        .ends_with(&[PUBLISHED], &ALL)
        .await;
    let attachment = object(&world, "volumeattachments", VA);
    assert_eq!(attachment["metadata"]["finalizers"], json!(["external-attacher/driver-example"]));
    assert_eq!(
        attachment["metadata"]["annotations"],
        json!({"csi.alpha.kubernetes.io/node-id": "node1-id", "mooring.dev/volume-handle": "id-of-pv1"})
    );
    assert_eq!(
        attachment["status"],
        json!({"attached": true, "attachmentMetadata": {"device": "id-of-pv1-on-node1-id"}})
    );
    let finalizers = &object(&world, "persistentvolumes", "pv1")["metadata"]["finalizers"];
    assert!(
        finalizers.as_array().unwrap().contains(&json!("external-attacher/driver-example")),
        "{finalizers}"
    );
    let request = request(&world);
    assert!(!request.readonly && request.volume_context.is_empty() && request.secrets.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_is_not_written_again() {
    ATTACHER
        .case("volume protected", [protected("pv1"), va(), csi_node("node1")])
        .ends_with(&[PUBLISHED], &["save", "attached"])
        .await;
    let saved = with(ours(va()), json!({"status": null}));
    ATTACHER
        .case("everything saved", [protected("pv1"), saved, csi_node("node1")])
        .ends_with(&[PUBLISHED], &["attached"])
        .await;
    ATTACHER
        .case("inline", [inline(), csi_node("node1")])
        .ends_with(&[PUBLISHED_INLINE], &["save", "attached"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_to_do_is_left_alone() {
    ATTACHER.case("already attached", [pv("pv1"), ours(va()), csi_node("node1")]).ends_with(&[], &[]).await;
    let bare = with(va(), json!({"status": {"attached": true}}));
    ATTACHER.case("attached by whom ever", [pv("pv1"), bare, csi_node("node1")]).ends_with(&[], &[]).await;
    let foreign = with(va(), json!({"spec": {"attacher": "other"}}));
    ATTACHER.case("another driver's", [pv("pv1"), foreign, csi_node("node1")]).ends_with(&[], &[]).await;
}

#[tokio::test(start_paused = true)]
async fn others_finalizers_stay() {
    let pv = with(pv("pv1"), json!({"metadata": {"finalizers": ["example.com/a", "example.com/b"]}}));
    let va = with(va(), json!({"metadata": {"finalizers": ["example.com/c"]}}));
    let world = ATTACHER
        .case("two on the volume, one on the attachment", [pv, va, csi_node("node1")])
        .ends_with(&[PUBLISHED], &ALL)
        .await;
    for (plural, name, others) in [("persistentvolumes", "pv1", 2), ("volumeattachments", VA, 1)] {
        let object = object(&world, plural, name);
        let finalizers = object["metadata"]["finalizers"].as_array().unwrap();
        let examples = finalizers
            .iter()
            .filter(|name| name.as_str().is_some_and(|name| name.starts_with("example.com")));
        assert_eq!(examples.count(), others, "{finalizers:?}");
        assert!(finalizers.contains(&json!("external-attacher/driver-example")));
    }
}

#[tokio::test(start_paused = true)]
async fn the_request_says_what_the_volume_says() {
    let read_only = || json!({"spec": {"csi": {"readOnly": true}}});
    let of_inline = |spec: Value| json!({"spec": {"source": {"inlineVolumeSpec": spec["spec"]}}});
    let attributes = || json!({"storage.kubernetes.io/csiProvisionerIdentity": "me", "a": "b"});
    let with_attributes = || json!({"spec": {"csi": {"volumeAttributes": attributes()}}});
    for (name, change, can, check) in [
        ("read-only", read_only(), true, (true, json!({}))),
        ("read-only, the driver cannot", read_only(), false, (false, json!({}))),
        ("attributes", with_attributes(), true, (false, attributes())),
    ] {
        let objects = [with(pv("pv1"), change.clone()), va(), csi_node("node1")];
        let world = ATTACHER
            .case(name, objects)
            .config(|config| config.can.read_only = can)
            .ends_with(&[PUBLISHED], &ALL)
            .await;
        let sent = request(&world);
        assert_eq!((sent.readonly, serde_json::to_value(&sent.volume_context).unwrap()), check, "{name}");
        let objects = [with(inline(), of_inline(change)), csi_node("node1")];
        let case = ATTACHER.case(name, objects).config(|config| config.can.read_only = can);
        let world = case.ends_with(&[PUBLISHED_INLINE], &["save", "attached"]).await;
        let sent = request(&world);
        assert_eq!(
            (sent.readonly, serde_json::to_value(&sent.volume_context).unwrap()),
            check,
            "{name}, inline"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_are_sent_and_only_their_reference_is_noted() {
    for (name, data, expected) in [
        (
            "present",
            json!({"user": "YWRtaW4=", "key": "c2VjcmV0"}),
            json!({"user": "admin", "key": "secret"}),
        ),
        ("empty", json!({}), json!({})),
    ] {
        let objects = [with_secret_ref(pv("pv1")), va(), csi_node("node1"), secret(data.clone())];
        let world = ATTACHER.case(name, objects).ends_with(&[PUBLISHED], &ALL).await;
        assert_eq!(serde_json::to_value(&request(&world).secrets).unwrap(), expected, "{name}");
        let written = object(&world, "volumeattachments", VA);
        assert_eq!(written["metadata"]["annotations"]["mooring.dev/publish-secret"], "secrets/publish");
        assert!(!written.to_string().contains("admin"), "{written}");
        let objects = [with_secret_ref(inline()), csi_node("node1"), secret(data)];
        let world = ATTACHER.case(name, objects).ends_with(&[PUBLISHED_INLINE], &["save", "attached"]).await;
        assert_eq!(serde_json::to_value(&request(&world).secrets).unwrap(), expected, "{name}, inline");
    }
}

#[tokio::test(start_paused = true)]
async fn unusable_sources_fail_before_any_write() {
    let deleted = || with(pv("pv1"), json!({"metadata": {"finalizers": ["example.com/a"]}}));
    ATTACHER
        .case("volume being deleted", [deleted(), va(), csi_node("node1")])
        .deleted("persistentvolumes", "pv1")
        .ends_with(&[], &["attach error: PersistentVolume \"pv1\" is marked for deletion"])
        .await;
    ATTACHER
        .case("unknown volume", [va(), csi_node("node1")])
        .ends_with(&[], &["attach error: persistentvolume \"pv1\" not found"])
        .await;
    let source = |change: Value| with(inline(), json!({"spec": {"source": change}}));
    for (name, attachment, error) in [
        (
            "both",
            source(json!({"persistentVolumeName": "pv1"})),
            "attach error: both spec.source.persistentVolumeName and spec.source.inlineVolumeSpec are set: only one may be",
        ),
        (
            "neither",
            source(json!({"inlineVolumeSpec": null})),
            "attach error: neither spec.source.persistentVolumeName nor spec.source.inlineVolumeSpec is set",
        ),
        (
            "inline, but no CSI volume",
            source(json!({"inlineVolumeSpec": {"csi": null, "nfs": {"server": "s", "path": "/"}}})),
            "attach error: spec.source.inlineVolumeSpec has no csi source",
        ),
    ] {
        ATTACHER.case(name, [pv("pv1"), attachment, csi_node("node1")]).ends_with(&[], &[error]).await;
    }
    let foreign = with(pv("pv1"), json!({"spec": {"csi": {"driver": "other"}}}));
    let error = "attach error: the volume belongs to CSI driver other, but spec.attacher of the VolumeAttachment names another driver";
    ATTACHER
        .case("another driver's volume", [foreign, va(), csi_node("node1")])
        .ends_with(&[], &[error])
        .await;
    let nfs = with(pv("pv1"), json!({"spec": {"csi": null, "nfs": {"server": "s", "path": "/"}}}));
    let error = "attach error: PersistentVolume \"pv1\" has no csi source, and no in-tree source that a CSI driver serves";
    ATTACHER.case("no CSI volume", [nfs, va(), csi_node("node1")]).ends_with(&[], &[error]).await;
}

#[tokio::test(start_paused = true)]
async fn an_in_tree_volume_of_another_driver_is_an_error() {
    let error = "attach error: the volume belongs to CSI driver pd.csi.storage.gke.io, but spec.attacher of the \
        VolumeAttachment names another driver";
    ATTACHER.case("GCE disk", [gce_pd("pv1"), va(), csi_node("node1")]).ends_with(&[], &[error]).await;
}

#[tokio::test(start_paused = true)]
async fn access_modes_that_csi_cannot_say_are_an_error() {
    let volume = with(pv("pv1"), json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}}));
    let error = "attach error: spec.accessModes of the volume: ReadOnlyMany and ReadWriteOnce cannot be combined: CSI has no mode for both";
    ATTACHER
        .case("read and write", [volume, va(), csi_node("node1")])
        .ends_with(&[], &["protect pv1", error])
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_attach_that_lacks_only_its_node_goes_on_when_that_comes() {
    let missing = "attach error: csinode.storage.k8s.io \"node1\" not found";
    ATTACHER.case("no CSINode", [pv("pv1"), va()]).ends_with(&[], &["protect pv1", missing]).await;
    let elsewhere = || csi_node_with("node1", json!([{"name": "other", "nodeID": "o", "topologyKeys": []}]));
    let not_there = "attach error: CSINode node1 does not contain driver driver.example";
    ATTACHER
        .case("CSINode without the driver", [pv("pv1"), va(), elsewhere()])
        .ends_with(&[], &["protect pv1", not_there])
        .await;
    for (name, before, error) in
        [("CSINode", None, missing), ("the driver on it", Some(elsewhere()), not_there)]
    {
        let objects = [pv("pv1"), va()].into_iter().chain(before);
        let world = ATTACHER
            .case(name, objects)
            // The pause after the first failure is an hour: only the node's coming can end it.
            .config(|config| config.backoff.base = Duration::from_secs(3600))
            .config(|config| config.backoff.max = Duration::from_secs(3600))
            .meanwhile(|world| drop(world.api.put(csi_node("node1"))))
            .ends_with(&[PUBLISHED], &["protect pv1", error, "save", "attached"])
            .await;
        assert_eq!(status(&world).get("attachError"), None, "{name}");
    }
}

/// Upstream does not wait for its list of nodes, and fails early attaches for it.
#[tokio::test(start_paused = true)]
async fn nothing_begins_before_every_list_is_complete() {
    for plural in ["csinodes", "persistentvolumes", "volumeattachments"] {
        ATTACHER
            .case(plural, [pv("pv1"), va(), csi_node("node1")])
            .fault(move |step| step.is("list", plural), 1, Fault::Delay(Duration::from_secs(20)))
            .ends_with(&[PUBLISHED], &ALL)
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_attach_that_lacks_only_its_volume_goes_on_when_that_comes() {
    let error = "attach error: persistentvolume \"pv1\" not found";
    ATTACHER
        .case("volume", [va(), csi_node("node1")])
        .config(|config| config.backoff.base = Duration::from_secs(3600))
        .config(|config| config.backoff.max = Duration::from_secs(3600))
        .meanwhile(|world| drop(world.api.put(pv("pv1"))))
        .ends_with(&[PUBLISHED], &[error, "protect pv1", "save", "attached"])
        .await;
}

/// Its end is waited for, and what comes in its place is attached at once.
#[tokio::test(start_paused = true)]
async fn a_volume_made_anew_after_its_deletion_is_attached_at_once() {
    let deleted = with(pv("pv1"), json!({"metadata": {"finalizers": ["example.com/a"]}}));
    let error = "attach error: PersistentVolume \"pv1\" is marked for deletion";
    ATTACHER
        .case("made anew", [deleted, va(), csi_node("node1")])
        .deleted("persistentvolumes", "pv1")
        .config(|config| config.backoff.base = Duration::from_secs(3600))
        .config(|config| config.backoff.max = Duration::from_secs(3600))
        .meanwhile(|world| {
            world
                .api
                .edit("persistentvolumes", "pv1", |object| object["metadata"]["labels"] = json!({"a": "b"}));
            world.api.edit("persistentvolumes", "pv1", |object| object["metadata"]["finalizers"] = json!([]));
            world.api.put(pv("pv1"));
        })
        .ends_with(&[PUBLISHED], &[error, "protect pv1", "save", "attached"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_takes_no_part_has_its_attachments_marked() {
    let foreign = with(attachment("va2", "pv2", "node1"), json!({"spec": {"attacher": "other"}}));
    ATTACHER
        .case("one of ours, one of another", [va(), foreign.clone()])
        .config(|config| config.can.attach = false)
        .ends_with(&[], &["attached"])
        .await;
    let deleted = with(va(), json!({"metadata": {"finalizers": ["example.com/a"]}}));
    ATTACHER
        .case("being deleted", [deleted])
        .deleted("volumeattachments", VA)
        .config(|config| config.can.attach = false)
        .ends_with(&[], &["attached"])
        .await;
    ATTACHER
        .case("changed", [])
        .config(|config| config.can.attach = false)
        .meanwhile(move |world| {
            world.api.put(foreign.clone());
            world.api.put(va());
        })
        .ends_with(&[], &["attached"])
        .await;
    ATTACHER
        .case("failed once", [va()])
        .config(|config| config.can.attach = false)
        .fault(|step| step.is("patch", "volumeattachments/status"), 1, Fault::ApiError(500))
        .ends_with(&[], &["attached (500)", "attached"])
        .await;
}

//! Our attacher finishes what the Go attacher left half done, wherever that stopped
//! (docs/upstream/attacher.md, "Attach" and "Detach").

use serde_json::{Value, json};
use sim::{Publication, World};

use crate::harness::{ATTACHER, Case, object};
use crate::objects::{FINALIZER, VA, csi_node, protected, pv, theirs, va, with};

const PUBLISHED: &str = "publish id-of-pv1 node1-id Ok";
const WITHDRAWN: &str = "unpublish id-of-pv1 node1-id Ok";

fn metadata(finalizer: bool, node_id: bool) -> Value {
    let finalizers: &[&str] = if finalizer { &[FINALIZER] } else { &[] };
    let annotations =
        if node_id { json!({"csi.alpha.kubernetes.io/node-id": "node1-id"}) } else { json!({}) };
    json!({"metadata": {"finalizers": finalizers, "annotations": annotations}})
}

/// The driver has published the volume, and nobody has written that down.
fn published(world: &World) {
    world.driver.change_model(|model| {
        let volume = model.volumes.get_mut("id-of-pv1").expect("a volume");
        volume.published.insert("node1-id".to_owned(), Publication { readonly: false, capability: None });
    });
}

#[tokio::test(start_paused = true)]
async fn an_attach_stopped_anywhere_is_finished() {
    let error = json!({"attachError": {"message": "rpc error: code = Internal desc = x", "time": "2026-01-01T00:00:00Z", "errorCode": 13}});
    for (name, volume, metadata, status, writes) in [
        ("nothing done", pv("pv1"), json!({}), json!({}), &["protect pv1", "save", "attached"][..]),
        ("volume protected", protected("pv1"), json!({}), json!({}), &["save", "attached"]),
        // The handle is noted, too, so that a detach needs nothing else.
        ("attachment saved", protected("pv1"), metadata(true, true), json!({}), &["save", "attached"]),
        ("error saved", protected("pv1"), metadata(true, true), error, &["save", "attached"]),
        (
            "error saved before the attachment",
            protected("pv1"),
            json!({}),
            json!({"attachError": {"message": "m", "time": "2026-01-01T00:00:00Z"}}),
            &["save", "attached"],
        ),
    ] {
        let attachment = with(with(va(), metadata), json!({"status": status}));
        let world = ATTACHER
            .case(name, [volume, attachment, csi_node("node1")])
            .ends_with(&[PUBLISHED], writes)
            .await;
        let attachment = object(&world, "volumeattachments", VA);
        assert_eq!(attachment["status"]["attached"], json!(true), "{name}");
        assert_eq!(attachment["status"].get("attachError"), None, "{name}");
    }
    let old = json!({"metadata": {"annotations": {"csi.alpha.kubernetes.io/node-id": "old"}}});
    let attachment = with(with(va(), metadata(true, false)), old);
    ATTACHER
        .case("node id of another time", [protected("pv1"), attachment, csi_node("node1")])
        .ends_with(&["unpublish id-of-pv1 old Ok", PUBLISHED], &["save", "attached"])
        .await;
    let done = theirs(va());
    ATTACHER.case("attached", [protected("pv1"), done, csi_node("node1")]).ends_with(&[], &[]).await;
}

/// The cases in which the driver was called but the process ended before the reply was written.
#[tokio::test(start_paused = true)]
async fn unrecorded_publication_is_repeated_or_unpublished() {
    // The model calls another capability a conflict: publish through the attacher itself, then forget the status.
    let world = ATTACHER
        .case("published", [protected("pv1"), with(va(), metadata(true, true)), csi_node("node1")])
        .ends_with(&[PUBLISHED], &["save", "attached"])
        .await;
    world.api.edit("volumeattachments", VA, |object| object["status"] = json!({"attached": false}));
    tokio::time::sleep(crate::harness::QUIET).await;
    assert_eq!(crate::harness::calls(&world), [PUBLISHED, PUBLISHED]);
    assert_eq!(object(&world, "volumeattachments", VA)["status"]["attached"], json!(true));
}

/// A case of an attachment deleted before the attacher started.
fn deleted(name: &'static str, attachment: Value) -> Case {
    ATTACHER.case(name, [protected("pv1"), attachment, csi_node("node1")]).deleted("volumeattachments", VA)
}

#[tokio::test(start_paused = true)]
async fn a_detach_stopped_anywhere_is_finished() {
    let error = json!({"status": {"detachError": {"message": "m", "time": "2026-01-01T00:00:00Z"}}});
    for (name, attachment) in [
        ("nothing done", theirs(va())),
        ("error saved", with(theirs(va()), error)),
        ("never attached", with(theirs(va()), json!({"status": {"attached": false}}))),
        (
            "saved, attach failed",
            with(theirs(va()), json!({"status": {"attached": false, "attachError": {"message": "m"}}})),
        ),
    ] {
        let world = deleted(name, attachment).ends_with(&[WITHDRAWN], &["unbind"]).await;
        assert_eq!(world.api.get("volumeattachments", VA), None, "{name}");
    }
    // Between the finalizer and the status, with another's finalizer on the object: withdrawn once more, which is
    // harmless, and written down.
    let between = with(theirs(va()), json!({"metadata": {"finalizers": ["example.com/a"]}}));
    let world = deleted("finalizer removed", between).ends_with(&[WITHDRAWN], &["detached"]).await;
    assert_eq!(object(&world, "volumeattachments", VA)["status"], json!({"attached": false}));
    let after = with(
        theirs(va()),
        json!({"metadata": {"finalizers": ["example.com/a"]}, "status": {"attached": false}}),
    );
    deleted("all done", after).ends_with(&[], &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_deleted_while_attached_is_released_at_the_end() {
    let world = ATTACHER
        .case("deleted in use", [protected("pv1"), theirs(va()), csi_node("node1")])
        .deleted("persistentvolumes", "pv1")
        .meanwhile(|world| {
            published(world);
            assert!(world.api.delete("volumeattachments", VA));
        })
        .ends_with(&[WITHDRAWN], &["unbind", "release pv1"])
        .await;
    assert!(world.driver.publications().is_empty());
    let finalizers = &object(&world, "persistentvolumes", "pv1")["metadata"]["finalizers"];
    assert_eq!(*finalizers, json!(["kubernetes.io/pv-protection"]));
}

//! The finalizer on PersistentVolumes (docs/upstream/attacher.md, "PersistentVolume finalizer" and
//! "Test cases").

use serde_json::json;
use sim::{Fault, World};

use crate::harness::{ATTACHER, object};
use crate::objects::{FINALIZER, VA, attachment, csi_node, gce_pd, ours, protected, pv, va, with};
use sim::Ended;

fn deleted(world: &World) {
    assert!(world.api.delete("persistentvolumes", "pv1"));
}

/// Free of everybody's finalizer but that of Kubernetes, whose controller is not here.
fn gone(world: &Ended) {
    let finalizers = &object(world, "persistentvolumes", "pv1")["metadata"]["finalizers"];
    assert_eq!(*finalizers, json!(["kubernetes.io/pv-protection"]));
}

#[tokio::test(start_paused = true)]
async fn comes_off_a_deleted_volume_that_is_attached_nowhere() {
    gone(
        &ATTACHER
            .case("deleted before", [protected("pv1")])
            .deleted("persistentvolumes", "pv1")
            .ends_with(&[], &["release pv1"])
            .await,
    );
    gone(
        &ATTACHER
            .case("deleted now", [protected("pv1")])
            .meanwhile(deleted)
            .ends_with(&[], &["release pv1"])
            .await,
    );
    let elsewhere = attachment("va2", "pv2", "node1");
    let foreign = with(elsewhere, json!({"spec": {"attacher": "other"}}));
    gone(
        &ATTACHER
            .case("others attached", [protected("pv1"), foreign])
            .meanwhile(deleted)
            .ends_with(&[], &["release pv1"])
            .await,
    );
}

#[tokio::test(start_paused = true)]
async fn others_finalizers_stay() {
    for (name, finalizers) in [
        ("first", json!([FINALIZER, "example.com/a", "example.com/b"])),
        ("middle", json!(["example.com/a", FINALIZER, "example.com/b"])),
        ("last", json!(["example.com/a", "example.com/b", FINALIZER])),
    ] {
        let volume = with(pv("pv1"), json!({"metadata": {"finalizers": finalizers}}));
        let world = ATTACHER
            .case(name, [volume])
            .deleted("persistentvolumes", "pv1")
            .ends_with(&[], &["release pv1"])
            .await;
        let left = object(&world, "persistentvolumes", "pv1");
        let left = left["metadata"]["finalizers"].as_array().unwrap();
        let examples =
            left.iter().filter(|name| name.as_str().is_some_and(|name| name.starts_with("example.com")));
        assert_eq!(examples.count(), 2, "{name}: {left:?}");
        assert!(!left.contains(&json!(FINALIZER)), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn stays_while_the_volume_is_wanted_or_attached() {
    ATTACHER.case("not deleted", [protected("pv1")]).ends_with(&[], &[]).await;
    ATTACHER
        .case("changed", [protected("pv1")])
        .meanwhile(|world| {
            world
                .api
                .edit("persistentvolumes", "pv1", |object| object["metadata"]["labels"] = json!({"a": "b"}));
        })
        .ends_with(&[], &[])
        .await;
    ATTACHER
        .case("attached", [protected("pv1"), ours(va()), csi_node("node1")])
        .meanwhile(deleted)
        .ends_with(&[], &[])
        .await;
    let foreign = with(va(), json!({"spec": {"attacher": "other"}}));
    ATTACHER
        .case("attached by another", [protected("pv1"), foreign])
        .meanwhile(deleted)
        .ends_with(&[], &[])
        .await;
    let others = with(pv("pv1"), json!({"metadata": {"finalizers": ["example.com/a"]}}));
    ATTACHER.case("not ours", [others]).meanwhile(deleted).ends_with(&[], &[]).await;
    let foreign = with(
        pv("pv1"),
        json!({"metadata": {"finalizers": ["external-attacher/other"]}, "spec": {"csi": {"driver": "other"}}}),
    );
    ATTACHER.case("foreign volume", [foreign]).meanwhile(deleted).ends_with(&[], &[]).await;
}

#[tokio::test(start_paused = true)]
async fn comes_off_when_the_last_attachment_is_gone() {
    let second = || with(attachment("va2", "pv1", "node2"), json!({"spec": {"attacher": "other"}}));
    let world = ATTACHER
        .case("two attachments", [protected("pv1"), ours(va()), second(), csi_node("node1")])
        .meanwhile(|world| {
            deleted(world);
            assert!(world.api.delete("volumeattachments", VA));
        })
        .ends_with(&["unpublish id-of-pv1 node1-id Ok"], &["unbind"])
        .await;
    world.api.delete("volumeattachments", "va2");
    tokio::time::sleep(crate::harness::QUIET).await;
    assert_eq!(crate::harness::writes(&world), ["unbind", "release pv1"]);
    gone(&world);
}

#[tokio::test(start_paused = true)]
async fn a_refused_removal_is_repeated() {
    let world = ATTACHER
        .case("refused twice", [protected("pv1")])
        .deleted("persistentvolumes", "pv1")
        .fault(|step| step.is("patch", "persistentvolumes"), 2, Fault::ApiError(500))
        .ends_with(&[], &["release pv1 (500)", "release pv1 (500)", "release pv1"])
        .await;
    gone(&world);
}

/// In-tree volumes whose migration has ended lose our finalizer (docs/upstream/attacher.md, "Event intake").
#[tokio::test(start_paused = true)]
async fn comes_off_in_tree_volumes_that_are_not_migrated_to_us() {
    let volume = |finalizer: bool, migrated: Option<&str>| {
        let finalizers: &[&str] = if finalizer { &[FINALIZER] } else { &[] };
        let metadata =
            json!({"finalizers": finalizers, "annotations": {"pv.kubernetes.io/migrated-to": migrated}});
        with(gce_pd("pv1"), json!({"metadata": metadata}))
    };
    for (name, volume, writes) in [
        ("not migrated", volume(true, None), &["release pv1"][..]),
        ("migrated to another", volume(true, Some("other")), &["release pv1"]),
        ("migrated to us", volume(true, Some("driver.example")), &[]),
        ("without finalizer", volume(false, None), &[]),
    ] {
        ATTACHER.case(name, [volume]).ends_with(&[], writes).await;
    }
    let deleted = volume(true, Some("driver.example"));
    gone(
        &ATTACHER
            .case("deleted", [deleted])
            .deleted("persistentvolumes", "pv1")
            .ends_with(&[], &["release pv1"])
            .await,
    );
    let nfs = with(protected("pv1"), json!({"spec": {"csi": null, "nfs": {"server": "s", "path": "/"}}}));
    ATTACHER.case("never migratable", [nfs]).ends_with(&[], &[]).await;
}

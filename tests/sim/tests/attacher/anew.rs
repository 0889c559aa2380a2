//! Objects that go and are made anew under their names while something is under way for the old ones.

use std::time::Duration;

use serde_json::{Value, json};
use sim::{Fault, Reply, Running, World};
use tokio::time::sleep;
use tonic::Code;

use crate::forced::force_away;
use crate::harness::{ATTACHER, calls, world_with, writes};
use crate::objects::{DRIVER, FINALIZER, VA, csi_node, gce_pd, ours, protected, pv, theirs, va, with};

const PUBLISHED: &str = "publish id-of-pv1 node1-id Ok";

fn world(objects: impl IntoIterator<Item = Value>) -> World {
    let world = world_with(&["pv1"]);
    for object in objects.into_iter().chain([csi_node("node1")]) {
        world.api.put(object);
    }
    world
}

fn run(world: &World) -> Running {
    ATTACHER.run(world, |config| {
        config.resync = Duration::ZERO;
    })
}

/// Takes every finalizer off the volume and deletes it.
fn force_volume_away(world: &World) {
    let free = |object: &mut Value| object["metadata"]["finalizers"] = json!([]);
    world.api.edit("persistentvolumes", "pv1", free);
    world.api.delete("persistentvolumes", "pv1");
    world.api.edit_if_there("persistentvolumes", "pv1", free);
    assert_eq!(world.api.get("persistentvolumes", "pv1"), None);
}

/// How often the sidecar asked for the volume.
fn asked(world: &World) -> usize {
    let requests = world.api.requests();
    requests.iter().filter(|request| request.resource == "persistentvolumes" && request.verb == "get").count()
}

#[tokio::test(start_paused = true)]
async fn detach_error_is_not_written_to_a_recreated_attachment() {
    let world = world([protected("pv1"), ours(va())]);
    let slow = Reply::error(Code::Internal, "no").after(Duration::from_secs(5));
    world.driver.script("ControllerUnpublishVolume", [slow]);
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    world.api.delete("volumeattachments", VA);
    sleep(Duration::from_secs(2)).await;
    world.api.edit("volumeattachments", VA, |object| object["metadata"]["finalizers"] = json!([]));
    assert_eq!(world.api.get("volumeattachments", VA), None);
    world.api.put(va());
    sleep(Duration::from_secs(600)).await;
    assert_eq!(calls(&world), ["unpublish id-of-pv1 node1-id Internal", PUBLISHED]);
    assert_eq!(writes(&world), ["save", "attached"]);
    let status = world.api.get("volumeattachments", VA).unwrap()["status"].clone();
    assert_eq!((&status["attached"], status.get("detachError")), (&json!(true), None));
}

#[tokio::test(start_paused = true)]
async fn attach_error_is_not_written_to_a_recreated_attachment() {
    let world = world([protected("pv1"), va()]);
    let slow = Reply::error(Code::Internal, "no").after(Duration::from_secs(5));
    world.driver.script("ControllerPublishVolume", [slow]);
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    force_away(&world, VA);
    world.api.put(va());
    sleep(Duration::from_secs(600)).await;
    assert_eq!(calls(&world), ["publish id-of-pv1 node1-id Internal", PUBLISHED]);
    assert_eq!(writes(&world), ["save", "save", "attached"]);
}

#[tokio::test(start_paused = true)]
async fn a_volume_made_anew_during_its_release_is_left_alone() {
    let held = with(pv("pv1"), json!({"metadata": {"finalizers": [FINALIZER, "example.com/a"]}}));
    let world = world([held]);
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    world.steps.on(|step| step.is("patch", "persistentvolumes"), 1, Fault::Delay(Duration::from_secs(5)));
    world.api.delete("persistentvolumes", "pv1");
    sleep(Duration::from_secs(2)).await;
    world.api.delay_watch(Duration::from_secs(30));
    world.api.edit("persistentvolumes", "pv1", |object| object["metadata"]["finalizers"] = json!([]));
    world.api.put(protected("pv1"));
    sleep(Duration::from_secs(600)).await;
    assert_eq!(writes(&world), ["release pv1 (422)"], "once, and done");
    let finalizers = world.api.get("persistentvolumes", "pv1").unwrap()["metadata"]["finalizers"].to_string();
    assert!(finalizers.contains(FINALIZER), "{finalizers}");
}

#[tokio::test(start_paused = true)]
async fn recreated_volume_is_attached_after_the_old_one_vanished() {
    let error = "attach error: persistentvolume \"pv1\" not found";
    for (successor, refused) in [(true, "protect pv1 (422)"), (false, "protect pv1 (404)")] {
        let world = world([pv("pv1"), va()]);
        world.steps.on(|step| step.is("patch", "persistentvolumes"), 1, Fault::Delay(Duration::from_secs(5)));
        let _running = run(&world);
        sleep(Duration::from_secs(2)).await;
        // No watch tells of it.
        world.api.delay_watch(Duration::from_secs(8));
        force_volume_away(&world);
        if successor {
            world.api.put(pv("pv1"));
        }
        sleep(Duration::from_secs(6)).await;
        assert_eq!(writes(&world)[..2], [refused, error]);
        if !successor {
            world.api.put(pv("pv1"));
        }
        sleep(Duration::from_secs(600)).await;
        assert_eq!(calls(&world), [PUBLISHED]);
        assert_eq!(writes(&world)[2..], ["protect pv1", "save", "attached"]);
    }
}

/// It is in the cache, and the API server does not have it: that is no coming, whatever the watch does.
#[tokio::test(start_paused = true)]
async fn missing_in_tree_volume_is_read_only_after_the_back_off() {
    let migrated = json!({"metadata": {"annotations": {"pv.kubernetes.io/migrated-to": DRIVER}}});
    for (attachment, deleted) in [(va(), false), (theirs(va()), true)] {
        let world = world([with(gce_pd("pv1"), migrated.clone())]);
        world.api.set_latency(Duration::from_millis(10));
        let _running = run(&world);
        sleep(Duration::from_secs(2)).await;
        let watch = |step: &sim::Step| step.is("watch", "persistentvolumes");
        world.steps.on(watch, usize::MAX, Fault::Delay(Duration::from_secs(600)));
        world.api.break_watches();
        sleep(Duration::from_secs(10)).await;
        force_volume_away(&world);
        world.api.put(attachment);
        if deleted {
            world.api.delete("volumeattachments", VA);
        }
        sleep(Duration::from_secs(31)).await;
        let asked = asked(&world);
        assert!((4..=6).contains(&asked), "{asked}: at 0, 1, 3, 7, 15 and 31 s at the most");
        assert_eq!((calls(&world).len(), writes(&world).len()), (0, 1), "the error");
    }
}

/// Our finalizer is on by then: it asks for the detach.
#[tokio::test(start_paused = true)]
async fn attachment_deleted_before_its_call_is_never_published() {
    let bound = with(va(), json!({"metadata": {"finalizers": [FINALIZER]}}));
    for (name, attachment, fault) in [
        ("the watch tells", va(), Fault::LateReply(Duration::from_secs(5))),
        ("the reply tells", bound, Fault::Delay(Duration::from_secs(5))),
    ] {
        let world = world([protected("pv1"), attachment]);
        world.steps.on(|step| step.is("patch", "volumeattachments"), 1, fault);
        let _running = run(&world);
        sleep(Duration::from_secs(2)).await;
        world.api.delete("volumeattachments", VA);
        sleep(Duration::from_secs(600)).await;
        assert_eq!(calls(&world), ["unpublish id-of-pv1 node1-id Ok"], "{name}");
        assert_eq!(writes(&world), ["save", "unbind"], "{name}");
        assert_eq!(world.api.count("volumeattachments"), 0, "{name}");
    }
}

/// The node is replaced under its name: its CSINode has another id from then on.
fn replace_node(world: &World) {
    world.api.edit("csinodes", "node1", |node| node["spec"]["drivers"][1]["nodeID"] = json!("new-id"));
}

#[tokio::test(start_paused = true)]
async fn volume_is_detached_from_the_node_id_it_was_attached_to() {
    let world = world([pv("pv1"), va()]);
    let _running = run(&world);
    sleep(Duration::from_secs(5)).await;
    replace_node(&world);
    sleep(Duration::from_secs(5)).await;
    world.api.delete("volumeattachments", VA);
    sleep(Duration::from_secs(60)).await;
    let unpublished = ["unpublish id-of-pv1 node1-id Ok", "unpublish id-of-pv1 new-id Ok"];
    assert_eq!(calls(&world), [PUBLISHED, unpublished[0], unpublished[1]]);
    assert_eq!(world.api.count("volumeattachments"), 0);
}

#[tokio::test(start_paused = true)]
async fn unknown_attach_is_undone_before_the_new_node_id_is_used() {
    let world = world([pv("pv1"), va()]);
    world.driver.script("ControllerPublishVolume", [Reply::Hang]);
    let _running = run(&world);
    sleep(Duration::from_secs(5)).await;
    replace_node(&world);
    sleep(Duration::from_secs(120)).await;
    let expected = [
        "publish id-of-pv1 node1-id unanswered",
        "unpublish id-of-pv1 node1-id Ok",
        "publish id-of-pv1 new-id Ok",
    ];
    assert_eq!(calls(&world), expected);
    let attachment = world.api.get("volumeattachments", VA).unwrap();
    assert_eq!(attachment["status"]["attached"], true);
    assert_eq!(world.driver.publications().len(), 1);
}

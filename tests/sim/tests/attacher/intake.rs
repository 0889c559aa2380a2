//! Events, back-off and restarts: which changes end a back-off (docs/upstream/attacher.md, "Event intake" and
//! "Retry").

use std::time::Duration;

use base::leadership::Leadership;
use serde_json::json;
use sim::{Reply, World};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::harness::{ATTACHER, calls, config, seconds, world_with, writes};
use crate::objects::{VA, attachment, csi_node, ours, protected, pv, va, with};

const PUBLISHED: &str = "publish id-of-pv1 node1-id Ok";

fn refused() -> Reply {
    Reply::error(Code::Internal, "no")
}

/// A world in which attaching `pv1` to `node1` fails with this reply for as long as the driver is not honest.
fn failing(reply: Reply) -> World {
    let world = world_with(&["pv1"]);
    world.driver.always("ControllerPublishVolume", reply);
    for object in [protected("pv1"), csi_node("node1"), va()] {
        world.api.put(object);
    }
    world
}

fn run(world: &World) -> sim::Running {
    ATTACHER.run(world, |_| {})
}

/// The resync at 600 s ends the pause, as upstream's does; the pauses go on from where they were.
#[tokio::test(start_paused = true)]
async fn repeated_failure_is_written_once_and_doubles_the_pause() {
    let (world, start) = (failing(refused()), Instant::now());
    let _running = run(&world);
    sleep(Duration::from_secs(299)).await;
    assert_eq!(seconds(&world, start), [0, 1, 3, 7, 15, 31, 63, 127, 255]);
    assert_eq!(writes(&world), ["save", "attach error: rpc error: code = Internal desc = no"]);
    // The longest pause from here on.
    sleep(Duration::from_secs(900)).await;
    assert_eq!(seconds(&world, start)[8..], [255, 511, 600, 900]);
}

#[tokio::test(start_paused = true)]
async fn an_open_call_is_repeated_every_half_minute_at_least() {
    let (world, start) = (failing(Reply::error(Code::Aborted, "pending")), Instant::now());
    let _running = run(&world);
    sleep(Duration::from_secs(125)).await;
    assert_eq!(seconds(&world, start), [0, 1, 3, 7, 15, 31, 61, 91, 121]);
}

/// A node without room is asked as seldom as upstream asks it, not every half minute for ever.
#[tokio::test(start_paused = true)]
async fn full_node_backs_off_up_to_the_longest_pause() {
    let (world, start) = (failing(Reply::error(Code::ResourceExhausted, "no slot left")), Instant::now());
    let _running = run(&world);
    sleep(Duration::from_secs(599)).await;
    assert_eq!(seconds(&world, start), [0, 1, 3, 7, 15, 31, 63, 127, 255, 511]);
}

/// The API server takes no message of more than 1024 bytes.
#[tokio::test(start_paused = true)]
async fn a_long_message_is_cut_and_written_once() {
    let world = failing(Reply::error(Code::Internal, &"x".repeat(3000)));
    let _running = run(&world);
    sleep(Duration::from_secs(60)).await;
    let message = world.api.get("volumeattachments", VA).unwrap()["status"]["attachError"]["message"].clone();
    assert_eq!(message.as_str().map(str::len), Some(1024));
    assert_eq!(writes(&world).len(), 2, "saved, and one error");
}

#[tokio::test(start_paused = true)]
async fn a_changed_message_is_written() {
    let world = failing(refused());
    world
        .driver
        .script("ControllerPublishVolume", [refused(), refused(), Reply::error(Code::Internal, "still no")]);
    let _running = run(&world);
    sleep(Duration::from_secs(5)).await;
    let error = |text: &str| format!("attach error: rpc error: code = Internal desc = {text}");
    assert_eq!(writes(&world), ["save".to_owned(), error("no"), error("still no")]);
}

#[tokio::test(start_paused = true)]
async fn only_foreign_error_writes_leave_the_pause_running() {
    let (world, start) = (failing(refused()), Instant::now());
    let _running = run(&world);
    // Between the tries at 15 s and 31 s.
    sleep(Duration::from_secs(20)).await;
    assert_eq!(seconds(&world, start).len(), 5);
    world
        .api
        .edit("volumeattachments", VA, |object| object["status"]["attachError"]["message"] = json!("mine"));
    sleep(Duration::from_secs(1)).await;
    world
        .api
        .edit("volumeattachments", VA, |object| object["status"]["detachError"] = json!({"message": "mine"}));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(seconds(&world, start).len(), 5);
    world.api.edit("volumeattachments", VA, |object| object["metadata"]["labels"] = json!({"try": "now"}));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(seconds(&world, start)[5..], [22]);
}

/// The watch may show our own write before its reply is there, or long after: it is no news either way.
#[tokio::test(start_paused = true)]
async fn our_own_writes_do_not_end_the_pause() {
    for delay in [0, 3, 500, 1500] {
        let (world, start) = (failing(refused()), Instant::now());
        world.api.delay_watch(Duration::from_millis(delay));
        world.api.duplicate_events(true);
        world.api.set_latency(Duration::from_millis(10));
        let _running = run(&world);
        sleep(Duration::from_secs(14)).await;
        assert_eq!(seconds(&world, start), [0, 1, 3, 7], "watch {delay} ms behind");
    }
}

#[tokio::test(start_paused = true)]
async fn late_watch_causes_no_second_attach_or_detach() {
    for delay in [0, 3, 500, 1500] {
        let world = world_with(&["pv1"]);
        world.api.delay_watch(Duration::from_millis(delay));
        world.api.duplicate_events(true);
        for object in [protected("pv1"), csi_node("node1"), va()] {
            world.api.put(object);
        }
        let _running = run(&world);
        sleep(Duration::from_secs(10)).await;
        world.api.break_watches();
        world.api.expire_history();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(calls(&world), [PUBLISHED], "watch {delay} ms behind");
        assert_eq!(writes(&world), ["save", "attached"]);
        world.api.delete("volumeattachments", VA);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(calls(&world), [PUBLISHED, "unpublish id-of-pv1 node1-id Ok"], "watch {delay} ms behind");
        assert_eq!(writes(&world), ["save", "attached", "unbind"]);
    }
}

#[tokio::test(start_paused = true)]
async fn deleted_while_being_attached_means_detached_afterwards() {
    let world = failing(Reply::Ok.after(Duration::from_secs(5)));
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    world.api.delete("volumeattachments", VA);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(calls(&world), [PUBLISHED, "unpublish id-of-pv1 node1-id Ok"]);
    assert_eq!(writes(&world), ["save", "attached", "unbind"]);
    assert_eq!((world.driver.overlaps(), world.api.count("volumeattachments")), (Vec::new(), 0));
}

/// The reply of our own write tells of the deletion before the watch does, whose event is old news then.
#[tokio::test(start_paused = true)]
async fn deletion_shown_after_our_own_write_is_handled() {
    let world = failing(Reply::Ok.after(Duration::from_secs(5)));
    world.api.delay_watch(Duration::from_secs(3));
    let _running = run(&world);
    sleep(Duration::from_secs(4)).await;
    world.api.delete("volumeattachments", VA);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(calls(&world), [PUBLISHED, "unpublish id-of-pv1 node1-id Ok"]);
    assert_eq!(writes(&world), ["save", "attached", "unbind"]);
    assert_eq!(world.api.count("volumeattachments"), 0);
}

/// A user forces the attachment out, and its controller makes it anew, while the driver works: what belongs to the
/// first is not written to the second, which is attached with finalizer and note like any other.
#[tokio::test(start_paused = true)]
async fn attachment_recreated_during_the_call_is_attached_too() {
    for delay in [0, 3000] {
        let world = failing(Reply::Ok.after(Duration::from_secs(5)));
        world.api.delay_watch(Duration::from_millis(delay));
        let _running = run(&world);
        sleep(Duration::from_secs(4)).await;
        world.api.edit("volumeattachments", VA, |object| object["metadata"]["finalizers"] = json!([]));
        world.api.delete("volumeattachments", VA);
        world.api.put(va());
        sleep(Duration::from_secs(30)).await;
        let attachment = world.api.get("volumeattachments", VA).unwrap();
        assert_eq!(attachment["status"]["attached"], true, "watch {delay} ms behind");
        assert_eq!(attachment["metadata"]["finalizers"], ours(va())["metadata"]["finalizers"]);
        // With a late watch nothing is known of the second yet, and what the first had is withdrawn.
        let between = if delay == 0 { vec![] } else { vec!["unpublish id-of-pv1 node1-id Ok"] };
        assert_eq!(
            calls(&world),
            [vec![PUBLISHED], between, vec![PUBLISHED]].concat(),
            "watch {delay} ms behind"
        );
        let expected = ["save", "attached (422)", "save", "attached"];
        assert_eq!(writes(&world), expected, "watch {delay} ms behind");
    }
}

/// News of an attachment that is being detached, and a watch that does not yet know that it is gone.
#[tokio::test(start_paused = true)]
async fn a_detach_is_not_repeated_for_news_that_came_meanwhile() {
    let world = world_with(&["pv1"]);
    world.driver.always("ControllerUnpublishVolume", Reply::Ok.after(Duration::from_secs(5)));
    world.api.delay_watch(Duration::from_millis(500));
    for object in [protected("pv1"), csi_node("node1"), ours(va())] {
        world.api.put(object);
    }
    world.api.delete("volumeattachments", VA);
    let _running = run(&world);
    sleep(Duration::from_secs(3)).await;
    world.api.edit("volumeattachments", VA, |object| object["metadata"]["labels"] = json!({"a": "b"}));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(calls(&world), ["unpublish id-of-pv1 node1-id Ok"]);
    assert_eq!(writes(&world), ["unbind"]);
}

#[tokio::test(start_paused = true)]
async fn a_volume_attached_twice_is_protected_once() {
    let world = world_with(&["pv1"]);
    world.api.delay_watch(Duration::from_millis(1500));
    let shared = with(pv("pv1"), json!({"spec": {"accessModes": ["ReadWriteMany"]}}));
    for object in [shared, csi_node("node1"), csi_node("node2"), va(), attachment("va2", "pv1", "node2")] {
        world.api.put(object);
    }
    let _running = ATTACHER.run(&world, |config| config.workers = 1);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(calls(&world).len(), 2);
    assert_eq!(writes(&world), ["protect pv1", "save", "attached", "save", "attached"]);
}

#[tokio::test(start_paused = true)]
async fn deleted_in_the_back_off_means_detached_at_once() {
    let (world, start) = (failing(refused()), Instant::now());
    let _running = run(&world);
    sleep(Duration::from_secs(20)).await;
    world.api.delete("volumeattachments", VA);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(seconds(&world, start), [0, 1, 3, 7, 15, 20]);
    assert_eq!(calls(&world).last().unwrap(), "unpublish id-of-pv1 node1-id Ok");
    assert_eq!(world.api.count("volumeattachments"), 0);
}

/// Two attachments made by hand for one volume and one node.
#[tokio::test(start_paused = true)]
async fn one_call_at_a_time_for_a_volume_on_a_node() {
    let world = failing(Reply::Ok.after(Duration::from_secs(5)));
    world.api.put(with(va(), json!({"metadata": {"name": "va2"}})));
    let start = Instant::now();
    let _running = run(&world);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(calls(&world), [PUBLISHED, PUBLISHED]);
    assert_eq!((seconds(&world, start), world.driver.overlaps()), (vec![0, 5], Vec::new()));
}

/// Without leadership nothing is called and nothing is written.
#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_lead_does_nothing() {
    let world = failing(Reply::Ok);
    world.api.put(ours(with(va(), json!({"metadata": {"name": "va2"}}))));
    world.api.delete("volumeattachments", "va2");
    let _running = world.run(Duration::from_secs(3600), |world| {
        ATTACHER.live(world, config(), Leadership::candidate(), CancellationToken::new())
    });
    sleep(Duration::from_secs(600)).await;
    assert_eq!((calls(&world), writes(&world)), (Vec::new(), Vec::new()));
}

/// Asked to stop: what is in flight ends, with its writes; nothing else begins.
#[tokio::test(start_paused = true)]
async fn what_is_in_flight_ends_before_the_process_does() {
    let world = failing(Reply::Ok.after(Duration::from_secs(5)));
    let stop = CancellationToken::new();
    let token = stop.clone();
    let ended = tokio::spawn(ATTACHER.live(world.clone(), config(), Leadership::always(), token));
    sleep(Duration::from_secs(2)).await;
    stop.cancel();
    world.api.put(with(va(), json!({"metadata": {"name": "va2"}, "spec": {"nodeName": "node2"}})));
    ended.await.unwrap();
    assert_eq!(
        (calls(&world), writes(&world)),
        (vec![PUBLISHED.to_owned()], vec!["save".to_owned(), "attached".to_owned()])
    );
}

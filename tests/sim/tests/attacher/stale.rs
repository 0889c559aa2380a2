//! The cache loses an attachment that exists: a list came from an API server that lags behind.

use std::time::Duration;

use sim::{Fault, Reply, Running, World};
use tokio::time::sleep;
use tonic::Code;

use crate::forced::force_away;
use crate::harness::{ATTACHER, calls, world_with, writes};
use crate::objects::{VA, csi_node, ours, protected, va, with};

const PUBLISHED: &str = "publish id-of-pv1 node1-id Ok";
const WITHDRAWN: &str = "unpublish id-of-pv1 node1-id Ok";

fn run(world: &World) -> Running {
    ATTACHER.run(world, |config| config.resync = Duration::ZERO)
}

/// Two seconds into a publication that is answered so, a list leaves the attachment out.
async fn lost(reply: Reply) -> (World, Running) {
    let world = world_with(&["pv1"]);
    world.driver.script("ControllerPublishVolume", [reply]);
    for object in [protected("pv1"), csi_node("node1"), va()] {
        world.api.put(object);
    }
    let running = run(&world);
    sleep(Duration::from_secs(2)).await;
    world.api.leave_out("volumeattachments", VA, true);
    relist(&world);
    sleep(Duration::from_secs(2)).await;
    (world, running)
}

/// The watch is too far behind to go on.
fn relist(world: &World) {
    world.api.put(csi_node(&format!("node-{}", world.api.count("csinodes") + 1)));
    world.api.expire_history();
    world.api.break_watches();
}

fn reads(world: &World) -> usize {
    let requests = world.api.requests();
    requests.iter().filter(|request| request.verb == "get" && request.resource == "volumeattachments").count()
}

#[tokio::test(start_paused = true)]
async fn lost_attachment_is_attached_and_not_withdrawn() {
    let (world, _running) = lost(Reply::Ok.after(Duration::from_secs(5))).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!((calls(&world), writes(&world)), (vec![PUBLISHED.to_owned()], owned(&["save", "attached"])));
    assert!(reads(&world) <= 1, "the reply to our write is proof enough");
    assert_eq!(world.api.get("volumeattachments", VA).unwrap()["status"]["attached"], true);
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// The call is open, and nothing in the cache tells of its attachment: the API server does.
#[tokio::test(start_paused = true)]
async fn open_call_of_a_lost_attachment_is_not_withdrawn() {
    let late = Reply::error(Code::Aborted, "late").after(Duration::from_secs(5));
    let (world, _running) = lost(late).await;
    let open = "publish id-of-pv1 node1-id Aborted";
    sleep(Duration::from_secs(300)).await;
    assert_eq!(calls(&world), [open], "neither withdrawn nor known");
    assert!((5..15).contains(&reads(&world)), "{} reads", reads(&world));
    // The next list has it again: it is attached as if nothing had happened.
    world.api.leave_out("volumeattachments", VA, false);
    relist(&world);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&world), [open, PUBLISHED]);
    let before = reads(&world);
    sleep(Duration::from_secs(600)).await;
    assert_eq!((calls(&world).len(), reads(&world)), (2, before));
}

#[tokio::test(start_paused = true)]
async fn lost_attachment_that_goes_later_is_withdrawn() {
    let late = Reply::error(Code::Aborted, "late").after(Duration::from_secs(5));
    let (world, _running) = lost(late).await;
    sleep(Duration::from_secs(60)).await;
    force_away(&world, VA);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&world), ["publish id-of-pv1 node1-id Aborted", WITHDRAWN]);
    assert!(world.driver.publications().is_empty());
}

/// Whether the attachment is gone cannot be asked: nothing is withdrawn before it can.
#[tokio::test(start_paused = true)]
async fn nothing_is_withdrawn_while_the_api_server_does_not_answer() {
    let world = world_with(&["pv1"]);
    world.driver.script("ControllerPublishVolume", [Reply::Ok.after(Duration::from_secs(5))]);
    for object in [protected("pv1"), csi_node("node1"), va()] {
        world.api.put(object);
    }
    world.steps.on(|step| step.is("get", "volumeattachments"), 3, Fault::ApiError(500));
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    force_away(&world, VA);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(calls(&world), [PUBLISHED]);
    sleep(Duration::from_secs(30)).await;
    assert_eq!((calls(&world), reads(&world)), (owned(&[PUBLISHED, WITHDRAWN]), 4));
}

/// Another attachment of the volume and node takes a lost one's place in the registry, and both stay.
#[tokio::test(start_paused = true)]
async fn lost_attachment_beside_another_keeps_the_volume() {
    let (world, _running) = lost(Reply::Ok.after(Duration::from_secs(5))).await;
    let other = serde_json::json!({"metadata": {"name": "va2"}, "status": {"attached": false}});
    world.api.put(with(ours(va()), other));
    sleep(Duration::from_secs(600)).await;
    assert_eq!(calls(&world), [PUBLISHED, PUBLISHED]);
    assert_eq!(world.driver.publications().len(), 1);
}

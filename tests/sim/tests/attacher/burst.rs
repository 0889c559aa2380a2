//! A burst of detaches does not hold up attaches, and a hung node not the others.

use std::time::Duration;

use serde_json::json;
use sim::{Reply, World};
use tokio::time::{Instant, sleep};

use crate::harness::{ATTACHER, calls, give, world_with};
use crate::objects::{attachment, csi_node, protected, theirs, with};

/// How long the driver takes for each call.
const CALL: Duration = Duration::from_secs(1);

fn run(world: &World, workers: usize) -> sim::Running {
    ATTACHER.run(world, |config| {
        config.workers = workers;
    })
}

/// `count` volumes that are attached to `nodes` nodes.
fn attached(world: &World, count: usize, nodes: usize) {
    for number in 0..count {
        let volume = format!("old{number}");
        let node = format!("node{}", number % nodes);
        give(world, &[&volume]);
        world.api.put(protected(&volume));
        let note = json!({"metadata": {"annotations": {
            "mooring.dev/volume-handle": sim::id_of(&volume), "csi.alpha.kubernetes.io/node-id": format!("{node}-id"),
        }}});
        world.api.put(with(theirs(attachment(&format!("old{number}"), &volume, &node)), note));
    }
    for number in 0..nodes {
        world.api.put(csi_node(&format!("node{number}")));
    }
}

async fn until_attached(world: &World, name: &str) -> Duration {
    let (start, name) = (Instant::now(), name.to_owned());
    let attached = world.api.until("the attachment to be attached", Duration::from_secs(3600), move |api| {
        let attachment = api.get("volumeattachments", &name)?;
        (attachment.pointer("/status/attached")? == true).then_some(())
    });
    attached.await;
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn attaches_pass_a_burst_of_2000_detaches() {
    let world = world_with(&[]);
    attached(&world, 2000, 20);
    for method in ["ControllerPublishVolume", "ControllerUnpublishVolume"] {
        world.driver.always(method, Reply::Ok.after(CALL));
    }
    let _running = run(&world, 10);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(calls(&world), Vec::<String>::new());
    for number in 0..2000 {
        world.api.delete("volumeattachments", &format!("old{number}"));
    }
    let mut longest = Duration::ZERO;
    for number in 0..20 {
        sleep(Duration::from_millis(2700)).await;
        let volume = format!("new{number}");
        give(&world, &[&volume]);
        world.api.put(protected(&volume));
        world.api.put(attachment(&volume, &volume, &format!("node{number}")));
        longest = longest.max(until_attached(&world, &volume).await);
    }
    assert!(world.api.count("volumeattachments") > 1000, "the burst is not over");
    // It begins at once: workers are kept for it.
    assert!(longest < CALL + Duration::from_millis(100), "{longest:?}");
}

/// Attaches that were begun in vain and are deleted together are detaches, too.
#[tokio::test(start_paused = true)]
async fn attaches_pass_a_burst_of_deletions_of_what_still_waits() {
    let world = world_with(&[]);
    for node in 0..20 {
        world.api.put(csi_node(&format!("node{node}")));
    }
    for method in ["ControllerPublishVolume", "ControllerUnpublishVolume"] {
        world.driver.always(method, Reply::Ok.after(CALL));
    }
    for number in 0..500 {
        let volume = format!("old{number}");
        give(&world, &[&volume]);
        world.api.put(protected(&volume));
        let saved = with(
            theirs(attachment(&volume, &volume, &format!("node{}", number % 20))),
            json!({"status": null}),
        );
        world.api.put(saved);
    }
    let _running = run(&world, 10);
    sleep(Duration::from_millis(500)).await;
    for number in 0..500 {
        world.api.delete("volumeattachments", &format!("old{number}"));
    }
    give(&world, &["new"]);
    world.api.put(protected("new"));
    world.api.put(attachment("new", "new", "node3"));
    let took = until_attached(&world, "new").await;
    assert!(took < 3 * CALL, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hung_node_holds_back_no_other() {
    let world = world_with(&[]);
    world.api.put(csi_node("hung"));
    world.api.put(csi_node("well"));
    for number in 0..100 {
        let volume = format!("hung{number}");
        give(&world, &[&volume]);
        world.driver.always_for("ControllerPublishVolume", &sim::id_of(&volume), Reply::Hang);
        world.api.put(protected(&volume));
        world.api.put(attachment(&volume, &volume, "hung"));
    }
    let _running = run(&world, 10);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(calls(&world).len(), 6, "a share is left for others, and a worker for detaches");
    give(&world, &["well"]);
    world.api.put(protected("well"));
    world.api.put(attachment("well", "well", "well"));
    let took = until_attached(&world, "well").await;
    assert!(took < Duration::from_millis(100), "{took:?}");
}

/// The share of one node is no limit for all together.
#[tokio::test(start_paused = true)]
async fn all_workers_are_used() {
    let world = world_with(&[]);
    attached(&world, 100, 10);
    world.driver.always("ControllerUnpublishVolume", Reply::Ok.after(CALL));
    let _running = run(&world, 10);
    sleep(Duration::from_millis(500)).await;
    for number in 0..100 {
        world.api.delete("volumeattachments", &format!("old{number}"));
    }
    sleep(Duration::from_millis(100)).await;
    assert_eq!(calls(&world).len(), 9, "one is kept for attaches");
    sleep(Duration::from_millis(12_000)).await;
    assert_eq!(world.api.count("volumeattachments"), 0);
}

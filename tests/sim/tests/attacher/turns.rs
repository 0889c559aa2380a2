//! Who waits for whom: attachments for each other's calls, and for objects that come at the wrong moment.

use std::time::Duration;

use serde_json::{Value, json};
use sim::{Fault, Reply, Running, World};
use tokio::time::{Instant, sleep};

use crate::harness::{ATTACHER, calls, seconds, world_with, writes};
use crate::objects::{VA, csi_node, ours, protected, va, with};

const PUBLISHED: &str = "publish id-of-pv1 node1-id Ok";
const HOUR: Duration = Duration::from_secs(3600);

/// The attacher with a first back-off of an hour: what comes earlier comes for another reason.
fn run(world: &World) -> Running {
    ATTACHER.run(world, |config| {
        (config.backoff.base, config.backoff.max, config.resync) = (HOUR, HOUR, Duration::ZERO);
    })
}

fn world(objects: impl IntoIterator<Item = Value>) -> World {
    let world = world_with(&["pv1"]);
    objects.into_iter().for_each(|object| drop(world.api.put(object)));
    world
}

/// A second attachment of the same volume and node.
fn twin() -> Value {
    with(va(), json!({"metadata": {"name": "va2"}}))
}

#[tokio::test(start_paused = true)]
async fn a_detach_waits_for_the_attach_of_the_same_volume_and_node() {
    let world = world([protected("pv1"), csi_node("node1"), va(), ours(twin())]);
    world.driver.script("ControllerPublishVolume", [Reply::Ok.after(Duration::from_secs(5))]);
    let start = Instant::now();
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    world.api.delete("volumeattachments", "va2");
    sleep(HOUR / 2).await;
    assert_eq!(calls(&world), [PUBLISHED, "unpublish id-of-pv1 node1-id Ok"]);
    assert_eq!((seconds(&world, start), world.driver.overlaps()), (vec![0, 5], Vec::new()));
    assert_eq!(world.api.get("volumeattachments", "va2"), None);
}

#[tokio::test(start_paused = true)]
async fn an_attach_waits_for_the_detach_of_the_same_volume_and_node() {
    let world = world([protected("pv1"), csi_node("node1"), ours(twin())]);
    world.driver.script("ControllerUnpublishVolume", [Reply::Ok.after(Duration::from_secs(5))]);
    world.api.delete("volumeattachments", "va2");
    let start = Instant::now();
    let _running = run(&world);
    sleep(Duration::from_secs(2)).await;
    world.api.put(va());
    sleep(HOUR / 2).await;
    assert_eq!(calls(&world), ["unpublish id-of-pv1 node1-id Ok", PUBLISHED]);
    assert_eq!((seconds(&world, start), world.driver.overlaps()), (vec![0, 5], Vec::new()));
    assert_eq!(world.api.get("volumeattachments", VA).unwrap()["status"]["attached"], true);
}

/// Between the look that misses it and the wait for it.
#[tokio::test(start_paused = true)]
async fn object_that_appears_while_its_error_is_saved_is_seen() {
    let volume = "attach error: persistentvolume \"pv1\" not found";
    let node = "attach error: csinode.storage.k8s.io \"node1\" not found";
    for (there, comes, error) in
        [(protected("pv1"), csi_node("node1"), node), (csi_node("node1"), protected("pv1"), volume)]
    {
        let world = world([there, va()]);
        let late = Fault::LateReply(Duration::from_secs(5));
        world.steps.on(|step| step.is("patch", "volumeattachments/status"), 1, late);
        let start = Instant::now();
        let _running = run(&world);
        sleep(Duration::from_secs(2)).await;
        world.api.put(comes);
        sleep(HOUR / 2).await;
        assert_eq!((calls(&world), seconds(&world, start)), (vec![PUBLISHED.to_owned()], vec![5]), "{error}");
        assert_eq!(writes(&world), [error, "save", "attached"]);
    }
}

//! A source is held as long as a request that names it is open, whatever becomes of the claim and of the source's name.

use std::time::Duration;

use serde_json::json;
use sim::objects::with;
use sim::{Fault, Reply, World};
use tokio::time::sleep;
use tonic::Code;

use super::holding::{self, HOLD};
use super::{able, begin_clone, cloning, failed_with, from_snapshot, restoring, sent, snapshot};
use crate::harness::{PROVISIONER, bound, calls, claim, intents, with_intents, writes};

const SECOND: Duration = Duration::from_secs(1);

fn knowing(config: &mut provisioner::Config) {
    *config = with_intents();
    able(config);
}

/// A world with a snapshot to restore and a claim to clone.
fn world() -> World {
    let world = World::default();
    begin_clone(&world);
    snapshot().into_iter().for_each(|object| drop(world.api.put(object)));
    world
}

#[tokio::test(start_paused = true)]
async fn volume_without_its_object_holds_its_source() {
    for (plural, source, wanted) in [
        ("volumesnapshots", "snap", restoring(claim("data"))),
        ("persistentvolumeclaims", "source", cloning(claim("data"))),
    ] {
        let world = world();
        let _binder = world.binder();
        world.steps.on(|step| step.is("create", "persistentvolumes"), 12, Fault::ApiError(500));
        let _running = PROVISIONER.run(&world, knowing);
        world.api.put(wanted);
        sleep(SECOND).await;
        assert_eq!(
            (calls(&world).len(), world.api.count("persistentvolumes")),
            (1, 1),
            "{source}: it is made"
        );
        world.api.delete(plural, source);
        sleep(3 * SECOND).await;
        assert!(world.api.get(plural, source).is_some(), "{source}: its volume has no object yet");
        bound(&world, "data").await;
        sleep(60 * SECOND).await;
        assert!(world.api.get(plural, source).is_none(), "{source}");
    }
}

/// The driver makes too little, or nothing of the source, and deletes it again: no volume is left, and nobody wants one.
#[tokio::test(start_paused = true)]
async fn useless_volume_of_a_claim_that_is_gone_is_made_once() {
    let small = || {
        Reply::edit(|reply: &mut csi::v1::CreateVolumeResponse| {
            if let Some(volume) = &mut reply.volume {
                volume.capacity_bytes = 1;
            }
        })
    };
    let empty = || {
        Reply::edit(|reply: &mut csi::v1::CreateVolumeResponse| {
            if let Some(volume) = &mut reply.volume {
                volume.content_source = None;
            }
        })
    };
    for (name, reply) in [("too small", small()), ("empty", empty())] {
        let world = world();
        let _binder = world.binder();
        world.driver.script("CreateVolume", [reply.clone().after(2 * SECOND)]);
        world.driver.always("CreateVolume", reply);
        let _running = PROVISIONER.run(&world, knowing);
        world.api.put(restoring(claim("data")));
        sleep(SECOND).await;
        world.api.delete("persistentvolumeclaims", "data");
        world.api.delete("volumesnapshots", "snap");
        sleep(600 * SECOND).await;
        assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)"], "{name}");
        assert_eq!((intents(&world), world.api.count("volumesnapshots")), (vec![], 0), "{name}");
    }
}

/// A snapshot of another driver that has got the name of one of ours.
#[tokio::test(start_paused = true)]
async fn new_snapshot_of_the_name_is_another_driver_s_to_release() {
    let world = world();
    let _binder = world.binder();
    world.driver.always("CreateVolume", Reply::error(Code::Internal, "full"));
    let _running = PROVISIONER.run(&world, knowing);
    world.api.put(restoring(claim("data")));
    sleep(5 * SECOND).await;
    assert!(holding::is_held(&world));
    world.api.edit("volumesnapshots", "snap", |snapshot| snapshot["metadata"]["finalizers"] = json!([]));
    assert!(world.api.delete("volumesnapshots", "snap"));
    let [plain, content] = snapshot();
    let new = world.api.put(with(plain, json!({"metadata": {"finalizers": [HOLD]}})));
    let theirs = json!({"driver": "other.example", "volumeSnapshotRef": {"uid": new["metadata"]["uid"]}});
    world.api.put(with(content, json!({"spec": theirs})));
    sleep(60 * SECOND).await;
    assert!(failed_with(&world, "of the driver other.example"));
    world.api.delete("persistentvolumeclaims", "data");
    sleep(600 * SECOND).await;
    assert!(holding::is_held(&world));
}

/// The first write meets another's; by then the name is another snapshot's, which the claim was not found to be filled from.
#[tokio::test(start_paused = true)]
async fn snapshot_that_is_made_anew_meanwhile_is_not_held() {
    let world = world();
    let _binder = world.binder();
    world.api.set_latency(100 * Duration::from_millis(1));
    world.steps.on(|step| step.is("update", "volumesnapshots"), 1, Fault::Conflict);
    world.driver.always("CreateVolume", Reply::error(Code::Internal, "it must not be asked"));
    let _running = PROVISIONER.run(&world, knowing);
    world.api.put(restoring(claim("data")));
    while !world.steps.taken().iter().any(|step| step.is("update", "volumesnapshots")) {
        sleep(Duration::from_millis(1)).await;
    }
    world.api.delete("volumesnapshots", "snap");
    world.api.put(snapshot()[0].clone());
    sleep(800 * Duration::from_millis(1)).await;
    assert!(!holding::is_held(&world));
    assert_eq!(calls(&world), Vec::<String>::new());
    assert!(failed_with(&world, "VolumeSnapshot default/snap is not found"));
}

/// The service account loses the right to change snapshots for a while.
#[tokio::test(start_paused = true)]
async fn refused_release_of_a_snapshot_is_tried_again() {
    let world = world();
    let _binder = world.binder();
    world.driver.script("CreateVolume", [Reply::Ok.after(5 * SECOND)]);
    let _running = PROVISIONER.run(&world, knowing);
    world.api.put(restoring(claim("data")));
    sleep(2 * SECOND).await;
    assert!(holding::is_held(&world));
    world.steps.on(|step| step.is("update", "volumesnapshots"), 3, Fault::ApiError(403));
    bound(&world, "data").await;
    sleep(60 * SECOND).await;
    assert!(!holding::is_held(&world), "{:?}", writes(&world));
    assert_eq!(sent(&world), [Some(from_snapshot())]);
}

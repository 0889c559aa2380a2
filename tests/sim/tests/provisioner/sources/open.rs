//! A source is held as long as a request that names it is open, whatever becomes of the claim and of the source's name.

use std::time::Duration;

use serde_json::json;
use sim::objects::{self, class, with};
use sim::{Fault, Reply, Settings, World};
use tokio::time::sleep;
use tonic::Code;

use super::holding::{self, HOLD};
use super::{PROTECTION, able, begin_clone, cloning, failed_with, from_snapshot, restoring, sent, snapshot};
use crate::harness::{PROVISIONER, bound, calls, claim, intents, waiting, with_intents, writes};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn knowing(config: &mut provisioner::Config) {
    *config = with_intents();
    able(config);
}

/// A world with a snapshot to restore and a claim to clone.
pub(super) fn world() -> World {
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

/// The finalizer is just being taken off when the claim comes, which may be older than we.
#[tokio::test(start_paused = true)]
async fn claim_does_not_use_a_source_that_is_being_let_go_of() {
    for (plural, source, finalizer, wanted) in [
        ("volumesnapshots", "snap", HOLD, restoring(waiting("data"))),
        ("persistentvolumeclaims", "source", PROTECTION, cloning(waiting("data"))),
    ] {
        let world = world();
        world.api.edit(plural, source, |one| one["metadata"]["finalizers"] = json!([finalizer]));
        world.api.delete(plural, source);
        world.steps.on(move |step| step.is("update", plural), 1, Fault::Delay(2 * SECOND));
        let _running = PROVISIONER.run(&world, |config| {
            able(config);
            // A driver without snapshots may still clone.
            config.can.snapshots = plural == "volumesnapshots";
        });
        while !world.steps.taken().iter().any(|step| step.is("update", plural)) {
            sleep(Duration::from_millis(1)).await;
        }
        world.api.put(wanted);
        sleep(600 * SECOND).await;
        assert_eq!((calls(&world), world.api.get(plural, source)), (vec![], None), "{source}");
        assert!(failed_with(&world, "is not found"), "{source}");
    }
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

/// For a claim that is older than we, somebody else may have sent a request: only a final answer tells that there is none. The
/// watch may be late: so a claim that comes soon after the start counts as older.
#[tokio::test(start_paused = true)]
async fn deleted_source_is_held_only_for_a_claim_older_than_us() {
    for (seconds, refuses, expected) in [
        (None, false, "CreateVolume Some(Ok)"),
        (None, true, "CreateVolume Some(Internal)"),
        (Some(3), false, "CreateVolume Some(Ok)"),
        (Some(20), false, ""),
    ] {
        let world = world();
        let _binder = world.binder();
        if refuses {
            world.driver.script("CreateVolume", [Reply::error(Code::Internal, "no")]);
        }
        if seconds.is_none() {
            world.api.put(cloning(claim("data")));
        }
        sleep(SECOND).await;
        let hold = |held: bool| {
            let finalizers =
                if held { json!([PROTECTION, "example.com/other"]) } else { json!(["example.com/other"]) };
            world.api.edit("persistentvolumeclaims", "source", |source| {
                source["metadata"]["finalizers"] = finalizers
            });
        };
        // A source that is deleted is let go of at once while nothing waits for it.
        hold(seconds.is_none());
        world.api.delete("persistentvolumeclaims", "source");
        let _running = PROVISIONER.run(&world, knowing);
        if let Some(seconds) = seconds {
            sleep(SECOND * seconds).await;
            world.api.put(cloning(claim("data")));
            sleep(SECOND / 2).await;
            hold(true);
        }
        sleep(60 * SECOND).await;
        assert_eq!(calls(&world).first().map_or("", |call| call), expected, "{seconds:?} {refuses}");
        assert_eq!(calls(&world).len(), usize::from(!expected.is_empty()), "{seconds:?} {refuses}");
        assert!(!super::is_held(&world), "{seconds:?} {refuses}");
    }
}

/// The clone's claim is there or gone when the Go csi-provisioner, or ours with intents off, dies in its call.
#[tokio::test(start_paused = true)]
async fn request_of_a_process_without_intents_holds_its_source() {
    for (plural, source, wanted) in [
        ("volumesnapshots", "snap", restoring(claim("data"))),
        ("persistentvolumeclaims", "source", cloning(claim("data"))),
    ] {
        let world = World::new(Settings { keeps_contract: true, ..Settings::default() });
        begin_clone(&world);
        snapshot().into_iter().for_each(|object| drop(world.api.put(object)));
        let _binder = world.binder();
        world.driver.script("CreateVolume", [Reply::Ok.after(100 * SECOND)]);
        let without = PROVISIONER.run(&world, able);
        world.api.put(wanted);
        sleep(2 * SECOND).await;
        without.stop();
        world.api.delete(plural, source);
        let _running = PROVISIONER.run(&world, knowing);
        sleep(60 * SECOND).await;
        assert!(
            world.api.get(plural, source).is_some(),
            "{source}: the driver is filling the volume from it"
        );
        bound(&world, "data").await;
        sleep(60 * SECOND).await;
        assert!(world.api.get(plural, source).is_none(), "{source}");
    }
}

/// The namespace of a clone and its source is deleted, with its Secrets, while the clone is made.
#[tokio::test(start_paused = true)]
async fn request_that_lacks_claim_and_secret_holds_no_source() {
    for (plural, source, wanted) in [
        ("volumesnapshots", "snap", restoring(claim("data"))),
        ("persistentvolumeclaims", "source", cloning(claim("data"))),
    ] {
        let world = world();
        let key = json!({"csi.storage.k8s.io/provisioner-secret-name": "key", "csi.storage.k8s.io/provisioner-secret-namespace": "default"});
        world.api.put(with(class(), json!({"parameters": key})));
        let secret = objects::secret("default", "key", json!({"token": "aHVzaA=="}));
        world.api.put(secret.clone());
        let _binder = world.binder();
        world.driver.script("CreateVolume", [Reply::error(Code::DeadlineExceeded, "slow")]);
        let _running = PROVISIONER.run(&world, knowing);
        world.api.put(wanted);
        while calls(&world).is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        for (plural, name) in [("persistentvolumeclaims", "data"), ("secrets", "key"), (plural, source)] {
            assert!(world.api.delete(plural, name));
        }
        sleep(600 * SECOND).await;
        assert!(world.api.get(plural, source).is_none(), "{source}");
        assert_eq!(
            (calls(&world).len(), intents(&world).len()),
            (1, 1),
            "{source}: the request is not forgotten"
        );
        world.api.put(secret);
        sleep(600 * SECOND).await;
        assert_eq!(
            (world.api.count("persistentvolumes"), intents(&world)),
            (1, vec![]),
            "{source}: the source's"
        );
        assert!(!world.driver.volumes().values().any(|one| one.source.is_some()), "{source}");
    }
}

/// Only our cache lacks the claim: its Secret may come back, and then the request is sent again.
#[tokio::test(start_paused = true)]
async fn request_of_a_claim_that_is_still_there_holds_its_source() {
    for (plural, source, wanted) in [
        ("volumesnapshots", "snap", restoring(waiting("data"))),
        ("persistentvolumeclaims", "source", cloning(waiting("data"))),
    ] {
        let world = world();
        let key = json!({"csi.storage.k8s.io/provisioner-secret-name": "key", "csi.storage.k8s.io/provisioner-secret-namespace": "default"});
        world.api.put(with(class(), json!({"parameters": key})));
        world.api.put(objects::secret("default", "key", json!({"token": "aHVzaA=="})));
        world.driver.script("CreateVolume", [Reply::error(Code::DeadlineExceeded, "slow")]);
        let _running = PROVISIONER.run(&world, knowing);
        world.api.put(wanted);
        while calls(&world).is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        world.api.edit("persistentvolumeclaims", "data", |claim| {
            claim["metadata"]["annotations"] =
                json!({"volume.kubernetes.io/storage-provisioner": "other.example"});
        });
        assert!(world.api.delete("secrets", "key") && world.api.delete(plural, source));
        sleep(600 * SECOND).await;
        assert!(super::is_held(&world) || holding::is_held(&world), "{source}");
        assert_eq!(calls(&world).len(), 1, "{source}");
    }
}

/// All put the finalizer on at the same moment; another controller writes to the source meanwhile.
#[tokio::test(start_paused = true)]
async fn clones_that_meet_at_their_source_fail_nobody() {
    for others in [0, 80] {
        let world = world();
        let _binder = world.binder();
        world.api.set_latency(Duration::from_millis(20));
        world.steps.on(|step| step.is("update", "persistentvolumeclaims"), others, Fault::Conflict);
        let _running = PROVISIONER.run(&world, |config| {
            knowing(config);
            config.workers = 20;
        });
        sleep(SECOND).await;
        for number in 0..20 {
            world.api.put(cloning(claim(&format!("data-{number}"))));
        }
        for number in 0..20 {
            bound(&world, &format!("data-{number}")).await;
        }
        assert_eq!(calls(&world).len(), 20);
        assert!(!failed_with(&world, ""), "{others}: {:?}", crate::harness::events(&world));
    }
}

/// It is deleted when it was read and is about to be held.
#[tokio::test(start_paused = true)]
async fn source_that_goes_just_before_it_is_held_is_not_used() {
    for (plural, source, wanted) in [
        ("volumesnapshots", "snap", restoring(claim("data"))),
        ("persistentvolumeclaims", "source", cloning(claim("data"))),
    ] {
        let world = world();
        let _binder = world.binder();
        world.steps.on(move |step| step.is("update", plural), 1, Fault::Delay(SECOND));
        let _running = PROVISIONER.run(&world, knowing);
        world.api.put(wanted);
        while !world.steps.taken().iter().any(|step| step.is("update", plural)) {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(world.api.delete(plural, source));
        sleep(60 * SECOND).await;
        assert_eq!((calls(&world), intents(&world)), (vec![], vec![]), "{source}");
        assert!(failed_with(&world, &format!("default/{source} is not found")), "{source}");
    }
}

//! A request that an earlier process has sent names a source. The source is checked anew before the volume is handed out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::leadership::Leadership;
use serde_json::{Value, json};
use sim::objects::class;
use sim::{ApiServer, Fault, Reply, Running, World};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{able, begin_clone, cloning, elsewhere, failed_with, from_snapshot, restoring, sent, snapshot};
use crate::harness::{DRIVER, bound, calls, claim, intents, sidecar_with, with_intents};

const SECOND: Duration = Duration::from_secs(1);

/// A process that was killed while the driver filled the volume of the claim `data`. The next one comes 20 s later.
async fn killed(wanted: Value) -> (World, Running, sim::Binder) {
    let world = World::default();
    begin_clone(&world);
    snapshot().into_iter().for_each(|object| drop(world.api.put(object)));
    world.api.put(class());
    let binder = world.binder();
    world.driver.script("CreateVolume", [Reply::Ok.after(5 * SECOND)]);
    world.api.put(wanted);
    let running = world.run(20 * SECOND, |world| async move {
        let mut config = with_intents();
        able(&mut config);
        sidecar_with(world, config, Leadership::always(), CancellationToken::new()).await;
    });
    sleep(2 * SECOND).await;
    running.kill();
    assert_eq!((sent(&world).len(), intents(&world).len()), (1, 1));
    (world, running, binder)
}

/// How many volumes were filled from something.
fn filled(world: &World) -> usize {
    world.driver.volumes().values().filter(|volume| volume.source.is_some()).count()
}

#[tokio::test(start_paused = true)]
async fn volume_whose_source_is_as_it_was_is_handed_out() {
    for wanted in [restoring(claim("data")), cloning(claim("data"))] {
        let (world, _running, _binder) = killed(wanted).await;
        // It grows meanwhile.
        world.api.edit("persistentvolumeclaims", "source", |source| {
            source["spec"]["resources"]["requests"]["storage"] = json!("100Gi");
        });
        bound(&world, "data").await;
        sleep(60 * SECOND).await;
        let all = sent(&world);
        assert_eq!((all.len(), &all[0], filled(&world), intents(&world)), (2, &all[1], 1, vec![]));
    }
}

/// While no process runs, the object at the other end comes to name somebody else, another driver or another snapshot.
#[tokio::test(start_paused = true)]
async fn volume_of_a_source_that_may_not_be_used_is_not_handed_out() {
    type Meddle = fn(&World);
    let stories: [(Value, &str, Meddle); 3] = [
        (restoring(claim("data")), "is not what VolumeSnapshotContent content is bound to", |world| {
            world.api.edit("volumesnapshotcontents", "content", |content| {
                content["spec"]["volumeSnapshotRef"]["uid"] = json!("another");
            });
        }),
        (restoring(claim("data")), "is of the driver other.example", |world| {
            world.api.edit("volumesnapshotcontents", "content", |content| {
                content["spec"]["driver"] = json!("other.example");
            });
        }),
        (cloning(claim("data")), "is not what PersistentVolume source-volume is bound to", |world| {
            world.api.edit("persistentvolumes", "source-volume", |volume| {
                volume["spec"]["claimRef"]["uid"] = json!("another");
            });
        }),
    ];
    for (wanted, text, meddle) in stories {
        let (world, _running, _binder) = killed(wanted).await;
        meddle(&world);
        sleep(600 * SECOND).await;
        assert_eq!((sent(&world).len(), filled(&world), intents(&world)), (2, 0, vec![]), "{text}");
        let data = world.api.get("persistentvolumeclaims", "data").unwrap();
        assert_eq!(data["spec"]["volumeName"], Value::Null, "{text}");
        assert!(failed_with(&world, text), "{text}");
        assert!(failed_with(&world, "the volume that was made is deleted, and the claim is tried anew"));
    }
}

/// While no process runs, the source goes or can no longer be used: that takes nothing from the volume that is made.
#[tokio::test(start_paused = true)]
async fn volume_whose_source_is_gone_since_is_handed_out() {
    type Change = fn(&World);
    let stories: [(&str, Value, Change); 6] = [
        ("gone, and the role allows no more than to get snapshots", restoring(claim("data")), |world| {
            let rules = json!([
                {"apiGroups": ["", "storage.k8s.io", "coordination.k8s.io"], "resources": ["*"], "verbs": ["*"]},
                {"apiGroups": ["snapshot.storage.k8s.io"], "resources": ["*"], "verbs": ["get"]},
            ]);
            world.api.grant_only("sidecar", ApiServer::rules(rules).expect("rules"));
            world.api.edit("volumesnapshots", "default/snap", |snapshot| {
                snapshot["metadata"]["finalizers"] = json!([]);
            });
            world.api.delete("volumesnapshots", "default/snap");
        }),
        ("deleted and held", restoring(claim("data")), |world| {
            world.api.delete("volumesnapshots", "default/snap");
        }),
        ("gone", restoring(claim("data")), |world| {
            world.api.edit("volumesnapshots", "default/snap", |snapshot| {
                snapshot["metadata"]["finalizers"] = json!([]);
            });
            world.api.delete("volumesnapshots", "default/snap");
            world.api.delete("volumesnapshotcontents", "content");
        }),
        ("not ready", restoring(claim("data")), |world| {
            world.api.edit("volumesnapshots", "default/snap", |snapshot| {
                snapshot["status"]["readyToUse"] = json!(false);
            });
        }),
        ("without a handle", restoring(claim("data")), |world| {
            world.api.edit("volumesnapshotcontents", "content", |content| {
                content["status"]["snapshotHandle"] = Value::Null;
            });
        }),
        ("its volume is gone", cloning(claim("data")), |world| {
            world.api.edit("persistentvolumes", "source-volume", |volume| {
                volume["metadata"]["finalizers"] = json!([]);
            });
            world.api.delete("persistentvolumes", "source-volume");
        }),
    ];
    for (name, wanted, change) in stories {
        let (world, _running, _binder) = killed(wanted).await;
        change(&world);
        sleep(600 * SECOND).await;
        assert_eq!((sent(&world).len(), filled(&world), intents(&world)), (2, 1, vec![]), "{name}");
        let data = world.api.get("persistentvolumeclaims", "data").unwrap();
        assert_ne!(data["spec"]["volumeName"], Value::Null, "{name}");
    }
}

/// The caches show neither the volume's object nor that the claim has it.
#[tokio::test(start_paused = true)]
async fn volume_that_has_an_object_is_not_deleted() {
    let (world, _running, binder) = killed(restoring(claim("data"))).await;
    drop(binder);
    sleep(5 * SECOND).await;
    let data = world.api.get("persistentvolumeclaims", "data").unwrap();
    let uid = &data["metadata"]["uid"];
    let (name, handle) = (format!("pvc-{}", uid.as_str().unwrap()), driver_id(&world));
    world.api.put(json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER}},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "gold",
            "claimRef": {"namespace": "default", "name": "data", "uid": uid},
            "csi": {"driver": DRIVER, "volumeHandle": handle},
        },
    }));
    world.api.leave_out("persistentvolumes", &name, true);
    world.api.edit("volumesnapshotcontents", "content", |content| {
        content["spec"]["volumeSnapshotRef"]["uid"] = json!("another");
    });
    sleep(600 * SECOND).await;
    assert_eq!((filled(&world), intents(&world)), (1, vec![]));
}

/// The id of the volume that was filled.
fn driver_id(world: &World) -> String {
    let volumes = world.driver.volumes();
    volumes.values().find(|volume| volume.source.is_some()).unwrap().id.clone()
}

/// The claim gets a volume of the snapshot that has the name now.
#[tokio::test(start_paused = true)]
async fn volume_of_another_snapshot_is_not_handed_out() {
    let (world, _running, _binder) = killed(restoring(claim("data"))).await;
    world.driver.change_model(|model| {
        let other =
            sim::Snapshot { id: "id-of-other".into(), ..model.snapshots.values().next().unwrap().clone() };
        model.snapshots.insert("id-of-other".into(), other);
    });
    world.api.edit("volumesnapshotcontents", "content", |content| {
        content["status"]["snapshotHandle"] = json!("id-of-other");
    });
    bound(&world, "data").await;
    sleep(60 * SECOND).await;
    let all = sent(&world);
    assert_eq!((all.len(), &all[1]), (3, &Some(from_snapshot())), "as it was sent");
    assert_ne!(all[2], all[1]);
    assert_eq!((filled(&world), intents(&world)), (1, vec![]));
}

/// Nobody knows whether the source may be used: the volume is kept until that is known.
#[tokio::test(start_paused = true)]
async fn source_that_cannot_be_read_is_asked_for_again() {
    let (world, _running, _binder) = killed(restoring(claim("data"))).await;
    world.steps.on(|step| step.is("get", "volumesnapshotcontents"), 1, Fault::ApiError(500));
    bound(&world, "data").await;
    sleep(60 * SECOND).await;
    assert_eq!((sent(&world).len(), filled(&world), intents(&world)), (3, 1, vec![]));
}

/// Its claim is gone: whatever the source is, the volume goes.
#[tokio::test(start_paused = true)]
async fn volume_of_a_claim_that_is_gone_is_deleted_unchecked() {
    let (world, _running, _binder) = killed(restoring(claim("data"))).await;
    world.api.delete("persistentvolumeclaims", "data");
    world.api.delete("volumesnapshotcontents", "content");
    sleep(600 * SECOND).await;
    assert_eq!((sent(&world).len(), filled(&world), intents(&world)), (2, 0, vec![]));
}

/// The gate is off when the process comes back, and the grant is gone.
#[tokio::test(start_paused = true)]
async fn copy_from_a_namespace_that_is_out_now_is_withdrawn() {
    let world = World::default();
    elsewhere::sources(&world);
    world.api.put(elsewhere::grant("snapshot.storage.k8s.io", "VolumeSnapshot"));
    let _binder = world.binder();
    world.driver.script("CreateVolume", [Reply::Ok.after(5 * SECOND)]);
    world.api.put(elsewhere::restoring(claim("data")));
    let gate = Arc::new(AtomicBool::new(true));
    let running = world.run(20 * SECOND, {
        let gate = gate.clone();
        move |world| {
            let gate = gate.load(Ordering::Relaxed);
            async move {
                let mut config = with_intents();
                able(&mut config);
                config.cross_namespace = gate;
                sidecar_with(world, config, Leadership::always(), CancellationToken::new()).await;
            }
        }
    });
    sleep(2 * SECOND).await;
    running.kill();
    gate.store(false, Ordering::Relaxed);
    world.api.delete("referencegrants", &format!("{}/grant", elsewhere::THERE));
    sleep(600 * SECOND).await;
    assert_eq!(
        (sent(&world).len(), calls(&world).last().map(String::as_str)),
        (2, Some("DeleteVolume Some(Ok)"))
    );
    assert_eq!((filled(&world), intents(&world)), (0, vec![]));
    let data = world.api.get("persistentvolumeclaims", "data").unwrap();
    assert_eq!(data["spec"]["volumeName"], Value::Null);
}

//! Volumes whose claim is gone.

use std::time::Duration;

use serde_json::{Value, json};
use sim::{Fault, Reply, World};
use tonic::Code;

use crate::harness::{
    FINALIZER, LIMIT, PROVISIONER, calls, class, events, logged, no_volumes, released, sidecar, writes,
};

const QUIET: Duration = Duration::from_secs(120);

async fn run_with(volume: Value, others: &[Value]) -> World {
    let world = World::default();
    world.api.put(class());
    for object in others {
        world.api.put(object.clone());
    }
    world.api.put(volume);
    let running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(QUIET).await;
    running.stop();
    world
}

fn attachment(volume: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": format!("of-{volume}")},
        "spec": {"attacher": "driver.example", "nodeName": "n", "source": {"persistentVolumeName": volume}},
    })
}

fn edited(change: impl FnOnce(&mut Value)) -> Value {
    let mut volume = released("pv");
    change(&mut volume);
    volume
}

#[tokio::test(start_paused = true)]
async fn only_released_volumes_of_ours_with_policy_delete_are_deleted() {
    let phase = |phase: &str| edited(|volume| volume["status"]["phase"] = json!(phase));
    let retained = edited(|volume| volume["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain"));
    let foreign = edited(|volume| {
        volume["metadata"]["annotations"] = json!({"pv.kubernetes.io/provisioned-by": "other"})
    });
    for (name, volume, expected_calls, expected_writes) in [
        (
            "released",
            released("pv"),
            &["DeleteVolume Some(Ok)"][..],
            &["delete persistentvolumes 200", "patch persistentvolumes 200"][..],
        ),
        ("bound", phase("Bound"), &[], &[]),
        ("available", phase("Available"), &[], &[]),
        ("failed", phase("Failed"), &[], &[]),
        ("retained", retained, &[], &["patch persistentvolumes 200"]),
        ("made by another", foreign, &[], &[]),
    ] {
        let world =
            PROVISIONER.case(name, [class(), volume]).ends_with(expected_calls, expected_writes).await;
        assert_eq!(events(&world), Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn object_deleted_first_still_has_its_volume_deleted() {
    let world = World::default();
    world.api.put(class());
    world.api.put(released("pv"));
    world.api.delete("persistentvolumes", "pv");
    let _running = world.run(Duration::from_secs(1), sidecar);
    world
        .api
        .until("our finalizer to go", LIMIT, |api| {
            let volume = api.get("persistentvolumes", "pv");
            let kept = volume.is_some_and(|volume| {
                volume["metadata"]["finalizers"].as_array().is_some_and(|all| all.contains(&json!(FINALIZER)))
            });
            (!kept).then_some(())
        })
        .await;
    assert_eq!(calls(&world), ["DeleteVolume Some(Ok)"]);
    assert_eq!(writes(&world), ["patch persistentvolumes 200"]);
}

#[tokio::test(start_paused = true)]
async fn recreated_volume_is_not_changed_by_the_old_deletion() {
    let unprotected = edited(|volume| {
        volume["status"]["phase"] = json!("Bound");
        volume["metadata"]["finalizers"] = json!([]);
    });
    // (what is there first, the write that comes too late)
    let first = [(unprotected, "patch"), (released("pv"), "patch"), (released("pv"), "delete")];
    let lags = [Duration::ZERO, Duration::from_secs(60)];
    for ((before, verb), lag) in first.iter().flat_map(|first| lags.map(|lag| (first, lag))) {
        let (before, verb) = (before.clone(), *verb);
        let world = World::default();
        world.api.put(class());
        world.api.put(before);
        world.steps.on(
            move |step| step.is(verb, "persistentvolumes"),
            1,
            Fault::Delay(Duration::from_secs(10)),
        );
        let _running = world.run(Duration::from_secs(1), sidecar);
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.api.delay_watch(lag);
        world.api.edit("persistentvolumes", "pv", |volume| volume["metadata"]["finalizers"] = json!([]));
        world.api.delete("persistentvolumes", "pv");
        let mut anew = edited(|volume| volume["status"]["phase"] = json!("Available"));
        anew["metadata"]["finalizers"] = json!([FINALIZER, "someone/else"]);
        let anew = world.api.put(anew);
        tokio::time::sleep(QUIET).await;
        assert_eq!(world.api.get("persistentvolumes", "pv"), Some(anew), "{verb}");
        let writes = writes(&world);
        let refused = |write: &&String| write.ends_with(" 422") || write.ends_with(" 409");
        assert_eq!(writes.iter().filter(refused).count(), 1, "{verb} {lag:?}: {writes:?}");
        assert!(writes.last().is_some_and(|write| refused(&write)), "{verb} {lag:?}: {writes:?}");
        assert!(calls(&world).len() <= 1, "{verb} {lag:?}: {:?}", calls(&world));
        // What was refused for its predecessor is not held against it.
        world.driver.clear_calls();
        world.api.edit("persistentvolumes", "pv", |volume| volume["status"]["phase"] = json!("Released"));
        tokio::time::sleep(QUIET).await;
        assert_eq!(calls(&world), ["DeleteVolume Some(Ok)"], "{verb} {lag:?}");
        let left = world.api.get("persistentvolumes", "pv").unwrap()["metadata"]["finalizers"].clone();
        let left = left.as_array().unwrap();
        assert!(
            left.contains(&json!("someone/else")) && !left.contains(&json!(FINALIZER)),
            "{verb} {lag:?}: {left:?}"
        );
        assert_eq!(events(&world), Vec::<String>::new(), "{verb} {lag:?}");
    }
}

#[test]
fn refused_deletion_of_a_replaced_volume_is_logged() {
    let log = logged(async {
        let world = World::default();
        world.api.put(class());
        world.api.put(released("pv"));
        let refusal = Reply::error(Code::FailedPrecondition, "in use").after(Duration::from_secs(8));
        world.driver.script("DeleteVolume", [refusal]);
        let _running = world.run(Duration::from_secs(1), sidecar);
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.api.edit("persistentvolumes", "pv", |volume| volume["metadata"]["finalizers"] = json!([]));
        world.api.delete("persistentvolumes", "pv");
        let anew = world.api.put(edited(|volume| volume["status"]["phase"] = json!("Available")));
        tokio::time::sleep(QUIET).await;
        assert_eq!(calls(&world), ["DeleteVolume Some(FailedPrecondition)"]);
        assert_eq!((writes(&world), events(&world)), (vec![], vec![]));
        assert_eq!(world.api.get("persistentvolumes", "pv"), Some(anew));
    });
    let told = |line: &&str| line.starts_with('E') && line.contains("desc = in use");
    assert_eq!(log.lines().filter(told).count(), 1, "{log}");
}

#[tokio::test(start_paused = true)]
async fn static_volume_that_is_bound_gets_the_finalizer() {
    let volume = edited(|volume| {
        volume["status"]["phase"] = json!("Bound");
        volume["metadata"] = json!({"name": "pv", "finalizers": ["someone/else"]});
    });
    let world = run_with(volume, &[]).await;
    assert_eq!(writes(&world), ["patch persistentvolumes 200"]);
    let finalizers = world.api.get("persistentvolumes", "pv").unwrap()["metadata"]["finalizers"].clone();
    let finalizers = finalizers.as_array().unwrap();
    assert!(
        finalizers.contains(&json!(FINALIZER)) && finalizers.contains(&json!("someone/else")),
        "{finalizers:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn attached_volume_is_kept_until_its_last_attachment_is_gone() {
    let world = World::default();
    world.api.put(class());
    world.api.put(attachment("pv"));
    world.api.put(released("pv"));
    let binder = world.binder();
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(QUIET).await;
    assert_eq!((calls(&world), writes(&world)), (vec![], vec![]));
    let said = events(&world);
    assert_eq!(said, ["VolumeDelete: persistentvolume pv is still attached to node n, waiting for detach"]);
    assert_eq!(world.api.list("events")[0]["type"], "Normal");
    world.api.delete("volumeattachments", "of-pv");
    let detached = tokio::time::Instant::now();
    no_volumes(&world).await;
    assert!(
        detached.elapsed() < Duration::from_secs(1),
        "it waited for its back-off: {:?}",
        detached.elapsed()
    );
    drop(binder);
}

#[tokio::test(start_paused = true)]
async fn attachment_blocks_whatever_its_state() {
    let attached = json!({"attached": true});
    let detached = json!({"attached": false});
    for status in [attached, detached] {
        let mut attachment = attachment("pv");
        attachment["status"] = status.clone();
        let world = run_with(released("pv"), &[attachment]).await;
        assert_eq!((calls(&world), writes(&world)), (vec![], vec![]), "{status}");
    }
    let world = World::default();
    world.api.put(class());
    let mut leaving = attachment("pv");
    leaving["metadata"]["finalizers"] = json!(["someone/else"]);
    world.api.put(leaving);
    world.api.delete("volumeattachments", "of-pv");
    world.api.put(released("pv"));
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(QUIET).await;
    assert_eq!((calls(&world), writes(&world)), (vec![], vec![]), "being deleted");
}

#[tokio::test(start_paused = true)]
async fn volume_without_csi_is_an_error_and_stays() {
    let volume = edited(|volume| {
        volume["spec"].as_object_mut().unwrap().remove("csi");
        volume["spec"]["hostPath"] = json!({"path": "/data"});
    });
    let world = run_with(volume, &[]).await;
    assert_eq!((calls(&world), writes(&world)), (vec![], vec![]));
    let said = events(&world);
    assert!(said.iter().any(|event| event.contains("has no csi source")), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn volume_of_another_csi_driver_is_not_deleted_here() {
    let volume = edited(|volume| volume["spec"]["csi"]["driver"] = json!("other.example"));
    let world = run_with(volume, &[]).await;
    assert_eq!((calls(&world), writes(&world)), (vec![], vec![]));
    let said = events(&world);
    let told = "VolumeFailedDelete: spec.csi.driver is other.example, but annotation pv.kubernetes.io/provisioned-by names driver.example: correct the annotation";
    assert_eq!(said, [told]);
}

#[tokio::test(start_paused = true)]
async fn attachment_of_another_volume_does_not_matter() {
    let world = run_with(released("pv"), &[attachment("another")]).await;
    assert_eq!(calls(&world), ["DeleteVolume Some(Ok)"]);
}

#[tokio::test(start_paused = true)]
async fn failed_deletion_keeps_the_object_and_is_told() {
    let world = World::default();
    world.api.put(class());
    world.api.put(released("pv"));
    world.driver.script(
        "DeleteVolume",
        [Reply::error(Code::FailedPrecondition, "in use"), Reply::error(Code::Unavailable, "away")],
    );
    let binder = world.binder();
    let _running = world.run(Duration::from_secs(1), sidecar);
    no_volumes(&world).await;
    let at: Vec<_> = world.driver.calls_of("DeleteVolume").iter().map(|call| call.at).collect();
    assert_eq!([at[1] - at[0], at[2] - at[1]].map(|pause| pause.as_secs()), [1, 2]);
    let said = events(&world);
    assert!(
        said.contains(&"VolumeFailedDelete: rpc error: code = FailedPrecondition desc = in use".to_owned()),
        "{said:?}"
    );
    drop(binder);
}

#[tokio::test(start_paused = true)]
async fn failed_object_deletion_is_retried_without_another_call() {
    for verb in ["delete", "patch"] {
        let world = World::default();
        world.api.put(class());
        world.api.put(released("pv"));
        world.steps.on(move |step| step.is(verb, "persistentvolumes"), 2, Fault::ApiError(500));
        let binder = world.binder();
        let _running = world.run(Duration::from_secs(1), sidecar);
        no_volumes(&world).await;
        assert_eq!(calls(&world), ["DeleteVolume Some(Ok)"], "{verb}");
        drop(binder);
    }
}

#[tokio::test(start_paused = true)]
async fn secret_that_is_gone_does_not_keep_the_volume() {
    let volume = edited(|volume| {
        volume["metadata"]["annotations"]["volume.kubernetes.io/provisioner-deletion-secret-name"] =
            json!("gone");
        volume["metadata"]["annotations"]["volume.kubernetes.io/provisioner-deletion-secret-namespace"] =
            json!("default");
    });
    let world = run_with(volume, &[]).await;
    assert_eq!(calls(&world), ["DeleteVolume Some(Ok)"]);
}

/// The watch is behind, so the cache still says Delete when the failed deletion is repeated.
#[tokio::test(start_paused = true)]
async fn volume_retained_after_a_failed_deletion_is_kept() {
    let world = World::default();
    world.api.put(class());
    world.api.put(released("pv"));
    world.driver.script("DeleteVolume", [Reply::error(Code::Internal, "not now")]);
    let _running = world.run(Duration::from_secs(1), sidecar);
    world.api.until("the failure", LIMIT, |_| (!calls(&world).is_empty()).then_some(())).await;
    world.api.delay_watch(Duration::from_secs(60));
    world.api.edit("persistentvolumes", "pv", |volume| {
        volume["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
    });
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(calls(&world), ["DeleteVolume Some(Internal)"]);
    assert_eq!(world.api.count("persistentvolumes"), 1);
}

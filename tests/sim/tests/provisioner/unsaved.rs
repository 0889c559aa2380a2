//! Volumes whose PersistentVolume the API server refuses.

use std::time::Duration;

use serde_json::json;
use sim::{Fault, Reply, World};
use tonic::Code;

use crate::harness::{LIMIT, calls, claim, class, events, sidecar, writes};

const MANY: usize = 10_000;

fn ready() -> World {
    let world = World::default();
    world.api.put(class());
    world.api.put(claim("data"));
    world
}

#[tokio::test(start_paused = true)]
async fn volume_refused_for_good_is_deleted_once_its_claim_is_gone() {
    for code in [400, 403, 422] {
        let world = ready();
        let _binder = world.binder();
        world.steps.on(|step| step.is("create", "persistentvolumes"), MANY, Fault::ApiError(code));
        let _running = world.run(Duration::from_secs(1), sidecar);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(calls(&world), ["CreateVolume Some(Ok)"], "{code}: kept while the claim waits");
        let said = events(&world);
        assert!(said.iter().any(|event| event.starts_with("ProvisioningFailed: ")), "{code}: {said:?}");
        world.driver.script("DeleteVolume", [Reply::error(Code::Internal, "not now")]);
        world.api.delete("persistentvolumeclaims", "data");
        world.api.until("the driver", 2 * LIMIT, |_| world.driver.volumes().is_empty().then_some(())).await;
        let tried = ["CreateVolume Some(Ok)", "DeleteVolume Some(Internal)", "DeleteVolume Some(Ok)"];
        assert_eq!(calls(&world), tried, "{code}");
        let written = writes(&world).len();
        tokio::time::sleep(LIMIT).await;
        assert_eq!(writes(&world).len(), written, "{code}: it is forgotten");
    }
}

/// The claim and its Secret went with their namespace.
#[tokio::test(start_paused = true)]
async fn refused_volume_whose_secret_is_gone_is_deleted_without_it() {
    let world = World::default();
    let mut class = class();
    class["parameters"]["csi.storage.k8s.io/provisioner-secret-name"] = json!("key");
    class["parameters"]["csi.storage.k8s.io/provisioner-secret-namespace"] = json!("default");
    world.api.put(class);
    world.api.put(sim::objects::secret("default", "key", json!({"user": "YWRtaW4="})));
    world.api.put(claim("data"));
    let _binder = world.binder();
    world.steps.on(|step| step.is("create", "persistentvolumes"), MANY, Fault::ApiError(422));
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)"]);
    world.api.delete("secrets", "default/key");
    world.api.delete("persistentvolumeclaims", "data");
    world.api.until("the driver", 4 * LIMIT, |_| world.driver.volumes().is_empty().then_some(())).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)"]);
}

#[tokio::test(start_paused = true)]
async fn refused_volume_is_not_kept_for_a_new_claim_of_the_name() {
    let world = ready();
    let _binder = world.binder();
    world.steps.on(|step| step.is("create", "persistentvolumes"), MANY, Fault::ApiError(422));
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let first: Vec<String> = world.driver.volumes().into_keys().collect();
    world.api.delete("persistentvolumeclaims", "data");
    let gone = |api: &sim::ApiServer| (api.count("persistentvolumeclaims") == 0).then_some(());
    world.api.until("the claim to go", LIMIT, gone).await;
    world.api.put(claim("data"));
    tokio::time::sleep(2 * LIMIT).await;
    let now: Vec<String> = world.driver.volumes().into_keys().collect();
    assert_eq!((first.len(), now.len()), (1, 1), "{now:?}");
    assert_ne!(first, now, "the old claim's volume is gone, the new one has its own");
}

#[tokio::test(start_paused = true)]
async fn volume_that_is_stored_after_all_is_deleted_once() {
    let world = ready();
    let creates = |step: &sim::Step| step.is("create", "persistentvolumes");
    world.steps.on(creates, 1, Fault::LoseReply);
    world.steps.on(creates, MANY, Fault::ApiError(422));
    let _running = world.run(Duration::from_secs(1), sidecar);
    let binder = world.binder();
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.api.delete("persistentvolumeclaims", "data");
    tokio::time::sleep(2 * LIMIT).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)"]);
    assert_eq!((world.api.count("persistentvolumes"), world.driver.volumes().len()), (0, 0));
    drop(binder);
}

/// An administrator has made an object of another name for it.
#[tokio::test(start_paused = true)]
async fn refused_volume_that_another_object_has_is_kept() {
    let world = ready();
    let _binder = world.binder();
    world.steps.on(|step| step.is("create", "persistentvolumes"), MANY, Fault::ApiError(422));
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let made: Vec<String> = world.driver.volumes().into_keys().collect();
    let [_, by_hand] = sim::objects::bound("by-hand", "by-hand");
    let theirs =
        json!({"spec": {"csi": {"volumeHandle": made[0]}, "persistentVolumeReclaimPolicy": "Retain"}});
    world.api.put(sim::objects::with(by_hand, theirs));
    world.api.delete("persistentvolumeclaims", "data");
    tokio::time::sleep(2 * LIMIT).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)"]);
    assert_eq!(world.driver.volumes().into_keys().collect::<Vec<_>>(), made);
}

#[tokio::test(start_paused = true)]
async fn volume_of_a_claim_that_is_still_there_is_kept() {
    let world = ready();
    let _binder = world.binder();
    world.steps.on(|step| step.is("create", "persistentvolumes"), 12, Fault::ApiError(422));
    let _running = world.run(Duration::from_secs(1), sidecar);
    // Our cache loses the claim, the API server has it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.api.edit("persistentvolumeclaims", "data", |claim| {
        claim["metadata"]["annotations"] =
            json!({"volume.kubernetes.io/storage-provisioner": "other.example"});
    });
    tokio::time::sleep(LIMIT).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)"]);
    assert_eq!(world.api.count("persistentvolumes"), 1);
}

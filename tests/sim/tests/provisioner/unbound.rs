//! Volumes whose object is deleted before a claim has them.

use std::time::Duration;

use serde_json::{Value, json};
use sim::{Fault, World};

use crate::harness::{LIMIT, bound, calls, class, events, sidecar, waiting, writes};

const QUIET: Duration = Duration::from_secs(120);

/// A world whose claim has a volume that nobody has bound yet, and the volume's name.
async fn made() -> (World, String, sim::Running) {
    let world = World::default();
    world.api.put(class());
    let claim = world.api.put(waiting("data"));
    let running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(writes(&world), ["create persistentvolumes 201"]);
    let name = format!("pvc-{}", claim["metadata"]["uid"].as_str().unwrap());
    (world, name, running)
}

/// The one volume is the driver's second, and its object names it.
fn is_made_anew(world: &World) {
    let objects = world.api.list("persistentvolumes");
    let handles: Vec<&Value> = objects.iter().map(|volume| &volume["spec"]["csi"]["volumeHandle"]).collect();
    let volumes = world.driver.volumes();
    assert_eq!(volumes.keys().map(|id| json!(id)).collect::<Vec<_>>().iter().collect::<Vec<_>>(), handles);
    assert!(volumes.keys().all(|id| id.ends_with("-2")), "{volumes:?}");
}

#[tokio::test(start_paused = true)]
async fn volume_deleted_by_hand_before_it_is_bound_is_made_anew() {
    let (world, name, _running) = made().await;
    world.api.delete("persistentvolumes", &name);
    let _binder = world.binder();
    bound(&world, "data").await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)", "CreateVolume Some(Ok)"]);
    is_made_anew(&world);
    assert!(!events(&world).iter().any(|event| event.contains("Failed")), "{:?}", events(&world));
}

#[tokio::test(start_paused = true)]
async fn volume_without_claim_deleted_by_hand_is_made_anew() {
    let (world, name, _running) = made().await;
    world.api.edit("persistentvolumes", &name, |volume| {
        volume["spec"].as_object_mut().unwrap().remove("claimRef");
        volume["status"]["phase"] = json!("Available");
    });
    tokio::time::sleep(QUIET).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)"], "free, but nobody deletes it");
    world.api.delete("persistentvolumes", &name);
    let _binder = world.binder();
    bound(&world, "data").await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)", "CreateVolume Some(Ok)"]);
    is_made_anew(&world);
}

#[tokio::test(start_paused = true)]
async fn volume_that_is_bound_at_the_last_moment_is_kept() {
    let (world, name, _running) = made().await;
    let read = |step: &sim::Step| step.is("get", "persistentvolumes");
    world.steps.on(read, 1, Fault::Delay(Duration::from_secs(5)));
    world.api.delete("persistentvolumes", &name);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.api.delay_watch(Duration::from_secs(60));
    world.api.edit("persistentvolumes", &name, |volume| volume["status"]["phase"] = json!("Bound"));
    tokio::time::sleep(LIMIT).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)"]);
    assert_eq!(world.api.count("persistentvolumes"), 1);
}

#[tokio::test(start_paused = true)]
async fn volume_of_a_claim_we_do_not_know_is_left_to_the_controller() {
    let world = World::default();
    world.api.put(class());
    let mut volume = crate::harness::released("pv");
    volume["status"]["phase"] = json!("Available");
    world.api.put(volume);
    world.api.delete("persistentvolumes", "pv");
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(QUIET).await;
    assert_eq!((calls(&world), writes(&world)), (vec![], vec![]), "it may have just been bound");
}

/// As somebody leaves it who wants to give the data to another claim. Upstream leaves the object Terminating.
#[tokio::test(start_paused = true)]
async fn deleted_free_volume_that_no_claim_waits_for_is_kept() {
    let freed = |claim_ref: Value| {
        let mut volume = crate::harness::released("pv");
        volume["spec"]["claimRef"] = claim_ref;
        volume["status"]["phase"] = json!("Available");
        volume
    };
    for (name, volume) in [
        ("no claimRef", freed(Value::Null)),
        ("claimRef without uid", freed(json!({"namespace": "default", "name": "data"}))),
    ] {
        let world = World::default();
        world.api.put(class());
        world.api.put(waiting("data"));
        world.api.put(volume);
        world.api.delete("persistentvolumes", "pv");
        let _running = world.run(Duration::from_secs(1), sidecar);
        tokio::time::sleep(QUIET).await;
        assert_eq!(calls(&world), ["CreateVolume Some(Ok)"], "{name}: the claim's own volume");
        assert_eq!(writes(&world), ["create persistentvolumes 201"], "{name}");
        assert!(world.api.get("persistentvolumes", "pv").is_some(), "{name}");
    }
}

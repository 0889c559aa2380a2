//! Crash anywhere, lose any reply, refuse any request: the world ends as if nothing had happened.

use std::time::Duration;

use serde_json::json;
use sim::crash::{self, Scenario};
use sim::{Fault, Reply, Settings, World};
use tonic::Code;

use crate::harness::{bound, calls, claim, class, intents, no_volumes, remembering, sidecar};

fn begin(world: &World) {
    world.api.put(class());
}

fn nothing_leaked(world: &World) -> Result<(), String> {
    let (left, written) = (world.driver.volumes(), intents(world));
    match (left.is_empty(), written.is_empty()) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("leaked: {left:?}")),
        (_, false) => Err(format!("still written down: {written:?}")),
    }
}

/// Provisioned and bound; the end state has one volume and one object.
pub(crate) fn birth() -> Scenario {
    Scenario::new(remembering, |world: World| async move {
        let _binder = world.binder();
        world.api.put(claim("data"));
        bound(&world, "data").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .prepare(begin)
    .check(|world| {
        let counts = (world.driver.volumes().len(), world.api.count("persistentvolumes"));
        if counts == (1, 1) { Ok(()) } else { Err(format!("volumes and objects: {counts:?}")) }
    })
}

/// Provisioned, bound, deleted; nothing is left.
pub(crate) fn life() -> Scenario {
    Scenario::new(remembering, |world: World| async move {
        let _binder = world.binder();
        world.api.put(claim("data"));
        bound(&world, "data").await;
        assert_eq!(world.driver.volumes().len(), 1);
        world.api.delete("persistentvolumeclaims", "data");
        no_volumes(&world).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .prepare(begin)
    .check(nothing_leaked)
}

/// Deleted by its user while its volume is being made. Nobody holds it: it is gone at once. The driver keeps its contract: a
/// call of the process that died, and still goes on, must not make the volume after it was deleted.
pub(crate) fn deleted_early() -> Scenario {
    Scenario::new(remembering, |world: World| async move {
        let _binder = world.binder();
        world.driver.script("CreateVolume", [Reply::Ok.after(Duration::from_secs(5))]);
        world.api.put(claim("data"));
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.api.delete("persistentvolumeclaims", "data");
        tokio::time::sleep(Duration::from_secs(120)).await;
        no_volumes(&world).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .driver(Settings { keeps_contract: true, ..Settings::default() })
    .prepare(begin)
    .check(nothing_leaked)
}

#[tokio::test(start_paused = true)]
async fn claim_deleted_while_its_volume_is_made_leaks_none() {
    let world = World::default();
    begin(&world);
    let _binder = world.binder();
    world.driver.script("CreateVolume", [Reply::Ok.after(Duration::from_secs(5))]);
    world.api.put(claim("data"));
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.api.delete("persistentvolumeclaims", "data");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.api.count("persistentvolumeclaims"), 0, "it is really gone");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)"]);
    assert_eq!((world.driver.volumes().len(), world.api.count("persistentvolumes")), (0, 0));
}

#[test]
fn crash_with_a_claim_deleted_early_leaks_none() {
    let report = crash::everywhere(&deleted_early());
    assert!(report.steps.iter().any(|step| step.is_rpc("DeleteVolume")), "{:?}", report.steps);
}

#[test]
fn crash_while_provisioning_leaves_one_volume_and_object() {
    let report = crash::everywhere(&birth());
    assert!(report.steps.iter().any(|step| step.is_rpc("CreateVolume")));
    assert!(report.fired >= 2 * report.steps.len());
}

#[test]
fn a_crash_anywhere_in_a_claim_s_life_leaves_nothing() {
    let report = crash::everywhere(&life());
    assert!(report.steps.iter().any(|step| step.is_rpc("DeleteVolume")));
    assert!(report.fired >= 2 * report.steps.len());
}

#[test]
fn any_lost_reply_refusal_conflict_or_delay_is_survived() {
    let faults = [
        Fault::LoseReply,
        Fault::ApiError(500),
        Fault::ApiError(429),
        Fault::Conflict,
        Fault::Rpc(Code::Unavailable),
        Fault::Rpc(Code::Internal),
        Fault::Delay(Duration::from_secs(30)),
    ];
    crash::at_each_step(&life(), &faults);
}

#[tokio::test(start_paused = true)]
async fn broken_watches_and_duplicate_events_change_nothing() {
    let world = World::default();
    begin(&world);
    let _binder = world.binder();
    world.api.duplicate_events(true);
    world.api.delay_watch(Duration::from_millis(300));
    world.api.put(claim("data"));
    let _running = world.run(Duration::from_secs(1), sidecar);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.api.break_watches();
        world.api.expire_history();
    }
    bound(&world, "data").await;
    world.driver.restart();
    world.api.delete("persistentvolumeclaims", "data");
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.api.break_watches();
    }
    no_volumes(&world).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)"]);
    assert!(world.driver.volumes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn stale_caches_lead_to_no_second_call() {
    let world = World::default();
    begin(&world);
    let _binder = world.binder();
    world.api.delay_watch(Duration::from_secs(3));
    world.api.put(claim("data"));
    let _running = world.run(Duration::from_secs(1), sidecar);
    bound(&world, "data").await;
    // Somebody looks at the claim while our cache still has it unbound.
    world.api.edit("persistentvolumeclaims", "data", |claim| claim["metadata"]["labels"] = json!({"a": "b"}));
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.api.delete("persistentvolumeclaims", "data");
    no_volumes(&world).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)"]);
}

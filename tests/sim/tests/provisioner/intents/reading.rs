//! The next process reads what is written down, whatever the API server says at first and however it lies there.

use std::time::Duration;

use serde_json::{Value, json};
use sim::{ApiServer, Fault, Settings, World};
use tokio::time::sleep;

use super::{SECOND, killed_in_the_call, world};
use crate::harness::{INTENTS, intents, logged, move_lease, no_volumes};
use crate::harness::{PROVISIONER, claim, with_intents};
use crate::sources::{able, begin_clone, cloning};

/// Moves what is written down to the Lease of this number, and deletes the claim.
fn move_to(world: &World, page: usize) {
    move_lease(world, &format!("{INTENTS}-0"), &format!("{INTENTS}-{page}"));
    world.api.delete("persistentvolumeclaims", "data");
}

fn sent(world: &World) -> usize {
    world.driver.calls_of("CreateVolume").len()
}

/// Leases are written side by side: a process that dies then leaves those that were stored, whichever they are.
#[tokio::test(start_paused = true)]
async fn requests_are_found_though_earlier_leases_were_never_made() {
    let world = world();
    let _binder = world.binder();
    let _running = killed_in_the_call(&world).await;
    move_to(&world, 70);
    sleep(600 * SECOND).await;
    assert_eq!(sent(&world), 2);
    assert_eq!((world.driver.volumes().len(), intents(&world)), (0, vec![]));
}

/// As without leader election, where no role need allow it.
#[tokio::test(start_paused = true)]
async fn leases_are_read_one_by_one_without_the_right_to_list() {
    let world = world();
    let _binder = world.binder();
    let rules = |verbs: Value| {
        ApiServer::rules(json!([
            {"apiGroups": ["", "storage.k8s.io"], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs},
        ]))
    };
    world.api.grant_only("sidecar", rules(json!(["get", "create", "update"])).expect("rules"));
    let _running = killed_in_the_call(&world).await;
    move_to(&world, 15);
    sleep(600 * SECOND).await;
    assert_eq!(sent(&world), 2);
    no_volumes(&world).await;
    assert_eq!((world.driver.volumes().len(), intents(&world)), (0, vec![]));
}

/// A role that is applied late, or a proxy that knows no Leases for a while.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_read_is_read_later() {
    for (code, page) in [(403, 0), (404, 0), (403, 2)] {
        let world = world();
        let _binder = world.binder();
        let _running = killed_in_the_call(&world).await;
        move_to(&world, page);
        world.steps.on(|step| step.is("list", "leases"), 1, Fault::ApiError(code));
        world.steps.on(
            move |step| step.to_string() == format!("get leases default/{INTENTS}-{page}"),
            1,
            Fault::ApiError(code),
        );
        sleep(30 * SECOND).await;
        assert_eq!(sent(&world), 1, "{code} {page}");
        sleep(600 * SECOND).await;
        assert_eq!(sent(&world), 2, "{code} {page}");
        assert_eq!((world.driver.volumes().len(), intents(&world)), (0, vec![]), "{code} {page}");
    }
}

/// Nobody knows yet what the earlier process has sent.
#[tokio::test(start_paused = true)]
async fn source_is_held_until_leases_are_read() {
    let world = World::new(Settings { keeps_contract: true, ..Settings::default() });
    begin_clone(&world);
    let _binder = world.binder();
    world.driver.script("CreateVolume", [sim::Reply::Ok.after(100 * SECOND)]);
    let running = world.run(10 * SECOND, |world| async move {
        let mut config = with_intents();
        able(&mut config);
        PROVISIONER.live(world, config, base::leadership::Leadership::always(), Default::default()).await;
    });
    world.api.put(cloning(claim("data")));
    sleep(2 * SECOND).await;
    running.kill();
    world.api.delete("persistentvolumeclaims", "data");
    world.api.delete("persistentvolumeclaims", "source");
    world.steps.on(|step| step.is("list", "leases") || step.is("get", "leases"), 2, Fault::ApiError(403));
    sleep(60 * SECOND).await;
    assert_eq!(world.api.count("persistentvolumeclaims"), 1, "it is being cloned");
    sleep(600 * SECOND).await;
    assert_eq!(world.api.count("persistentvolumeclaims"), 0);
    assert_eq!((world.driver.volumes().len(), intents(&world)), (1, vec![]));
}

/// Where it may never read Leases, it goes on without, as upstream does, and says so once.
#[test]
fn right_that_never_comes_holds_no_source() {
    let log = logged(async {
        let world = World::default();
        begin_clone(&world);
        world.api.edit("persistentvolumeclaims", "source", |source| {
            source["metadata"]["finalizers"] =
                json!(["provisioner.storage.kubernetes.io/cloning-protection"]);
        });
        world.api.delete("persistentvolumeclaims", "source");
        let rules = json!([{"apiGroups": ["", "storage.k8s.io"], "resources": ["*"], "verbs": ["*"]}]);
        world.api.grant_only("sidecar", ApiServer::rules(rules).expect("rules"));
        let _running = PROVISIONER.run(&world, |config| {
            *config = with_intents();
            able(config);
        });
        sleep(Duration::from_secs(600)).await;
        assert_eq!(world.api.count("persistentvolumeclaims"), 0);
    });
    assert_eq!(log.matches("Requests are not written down before they are sent").count(), 1, "{log}");
}

/// Another claim's object has taken the name meanwhile: that says nothing about the volume that was being made.
#[test]
fn object_of_another_claim_does_not_settle_a_request_unseen() {
    let log = logged(async {
        let world = world();
        let _binder = world.binder();
        let _running = killed_in_the_call(&world).await;
        let claim = world.api.get("persistentvolumeclaims", "data").unwrap();
        let name = format!("pvc-{}", claim["metadata"]["uid"].as_str().unwrap());
        let [_, volume] = sim::objects::bound("other", &name);
        world.api.put(volume);
        world.api.delete("persistentvolumeclaims", "data");
        sleep(60 * SECOND).await;
        assert_eq!(world.driver.volumes().len(), 1);
    });
    let told = ["already exists and does not belong to this claim", "which PersistentVolume pvc-"];
    assert!(told.iter().any(|text| log.contains(text)), "{log}");
}

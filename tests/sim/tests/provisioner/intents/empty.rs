//! Leases that hold no intents any more.

use base::leadership::Leadership;
use provisioner::Config;
use serde_json::{Value, json};
use sim::{ApiServer, Fault, Reply, Running, World};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{SECOND, lease_writes, world};
use crate::harness::{INTENTS, calls, intents, sidecar_with, waiting, with_intents};

/// A hundred requests, of which the one for `data-99`, in the last Lease, takes longer.
pub(super) async fn many(world: &World) -> Running {
    world.driver.script("CreateVolume", (0..100).map(|_| Reply::Ok.after(2 * SECOND)));
    for number in 0..100 {
        world.api.put(waiting(&format!("data-{number}")));
    }
    world.run(20 * SECOND, |world| async move {
        let config = Config { workers: 100, ..with_intents() };
        sidecar_with(world, config, Leadership::always(), CancellationToken::new()).await;
    })
}

fn leases(world: &World) -> Vec<String> {
    world
        .api
        .list("leases")
        .iter()
        .map(|lease| lease["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn empty_leases_are_deleted_but_for_the_first() {
    let world = world();
    let _running = many(&world).await;
    sleep(SECOND).await;
    let all = leases(&world).len();
    assert!(all >= 3, "{all}");
    sleep(120 * SECOND).await;
    assert_eq!((leases(&world), intents(&world)), (vec![format!("{INTENTS}-0")], vec![]));
    let written = lease_writes(&world);
    let deleted = written.iter().filter(|write| write.starts_with("delete")).count();
    assert_eq!(deleted, all - 1, "{written:?}");
    assert!(written.len() <= 3 * all, "a deletion replaces a write: {written:?}");
    sleep(3600 * SECOND).await;
    assert_eq!(lease_writes(&world).len(), written.len(), "nothing more while nothing happens");
    world.api.put(waiting("later"));
    sleep(60 * SECOND).await;
    assert_eq!((calls(&world).len(), intents(&world)), (101, vec![]));
}

#[tokio::test(start_paused = true)]
async fn empty_leases_stay_where_they_may_not_be_deleted() {
    let world = world();
    let rules = json!([
        {"apiGroups": ["", "storage.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "list", "create", "update"]},
    ]);
    world.api.grant_only("sidecar", ApiServer::rules(rules).expect("rules"));
    let _running = many(&world).await;
    sleep(SECOND).await;
    let all = leases(&world);
    sleep(120 * SECOND).await;
    assert_eq!((leases(&world), intents(&world)), (all, vec![]), "they are clean");
    let tries =
        |world: &World| lease_writes(world).iter().filter(|write| **write == "delete leases 403").count();
    assert_eq!(tries(&world), 1);
    sleep(3600 * SECOND).await;
    assert_eq!(tries(&world), 1);
}

/// Those that an earlier process has left; the API server fails at first.
#[tokio::test(start_paused = true)]
async fn empty_leases_of_an_earlier_process_are_deleted() {
    let world = world();
    for number in [0, 1, 2, 7] {
        let metadata = json!({"name": format!("{INTENTS}-{number}"), "namespace": "default"});
        world.api.put(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}));
    }
    let foreign = json!({"name": format!("{INTENTS}-x"), "namespace": "default"});
    world.api.put(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": foreign}));
    world.steps.on(|step| step.is("delete", "leases"), 2, Fault::ApiError(500));
    world.steps.on(|step| step.is("delete", "leases"), 1, Fault::LoseReply);
    let _running = world.run(20 * SECOND, crate::harness::remembering);
    sleep(120 * SECOND).await;
    assert_eq!(leases(&world), [format!("{INTENTS}-0"), format!("{INTENTS}-x")]);
}

/// Somebody has put an intent there meanwhile.
#[tokio::test(start_paused = true)]
async fn lease_that_somebody_has_written_to_is_not_deleted() {
    let world = world();
    let _running = many(&world).await;
    sleep(3 * SECOND).await;
    let last = leases(&world).pop().unwrap();
    world.api.edit("leases", &last, |lease| {
        lease["metadata"]["annotations"]["intent.mooring.dev/another.one"] = json!("of a later version");
    });
    sleep(300 * SECOND).await;
    let kept: Vec<Value> = world.api.list("leases");
    assert!(kept.iter().any(|lease| lease["metadata"]["name"] == *last), "{kept:?}");
    assert_eq!(intents(&world), ["intent.mooring.dev/another.one"]);
}

//! Each node has Leases of its own for its intents. None of them stays for ever.

use std::time::Duration;

use base::leadership::Leadership;
use serde_json::json;
use sim::objects::csi_node;
use sim::{ApiServer, Fault, Running, World};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::lost::config;
use super::{ON_NODE, set_room};
use crate::capacity::telling;
use crate::harness::{INTENTS, bound, calls, intents};
use crate::topology::{late, selected};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A world with node-1, whose provisioner makes the volume of claim `data`.
async fn world() -> (World, sim::Binder) {
    let world = telling();
    set_room(&world, "node-1", 1 << 40);
    world.api.put(late());
    world.api.put(csi_node("node-1"));
    world.api.put(selected("data", "node-1"));
    let binder = world.binder();
    (world, binder)
}

fn run(world: &World) -> Running {
    ON_NODE.run(world, |usual| *usual = config("node-1"))
}

fn leases(world: &World) -> Vec<String> {
    let name = |lease: &serde_json::Value| lease["metadata"]["name"].as_str().unwrap().to_owned();
    world.api.list("leases").iter().map(name).collect()
}

/// How often the sidecar has written to Leases, by verb.
fn lease_writes(world: &World) -> Vec<String> {
    let requests = world.api.requests();
    let ours = requests.iter().filter(|one| one.resource == "leases" && one.is_write());
    ours.map(|one| one.verb.to_string()).collect()
}

/// An empty Lease as another node's provisioner, or another driver's, has left it.
fn left(world: &World, name: &str, node: &str, driver: &str) {
    world.api.put(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": name, "namespace": "default", "annotations": {"mooring.dev/node": node},
            "labels": {"app.kubernetes.io/managed-by": "mooring-csi-provisioner", "mooring.dev/driver": driver},
        },
    }));
}

#[tokio::test(start_paused = true)]
async fn first_lease_of_a_node_goes_when_it_is_empty_for_long() {
    let (world, _binder) = world().await;
    let _running = run(&world);
    bound(&world, "data").await;
    sleep(60 * SECOND).await;
    assert_eq!(
        (leases(&world), intents(&world)),
        (vec![format!("{INTENTS}-node-1-0")], vec![]),
        "for the next"
    );
    let written = lease_writes(&world);
    sleep(DAY / 2).await;
    assert_eq!(lease_writes(&world), written, "a node that makes a volume now and then writes no more");
    sleep(DAY / 2).await;
    assert_eq!(leases(&world), Vec::<String>::new());
    assert_eq!(lease_writes(&world), [written.clone(), vec!["delete".into()]].concat());
    world.api.put(selected("later", "node-1"));
    bound(&world, "later").await;
    sleep(60 * SECOND).await;
    assert_eq!((calls(&world).len(), leases(&world).len(), intents(&world)), (2, 1, vec![]));
    sleep(3 * DAY).await;
    assert_eq!(lease_writes(&world).len(), 2 * (written.len() + 1), "nothing more while nothing happens");
}

#[tokio::test(start_paused = true)]
async fn node_whose_process_stops_leaves_no_lease() {
    let (world, _binder) = world().await;
    let stop = CancellationToken::new();
    let told = stop.clone();
    let _running = world.run(DAY, move |world| {
        let stop = told.clone();
        async move { ON_NODE.live(world, config("node-1"), Leadership::always(), stop).await }
    });
    bound(&world, "data").await;
    assert_eq!(intents(&world).len(), 1);
    stop.cancel();
    sleep(SECOND).await;
    assert_eq!(leases(&world), Vec::<String>::new());
}

/// Another process writes to it while it is about to be deleted: an older pod of the same node.
#[tokio::test(start_paused = true)]
async fn lease_of_a_node_that_is_written_to_meanwhile_stays() {
    let (world, _binder) = world().await;
    let _running = run(&world);
    bound(&world, "data").await;
    sleep(60 * SECOND).await;
    world.api.edit("leases", &format!("{INTENTS}-node-1-0"), |lease| {
        lease["metadata"]["annotations"]["intent.mooring.dev/another.one"] = json!("of a later version");
    });
    sleep(2 * DAY).await;
    assert_eq!(intents(&world), ["intent.mooring.dev/another.one"]);
}

#[tokio::test(start_paused = true)]
async fn lease_that_cannot_be_deleted_is_seldom_tried() {
    // A request that is to come later is repeated at once, ten times at most.
    for (code, most) in [(500, 110), (429, 1100)] {
        let (world, _binder) = world().await;
        let _running = run(&world);
        bound(&world, "data").await;
        world.steps.on(|step| step.is("delete", "leases"), 100_000, Fault::ApiError(code));
        sleep(3 * DAY).await;
        let tries = lease_writes(&world).iter().filter(|verb| *verb == "delete").count();
        assert!((1..=most).contains(&tries), "{code}: {tries} tries in two days");
    }
}

#[tokio::test(start_paused = true)]
async fn lease_whose_deletion_passed_once_goes_later() {
    for code in [401, 404, 429] {
        let (world, _binder) = world().await;
        let _running = run(&world);
        bound(&world, "data").await;
        world.steps.on(|step| step.is("delete", "leases"), 1, Fault::ApiError(code));
        sleep(3 * DAY).await;
        assert_eq!(leases(&world), Vec::<String>::new(), "{code}");
    }
}

/// A role without `delete`, as upstream's: what the sweep learns ends it.
#[tokio::test(start_paused = true)]
async fn nodes_are_not_asked_for_where_leases_stay() {
    let (world, _binder) = world().await;
    let rules = json!([
        {"apiGroups": ["", "storage.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "list", "create", "update"]},
    ]);
    world.api.grant_only("sidecar", ApiServer::rules(rules).expect("rules"));
    for node in 2..20 {
        left(&world, &format!("{INTENTS}-node-{node}-0"), &format!("node-{node}"), "driver.example");
    }
    let _running = run(&world);
    sleep(10 * DAY).await;
    let asked =
        world.api.requests().iter().filter(|one| one.resource == "csinodes" && one.verb == "get").count();
    assert!(asked <= 1, "{asked} CSINodes were read");
}

/// Each provisioner of a node looks about once a day.
#[tokio::test(start_paused = true)]
async fn empty_leases_of_nodes_that_are_gone_are_deleted() {
    let (world, _binder) = world().await;
    world.api.put(csi_node("node-3"));
    left(&world, &format!("{INTENTS}-node-2-0"), "node-2", "driver.example");
    left(&world, &format!("{INTENTS}-node-2-1"), "node-2", "driver.example");
    left(&world, &format!("{INTENTS}-node-3-0"), "node-3", "driver.example");
    left(&world, &format!("{INTENTS}-b-0"), "", "driver.example-b");
    // It was written today: there is a node, which need not be asked for.
    left(&world, &format!("{INTENTS}-node-5-0"), "node-5", "driver.example");
    world.api.edit("leases", &format!("{INTENTS}-node-5-0"), |lease| {
        lease["spec"] = json!({"renewTime": "2999-01-01T00:00:00.000000Z"});
    });
    left(&world, &format!("{INTENTS}-node-4-0"), "node-4", "driver.example");
    left(&world, &format!("{INTENTS}-node-4-1"), "node-4", "driver.example");
    world.api.edit("leases", &format!("{INTENTS}-node-4-1"), |lease| {
        lease["metadata"]["annotations"]["intent.mooring.dev/another.one"] = json!("without an answer");
    });
    let _running = run(&world);
    bound(&world, "data").await;
    sleep(4 * DAY).await;
    let stay =
        ["b-0", "node-3-0", "node-4-0", "node-4-1", "node-5-0"].map(|name| format!("{INTENTS}-{name}"));
    assert_eq!(leases(&world), stay);
    let lists =
        world.api.requests().iter().filter(|one| one.resource == "leases" && one.verb == "list").count();
    assert!((2..=8).contains(&lists), "{lists} lists in four days");
    let requests = world.api.requests();
    assert!(!requests.iter().any(|one| one.resource == "csinodes" && one.name == "node-5"));
}

/// The node comes back between two looks at the same moment: what it writes stays.
#[tokio::test(start_paused = true)]
async fn lease_of_a_node_that_comes_back_is_not_deleted() {
    let (world, _binder) = world().await;
    let lease = format!("{INTENTS}-node-2-0");
    left(&world, &lease, "node-2", "driver.example");
    world.steps.on(|step| step.is("get", "csinodes"), 1, Fault::LateReply(600 * SECOND));
    let _running = run(&world);
    while !world.api.requests().iter().any(|one| one.resource == "csinodes") {
        sleep(300 * SECOND).await;
    }
    world.api.edit("leases", &lease, |lease| {
        lease["metadata"]["annotations"]["intent.mooring.dev/another.one"] = json!("sent just now");
    });
    sleep(4 * DAY).await;
    assert_eq!(leases(&world), [lease]);
}

#[tokio::test(start_paused = true)]
async fn leases_of_nodes_stay_where_they_may_not_be_looked_at() {
    let (world, _binder) = world().await;
    let rules = json!([
        {"apiGroups": ["", "storage.k8s.io"], "resources": ["persistentvolumes", "persistentvolumeclaims", "events", "storageclasses"], "verbs": ["*"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
    ]);
    world.api.grant_only("sidecar", ApiServer::rules(rules).expect("rules"));
    let lease = format!("{INTENTS}-node-2-0");
    left(&world, &lease, "node-2", "driver.example");
    let _running = run(&world);
    sleep(4 * DAY).await;
    assert_eq!(leases(&world), [lease]);
}

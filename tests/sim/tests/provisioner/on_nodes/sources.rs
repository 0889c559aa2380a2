//! Sources that the provisioners of several nodes use, hold and let go of.

use std::time::Duration;

use provisioner::{Config, Place};
use serde_json::json;
use sim::objects::{class, csi_node, csi_node_with, secret, with};
use sim::{ApiServer, Reply, Running, Settings, World};
use tokio::time::sleep;
use tonic::Code;

use super::{ON_NODE, on};
use crate::harness::{DRIVER, bound, calls, intents, logged};
use crate::sources::{PROTECTION, able, begin_clone, cloning, holding, restoring, snapshot};
use crate::topology::selected;

const SECOND: Duration = Duration::from_secs(1);

fn config(node: &str, remembers: bool) -> Config {
    let place = Place::new("default".into(), DRIVER, Some(node));
    let mut config = Config { intents: Some(place).filter(|_| remembers), ..on("node-1") };
    let node = Box::from(node);
    config.node.as_mut().unwrap().name = node;
    able(&mut config);
    config
}

/// Both sources, and so many nodes.
fn nodes(count: usize, remembers: bool) -> (World, Vec<Running>) {
    let world = World::new(Settings { keeps_contract: true, ..Settings::default() });
    begin_clone(&world);
    snapshot().into_iter().for_each(|object| drop(world.api.put(object)));
    let running = (1..=count).map(|number| {
        let node = format!("node-{number}");
        world.api.put(csi_node(&node));
        ON_NODE.run(&world.other(&node), move |usual| *usual = config(&node, remembers))
    });
    let running = running.collect();
    (world, running)
}

fn is_there(world: &World, plural: &str, name: &str) -> bool {
    world.api.get(plural, name).is_some()
}

/// How many requests of all nodes there were for such objects, as `verb`.
fn asked(world: &World, plural: &str, verb: &str) -> usize {
    let requests = world.api.requests();
    requests.iter().filter(|one| one.resource == plural && one.verb == verb).count()
}

/// The claim is there or gone; its request is under way on the first node, written down or not.
#[tokio::test(start_paused = true)]
async fn source_that_another_node_uses_is_not_let_go_of() {
    for (gives_up, remembers) in [(false, true), (true, true), (false, false)] {
        for (plural, source, wanted) in [
            ("volumesnapshots", "snap", restoring(selected("data", "node-1"))),
            ("persistentvolumeclaims", "source", cloning(selected("data", "node-1"))),
        ] {
            let (world, _running) = nodes(3, remembers);
            let _binder = world.binder();
            sleep(60 * SECOND).await;
            world.driver.script("CreateVolume", [Reply::Ok.after(150 * SECOND)]);
            world.api.put(wanted);
            sleep(2 * SECOND).await;
            world.api.delete(plural, source);
            if gives_up {
                world.api.delete("persistentvolumeclaims", "data");
            }
            sleep(120 * SECOND).await;
            assert!(
                is_there(&world, plural, source),
                "{source} {gives_up} {remembers}: the driver reads from it"
            );
            sleep(900 * SECOND).await;
            assert!(!is_there(&world, plural, source), "{source} {gives_up} {remembers}");
            assert_eq!(
                world.driver.volumes().len(),
                2 - usize::from(gives_up),
                "{source} {gives_up} {remembers}"
            );
        }
    }
}

/// Its node has died in the call: it sends the request again, unless it is gone for good.
#[tokio::test(start_paused = true)]
async fn node_that_is_gone_holds_no_source() {
    let (world, mut running) = nodes(2, true);
    let _binder = world.binder();
    begin_to_die(&world, &mut running).await;
    sleep(600 * SECOND).await;
    assert!(is_there(&world, "persistentvolumeclaims", "source"), "the node may come back");
    assert_eq!(intents(&world).len(), 1);
    world.api.delete("csinodes", "node-1");
    sleep(600 * SECOND).await;
    assert!(!is_there(&world, "persistentvolumeclaims", "source"));
}

/// A node that has died in a call for a claim that is gone. Its source waits to be let go of.
async fn died_in_a_clone(world: &World, running: &mut Vec<Running>) {
    begin_to_die(world, running).await;
    sleep(300 * SECOND).await;
    assert!(is_there(world, "persistentvolumeclaims", "source"), "the node may come back");
    assert_eq!(intents(world).len(), 1);
}

async fn begin_to_die(world: &World, running: &mut Vec<Running>) {
    sleep(60 * SECOND).await;
    world.driver.script("CreateVolume", [Reply::Hang]);
    world.api.put(cloning(selected("data", "node-1")));
    sleep(2 * SECOND).await;
    running.remove(0).stop();
    world.api.delete("persistentvolumeclaims", "data");
    world.api.delete("persistentvolumeclaims", "source");
}

/// The DaemonSet does not run there any more.
#[tokio::test(start_paused = true)]
async fn node_that_has_lost_the_driver_holds_no_source_for_ever() {
    let (world, mut running) = nodes(2, true);
    let _binder = world.binder();
    died_in_a_clone(&world, &mut running).await;
    for drivers in [json!([]), csi_node("node-1")["spec"]["drivers"].clone(), json!([])] {
        world.api.put(csi_node_with("node-1", drivers));
        sleep(500 * SECOND).await;
        assert!(is_there(&world, "persistentvolumeclaims", "source"), "the driver may come back");
    }
    sleep(1500 * SECOND).await;
    assert!(!is_there(&world, "persistentvolumeclaims", "source"));
}

/// Each time it comes back for a moment, and nobody looks then.
#[tokio::test(start_paused = true)]
async fn node_that_loses_the_driver_now_and_then_holds_its_source() {
    let (world, mut running) = nodes(2, true);
    let _binder = world.binder();
    died_in_a_clone(&world, &mut running).await;
    for _ in 0..40 {
        world.api.put(csi_node_with("node-1", csi_node("node-1")["spec"]["drivers"].clone()));
        world.api.put(csi_node_with("node-1", json!([])));
        sleep(100 * SECOND).await;
        assert!(is_there(&world, "persistentvolumeclaims", "source"), "the driver may come back");
    }
    sleep(1500 * SECOND).await;
    assert!(!is_there(&world, "persistentvolumeclaims", "source"));
}

/// All nodes wait for the one that has died.
#[tokio::test(start_paused = true)]
async fn leases_of_all_nodes_are_seldom_listed() {
    const NODES: usize = 20;
    let (world, mut running) = nodes(NODES, true);
    let _binder = world.binder();
    sleep(30 * SECOND).await;
    assert_eq!(asked(&world, "leases", "list"), 0, "each node reads its own");
    died_in_a_clone(&world, &mut running).await;
    world.api.clear_requests();
    sleep(3600 * SECOND).await;
    let listed = asked(&world, "leases", "list");
    assert!((1..=20 * NODES).contains(&listed), "{listed} lists in an hour");
}

#[test]
fn node_that_nobody_may_look_at_holds_its_source() {
    let log = logged(async {
        let (world, mut running) = nodes(2, true);
        let _binder = world.binder();
        let rules = json!([
            {"apiGroups": ["", "snapshot.storage.k8s.io", "coordination.k8s.io"], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses", "volumeattachments"], "verbs": ["*"]},
        ]);
        world.api.grant_only("node-2", ApiServer::rules(rules).expect("rules"));
        died_in_a_clone(&world, &mut running).await;
        sleep(900 * SECOND).await;
        assert!(is_there(&world, "persistentvolumeclaims", "source"), "it may be there");
    });
    assert_eq!(log.matches("the service account may not get csinodes").count(), 1, "{log}");
}

/// Where it may never list Leases, a node lets go of sources as upstream does.
#[tokio::test(start_paused = true)]
async fn node_that_may_not_list_leases_holds_no_source() {
    let (world, mut running) = nodes(2, true);
    let _binder = world.binder();
    let rules = json!([
        {"apiGroups": ["", "snapshot.storage.k8s.io", "storage.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
    ]);
    world.api.grant_only("node-2", ApiServer::rules(rules).expect("rules"));
    begin_to_die(&world, &mut running).await;
    sleep(300 * SECOND).await;
    assert!(!is_there(&world, "persistentvolumeclaims", "source"));
    assert!(asked(&world, "leases", "list") >= 1);
}

/// The claim and its Secret are gone: the node would send nothing if it came back. A Secret that
/// nobody may look at counts as gone, as for the node's own request; like one that may come back, after ten minutes.
#[tokio::test(start_paused = true)]
async fn request_that_waits_in_vain_elsewhere_holds_no_source() {
    for (may_look, namespace) in [(true, "default"), (false, "default"), (true, "drivers")] {
        in_vain(may_look, namespace).await;
    }
}

async fn in_vain(may_look: bool, namespace: &str) {
    let (world, mut running) = nodes(2, true);
    if !may_look {
        let rules = json!([
            {"apiGroups": [""], "resources": ["persistentvolumes", "persistentvolumeclaims", "events"], "verbs": ["*"]},
            {"apiGroups": ["snapshot.storage.k8s.io", "storage.k8s.io", "coordination.k8s.io"], "resources": ["*"], "verbs": ["*"]},
        ]);
        world.api.grant_only("node-2", ApiServer::rules(rules).expect("rules"));
    }
    let _binder = world.binder();
    let key = json!({"csi.storage.k8s.io/provisioner-secret-name": "key", "csi.storage.k8s.io/provisioner-secret-namespace": namespace});
    world.api.put(with(class(), json!({"parameters": key})));
    world.api.put(secret(namespace, "key", json!({"token": "aHVzaA=="})));
    sleep(60 * SECOND).await;
    world.driver.script("CreateVolume", (0..10).map(|_| Reply::error(Code::Aborted, "busy")));
    world.api.put(cloning(selected("data", "node-1")));
    sleep(2 * SECOND).await;
    running.remove(0).stop();
    assert!(world.api.delete("secrets", &format!("{namespace}/key")));
    world.api.delete("persistentvolumeclaims", "data");
    world.api.delete("persistentvolumeclaims", "source");
    let sent = calls(&world).len();
    if namespace != "default" || !may_look {
        sleep(300 * SECOND).await;
        assert!(is_there(&world, "persistentvolumeclaims", "source"), "the Secret may come back");
        sleep(900 * SECOND).await;
    }
    sleep(600 * SECOND).await;
    assert_eq!((calls(&world).len(), intents(&world).len()), (sent, 1), "it is not forgotten");
    assert!(!is_there(&world, "persistentvolumeclaims", "source"), "{may_look} {namespace}");
}

#[tokio::test(start_paused = true)]
async fn nodes_do_not_all_ask_for_a_source_at_once() {
    const NODES: usize = 30;
    let (world, _running) = nodes(NODES, true);
    let _binder = world.binder();
    sleep(60 * SECOND).await;
    world.api.put(restoring(selected("data", "node-1")));
    bound(&world, "data").await;
    sleep(120 * SECOND).await;
    assert!(!holding::is_held(&world));
    let read = asked(&world, "volumesnapshots", "get");
    assert!((1..=4).contains(&read), "{read} reads of one snapshot");
    // Somebody has left the finalizers.
    world.api.clear_requests();
    world.api.edit("volumesnapshots", "snap", |one| one["metadata"]["finalizers"] = json!([holding::HOLD]));
    world
        .api
        .edit("persistentvolumeclaims", "source", |one| one["metadata"]["finalizers"] = json!([PROTECTION]));
    world.api.delete("persistentvolumeclaims", "source");
    sleep(120 * SECOND).await;
    assert!(!holding::is_held(&world) && !is_there(&world, "persistentvolumeclaims", "source"));
    for plural in ["volumesnapshots", "persistentvolumeclaims"] {
        let read = asked(&world, plural, "get");
        assert!((1..=4).contains(&read), "{read} reads of one of the {plural}");
    }
    assert_eq!(calls(&world), ["CreateVolume Some(Ok)"]);
}

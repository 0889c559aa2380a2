//! One provisioner on each node (docs/upstream/provisioner.md, "Node deployment").

mod leases;
mod lost;
mod sources;

use std::collections::BTreeMap;
use std::time::Duration;

use base::leadership::Leadership;
use csi::v1::{CreateVolumeRequest, GetCapacityRequest};
use provisioner::{Config, NodeSettings};
use serde_json::{Value, json};
use sim::crash::{self, Scenario};
use sim::objects::{class, with};
use sim::{Reply, Running, Settings, Sidecar, World};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::capacity::{PUBLISHING, published, publishing, telling};
use crate::harness::{bound, calls, events, no_volumes, released, waiting, writes};
use crate::topology::{SELECTED, late, placed, selected, selection, terms};

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
const GIB: i64 = 1 << 30;

/// The provisioner of node-1.
pub(crate) static ON_NODE: Sidecar<Config> =
    Sidecar { config: first, world: telling, calls, writes, ..PUBLISHING };

fn first() -> Config {
    on("node-1")
}

fn on(node: &str) -> Config {
    let settings = NodeSettings {
        name: node.into(),
        segments: [("host".to_owned(), node.to_owned())].into(),
        immediate: true,
        base_delay: Duration::from_secs(20),
        max_delay: Duration::from_secs(60),
    };
    Config { node: Some(settings), ..placed() }
}

fn set_room(world: &World, node: &str, bytes: i64) {
    let segments = BTreeMap::from([("host".to_owned(), node.to_owned())]);
    world.driver.change_model(|model| {
        model.room.insert(segments, bytes);
    });
}

/// A world with a provisioner on each of three nodes, each with this much room.
fn three(room: [i64; 3]) -> (World, Vec<Running>) {
    let world = telling();
    for (node, room) in NODES.into_iter().zip(room) {
        set_room(&world, node, room);
    }
    world.api.put(class());
    let run = |node: &'static str| ON_NODE.run(&world.other(node), move |config| *config = on(node));
    let running = NODES.map(run).into();
    (world, running)
}

/// The node that each CreateVolume was for.
fn made_for(world: &World) -> Vec<String> {
    let calls = world.driver.calls_of("CreateVolume");
    let node = |call: &sim::Call| {
        let wanted =
            call.request::<CreateVolumeRequest>().unwrap().accessibility_requirements.clone().unwrap();
        assert_eq!(wanted.requisite, wanted.preferred);
        wanted.requisite[0].segments["host"].clone()
    };
    calls.iter().map(node).collect()
}

/// What all nodes wrote to claims, as `node verb status`.
fn puts(world: &World) -> Vec<String> {
    let requests = world.api.requests();
    let ours = requests.iter().filter(|one| one.resource == "persistentvolumeclaims" && one.is_write());
    ours.map(|one| format!("{} {} {}", one.who, one.verb, one.status)).collect()
}

#[tokio::test(start_paused = true)]
async fn only_the_selected_node_makes_the_volume() {
    let made = ["create persistentvolumes 201"];
    for immediate in [true, false] {
        let base = if immediate { class() } else { late() };
        let right = ON_NODE.case("right node selected", [base.clone(), selected("data", "node-1")]);
        let world = right.ends_with(&["CreateVolume Some(Ok)"], &made).await;
        assert_eq!(terms(&world), ["host=node-1 / host=node-1"]);
        let wrong = ON_NODE.case("wrong node selected", [base, selected("data", "node-2")]);
        let world = wrong.ends_with(&[], &[]).await;
        assert_eq!((events(&world).len(), selection(&world, "data").as_deref()), (0, Some("node-2")));
    }
    let none = ON_NODE.case("no node selected", [late(), waiting("data")]);
    assert!(events(&*none.ends_with(&[], &[]).await).is_empty());
    let off = ON_NODE.case("immediate binding is off", [class(), waiting("data")]);
    let off = off.config(|config| config.node.as_mut().unwrap().immediate = false);
    assert!(events(&*off.ends_with(&[], &[]).await).is_empty());
}

/// The other nodes say nothing.
#[test]
fn claim_without_its_class_is_told_of_by_its_node_only() {
    for (node, tells) in [("node-2", true), ("node-of-no-driver", false)] {
        let log = crate::harness::logged(async {
            let (world, _running) = three([GIB; 3]);
            world.api.delete("storageclasses", "fast");
            world.api.put(selected("data", node));
            sleep(Duration::from_secs(60)).await;
        });
        assert_eq!(log.contains("StorageClass not found"), tells, "{node}: {log}");
    }
}

#[tokio::test(start_paused = true)]
async fn immediate_claim_is_selected_and_then_made() {
    let allowed = |host: &str| {
        let terms = json!([{"matchLabelExpressions": [{"key": "host", "values": [host]}]}]);
        with(class(), json!({"allowedTopologies": terms}))
    };
    let made = ["update persistentvolumeclaims 200", "create persistentvolumes 201"];
    for class in [class(), allowed("node-1")] {
        let world =
            ON_NODE.case("own", [class, waiting("data")]).ends_with(&["CreateVolume Some(Ok)"], &made).await;
        assert_eq!(selection(&world, "data").as_deref(), Some("node-1"));
        let asked = world.driver.calls_of("GetCapacity");
        assert_eq!(asked.len(), 1);
    }
    let world = ON_NODE.case("not allowed", [allowed("node-2"), waiting("data")]).ends_with(&[], &[]).await;
    assert_eq!((events(&world).len(), selection(&world, "data")), (0, None));
}

/// What cannot be prepared gets an owner too, who says why.
#[tokio::test(start_paused = true)]
async fn claim_that_cannot_be_prepared_gets_an_owner_who_says_why() {
    let bad = with(class(), json!({"parameters": {"csi.storage.k8s.io/no-such-key": "x"}}));
    let world = ON_NODE
        .case("bad", [bad, waiting("data")])
        .ends_with(&[], &["update persistentvolumeclaims 200"])
        .await;
    let told = events(&world);
    assert!(told.iter().any(|event| event.contains("no-such-key")), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn three_nodes_race_for_claims_and_share_them() {
    const CLAIMS: usize = 60;
    let (world, _running) = three([100 * GIB; 3]);
    let _binder = world.binder();
    for number in 0..CLAIMS {
        world.api.put(waiting(&format!("data-{number}")));
    }
    for number in 0..CLAIMS {
        bound(&world, &format!("data-{number}")).await;
    }
    sleep(Duration::from_secs(300)).await;
    let made = made_for(&world);
    assert_eq!(made.len(), CLAIMS, "each claim was made once");
    for node in NODES {
        assert!(made.iter().filter(|maker| *maker == node).count() > 5, "{node}: {made:?}");
    }
    for volume in world.api.list("persistentvolumes") {
        let claim = volume["spec"]["claimRef"]["name"].as_str().unwrap();
        let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
        let place = terms[0]["matchExpressions"][0]["values"][0].as_str();
        assert_eq!(place, selection(&world, claim).as_deref(), "{claim}");
    }
    let puts = puts(&world);
    assert_eq!(puts.iter().filter(|put| put.ends_with("update 200")).count(), CLAIMS, "{puts:?}");
    world.driver.clear_calls();
    for number in 0..CLAIMS {
        world.api.delete("persistentvolumeclaims", &format!("data-{number}"));
    }
    no_volumes(&world).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(
        calls(&world),
        vec!["DeleteVolume Some(Ok)"; CLAIMS],
        "each volume is deleted by its own node"
    );
}

#[tokio::test(start_paused = true)]
async fn node_without_room_does_not_select_itself() {
    let (world, _running) = three([0, GIB, GIB - 1]);
    let _binder = world.binder();
    world.api.put(waiting("data"));
    bound(&world, "data").await;
    assert_eq!(made_for(&world), ["node-2"]);
    world.api.put(waiting("second"));
    sleep(Duration::from_secs(600)).await;
    assert_eq!((made_for(&world).len(), selection(&world, "second")), (1, None));
    let of_second = |event: &Value| event["involvedObject"]["name"] == "second";
    assert!(!world.api.list("events").iter().any(of_second), "nobody says anything");
    set_room(&world, "node-3", GIB);
    bound(&world, "second").await;
    assert_eq!(made_for(&world), ["node-2", "node-3"]);
}

/// Upstream asks every 15 minutes.
#[tokio::test(start_paused = true)]
async fn node_without_room_asks_for_it_ever_less_often() {
    let (world, _running) = three([0; 3]);
    world.api.put(waiting("data"));
    let asked = async |hours: u64| {
        let before = world.driver.calls_of("GetCapacity").len();
        sleep(Duration::from_secs(3600 * hours)).await;
        world.driver.calls_of("GetCapacity").len() - before
    };
    let first = asked(1).await;
    assert!((3 * 8..3 * 15).contains(&first), "{first}");
    let later = asked(10).await;
    assert!((3 * 36..=3 * 40).contains(&later), "{later}");
    set_room(&world, "node-2", GIB);
    sleep(Duration::from_secs(1000)).await;
    assert_eq!(made_for(&world), ["node-2"]);
}

/// What the answer to GetCapacity would be is unknown: the owner finds out, and can say so.
#[tokio::test(start_paused = true)]
async fn failed_capacity_check_counts_as_room() {
    for code in [Code::Unimplemented, Code::Internal] {
        let world = telling();
        world.driver.script("GetCapacity", (0..99).map(|_| Reply::error(code, "cannot tell")));
        world.api.put(class());
        let _running = ON_NODE.run(&world, |config| *config = first());
        let _binder = world.binder();
        world.api.put(waiting("data"));
        bound(&world, "data").await;
        assert_eq!(selection(&world, "data").as_deref(), Some("node-1"), "{code}");
        assert_eq!(made_for(&world), ["node-1"], "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn capacity_is_asked_for_what_the_claim_wants() {
    let made = ["update persistentvolumeclaims 200", "create persistentvolumes 201"];
    let block = with(waiting("data"), json!({"spec": {"volumeMode": "Block"}}));
    let world = ON_NODE.case("block", [class(), block]).ends_with(&["CreateVolume Some(Ok)"], &made).await;
    let asked = world.driver.calls_of("GetCapacity");
    let sent = world.driver.calls_of("CreateVolume");
    let wanted = &sent[0].request::<CreateVolumeRequest>().unwrap().volume_capabilities;
    assert_eq!(
        (&asked[0].request::<GetCapacityRequest>().unwrap().volume_capabilities, wanted.len()),
        (wanted, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn capacity_of_a_driver_without_topology_is_asked_once() {
    let made = ["update persistentvolumeclaims 200", "create persistentvolumes 201"];
    let case = ON_NODE.case("no topology", [class(), waiting("data")]).config(|config| {
        config.can.topology = false;
        config.node.as_mut().unwrap().segments.clear();
    });
    let world = case.ends_with(&["CreateVolume Some(Ok)"], &made).await;
    let asked = world.driver.calls_of("GetCapacity");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].request::<GetCapacityRequest>().unwrap().accessible_topology, None);
}

/// A claim of size 0 cannot be made in a test server that checks it, but any driver may make it.
#[tokio::test(start_paused = true)]
async fn capacity_for_size_0_is_not_asked_for() {
    let none = with(waiting("data"), json!({"spec": {"resources": {"requests": {"storage": "0"}}}}));
    let made = ["update persistentvolumeclaims 200", "create persistentvolumes 201"];
    let case = ON_NODE.case("size 0", [class(), none]);
    let world = case.ends_with(&["CreateVolume Some(Ok)"], &made).await;
    assert!(world.driver.calls_of("GetCapacity").is_empty());
}

/// A released volume at these nodes.
fn released_at(required: Value, policy: &str) -> Value {
    let mut volume = released("pv");
    volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": required}});
    volume["spec"]["persistentVolumeReclaimPolicy"] = json!(policy);
    volume
}

fn host(operator: &str, values: &[&str]) -> Value {
    json!([{"matchExpressions": [{"key": "host", "operator": operator, "values": values}]}])
}

fn rack(operator: &str, value: &str) -> Value {
    json!([{"matchExpressions": [{"key": "rack", "operator": operator, "values": [value]}]}])
}

fn named(node: &str) -> Value {
    json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}])
}

/// Its own node may be gone for good.
#[tokio::test(start_paused = true)]
async fn finalizer_comes_off_the_retained_volume_of_another_node() {
    let retained = released_at(host("In", &["node-2"]), "Retain");
    ON_NODE.case("retained", [class(), retained]).ends_with(&[], &["patch persistentvolumes 200"]).await;
    let deleted = released_at(host("In", &["node-2"]), "Delete");
    ON_NODE.case("deleted", [class(), deleted]).ends_with(&[], &[]).await;
}

/// As a Kubernetes scheduler understands the affinity.
#[tokio::test(start_paused = true)]
async fn node_deletes_the_volumes_that_its_affinity_lets_it_reach() {
    let (deleted, kept) = (["DeleteVolume Some(Ok)"], [""; 0]);
    for (name, required, calls) in [
        ("one of two values", host("In", &["node-2", "node-1"]), &deleted[..]),
        ("neither of two values", host("In", &["node-2", "node-3"]), &kept[..]),
        ("any value", host("Exists", &[]), &deleted[..]),
        ("no value", host("DoesNotExist", &[]), &kept[..]),
        ("not this value", host("NotIn", &["node-1"]), &kept[..]),
        ("not another value", host("NotIn", &["node-2"]), &deleted[..]),
        ("a greater number", rack("Gt", "3"), &deleted[..]),
        ("not so great a number", rack("Gt", "4"), &kept[..]),
        ("a lesser number", rack("Lt", "5"), &deleted[..]),
        ("not so small a number", rack("Lt", "4"), &kept[..]),
        ("its name", named("node-1"), &deleted[..]),
        ("another name", named("node-2"), &kept[..]),
    ] {
        let writes = ["delete persistentvolumes 200", "patch persistentvolumes 200"];
        let writes = if calls.is_empty() { &[][..] } else { &writes[..] };
        let case = ON_NODE.case(name, [class(), released_at(required, "Delete")]).config(|config| {
            let segments = &mut config.node.as_mut().unwrap().segments;
            segments.insert("rack".to_owned(), "4".to_owned());
        });
        case.ends_with(calls, writes).await;
    }
    let case =
        ON_NODE.case("driver without topology", [class(), released_at(host("In", &["node-2"]), "Delete")]);
    let case = case.config(|config| config.node.as_mut().unwrap().segments.clear());
    case.ends_with(&deleted, &["delete persistentvolumes 200", "patch persistentvolumes 200"]).await;
}

#[tokio::test(start_paused = true)]
async fn full_node_gives_the_claim_back_to_the_others() {
    let (world, _running) = three([GIB; 3]);
    let _binder = world.binder();
    world.driver.script("CreateVolume", [Reply::error(Code::ResourceExhausted, "no room after all")]);
    world.api.put(waiting("data"));
    bound(&world, "data").await;
    assert_eq!(made_for(&world).len(), 2);
    assert_eq!(world.driver.volumes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn capacity_of_the_own_node_is_published_without_watching_nodes() {
    let case = ON_NODE.case("capacity", [late()]).config(|config| {
        let mut capacity = publishing().capacity.unwrap();
        capacity.managed_by = "external-provisioner-node-1".into();
        config.capacity = Some(capacity);
    });
    let world = case.ends_with(&[], &["create csistoragecapacities 201"]).await;
    assert_eq!(published(&world), ["fast [host=node-1] 1Pi -"]);
    let asked = world.api.requests();
    assert!(!asked.iter().any(|request| request.resource.ends_with("nodes")), "{asked:?}");
}

/// An immediate claim on one node, deleted again, with a crash anywhere.
#[test]
fn crash_anywhere_on_a_node_leaves_nothing() {
    async fn sidecar(world: World) {
        ON_NODE.live(world, on("node-1"), Leadership::always(), CancellationToken::new()).await;
    }
    let mut settings = Settings::default();
    settings.controller.push(csi::v1::controller_service_capability::rpc::Type::GetCapacity);
    let scenario = Scenario::new(sidecar, |world: World| async move {
        let _binder = world.binder();
        world.api.put(sim::objects::claim("data"));
        bound(&world, "data").await;
        assert_eq!(
            world.api.get("persistentvolumeclaims", "data").unwrap()["metadata"]["annotations"][SELECTED],
            "node-1"
        );
        world.api.delete("persistentvolumeclaims", "data");
        no_volumes(&world).await;
        sleep(Duration::from_secs(60)).await;
    });
    let scenario = scenario.driver(settings).prepare(|world| drop(world.api.put(class()))).check(|world| {
        let left = world.driver.volumes();
        if left.is_empty() { Ok(()) } else { Err(format!("leaked: {left:?}")) }
    });
    let report = crash::everywhere(&scenario);
    assert!(report.steps.iter().any(|step| step.is("update", "persistentvolumeclaims")));
}

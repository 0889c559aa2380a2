//! A node is lost while its driver makes a volume, and another node takes over the claim. Each node's driver has its own volumes.

use std::time::Duration;

use base::leadership::Leadership;
use provisioner::{Config, Place};
use serde_json::{Value, json};
use sim::crash::{self, Scenario};
use sim::{Driver, Reply, Running, Settings, Volume, World};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{ON_NODE, on};
use crate::harness::{DRIVER, bound, calls, events, intents, no_volumes};
use crate::topology::{SELECTED, late, select, selected};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn config(node: &str) -> Config {
    let place = Place::new("default".into(), DRIVER, Some(node));
    Config { intents: Some(place), ..on(node) }
}

/// A node's part of the world: the same cluster, and a driver of its own.
fn node(world: &World, name: &'static str) -> World {
    let mut part = world.other(name);
    part.driver = Driver::new(Settings::default());
    part
}

fn run(world: &World, name: &'static str) -> Running {
    ON_NODE.run(world, |usual| *usual = config(name))
}

/// The two nodes, and the first one's process, which was lost while its driver made the volume of claim `data`.
struct Story {
    world: World,
    first: World,
    second: World,
    _binder: sim::Binder,
}

/// `id`: the id that the first driver gives; both give the same without.
async fn begun(id: Option<&str>) -> (Story, Running) {
    let world = World::default();
    world.api.put(late());
    let claim = world.api.put(selected("data", "node-1"));
    let (first, second) = (node(&world, "node-1"), node(&world, "node-2"));
    if let Some(id) = id {
        let name = format!("pvc-{}", claim["metadata"]["uid"].as_str().unwrap());
        let segments = [("host".to_owned(), "node-1".to_owned())].into();
        let made = Volume {
            id: id.to_owned(),
            name,
            capacity: 1 << 30,
            topology: vec![csi::v1::Topology { segments }],
            ..Volume::default()
        };
        first.driver.change_model(|model| drop(model.volumes.insert(id.to_owned(), made)));
    }
    first.driver.script("CreateVolume", [Reply::LostReply]);
    let story = Story { _binder: world.binder(), world, first, second };
    let running = run(&story.first, "node-1");
    sleep(2 * SECOND).await;
    assert_eq!((made(&story.first), intents(&story.world).len()), (1, 1));
    (story, running)
}

fn made(node: &World) -> usize {
    node.driver.volumes().len()
}

/// Where the claim's volume is, as its object says.
fn places(world: &World) -> Vec<Value> {
    let place = "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values/0";
    world.api.list("persistentvolumes").iter().map(|one| one.pointer(place).cloned().unwrap()).collect()
}

fn failures(world: &World) -> Vec<String> {
    let all = events(world);
    all.into_iter().filter(|event| event.starts_with("ProvisioningFailed")).collect()
}

#[tokio::test(start_paused = true)]
async fn lost_node_deletes_what_another_has_made_instead() {
    for id in [None, Some("made-on-node-1")] {
        let (story, running) = begun(id).await;
        running.stop();
        select(&story.world, "data", "node-2");
        let _second = run(&story.second, "node-2");
        bound(&story.world, "data").await;
        let _first = run(&story.first, "node-1");
        sleep(600 * SECOND).await;
        assert_eq!((made(&story.first), made(&story.second)), (0, 1), "{id:?}");
        assert_eq!((places(&story.world), intents(&story.world)), (vec![json!("node-2")], vec![]), "{id:?}");
        assert_eq!(failures(&story.world), Vec::<String>::new(), "{id:?}");
        story.world.api.delete("persistentvolumeclaims", "data");
        no_volumes(&story.world).await;
        sleep(60 * SECOND).await;
        assert_eq!(made(&story.second), 0, "{id:?}");
    }
}

/// It was cut off, and did not die: only its memory knows.
#[tokio::test(start_paused = true)]
async fn node_that_was_cut_off_deletes_what_it_made_meanwhile() {
    for id in [None, Some("made-on-node-1")] {
        let (story, _first) = begun(id).await;
        select(&story.world, "data", "node-2");
        let _second = run(&story.second, "node-2");
        bound(&story.world, "data").await;
        sleep(600 * SECOND).await;
        assert_eq!((made(&story.first), made(&story.second)), (0, 1), "{id:?}");
        assert_eq!((places(&story.world), intents(&story.world)), (vec![json!("node-2")], vec![]), "{id:?}");
    }
}

/// The other node has not begun yet, or its volume is gone again: the claim is not this node's in any case.
#[tokio::test(start_paused = true)]
async fn volume_is_not_given_to_a_claim_of_another_node() {
    for was_lost in [false, true] {
        let (story, running) = begun(None).await;
        running.stop();
        select(&story.world, "data", "node-2");
        if was_lost {
            let second = run(&story.second, "node-2");
            bound(&story.world, "data").await;
            sleep(60 * SECOND).await;
            second.stop();
            let volume = story.world.api.list("persistentvolumes")[0]["metadata"]["name"].clone();
            let volume = volume.as_str().unwrap();
            story
                .world
                .api
                .edit("persistentvolumes", volume, |one| one["metadata"]["finalizers"] = json!([]));
            story.world.api.delete("persistentvolumes", volume);
        }
        let _first = run(&story.first, "node-1");
        sleep(600 * SECOND).await;
        assert_eq!((made(&story.first), places(&story.world).len()), (0, 0), "{was_lost}");
        assert_eq!(intents(&story.world), Vec::<String>::new(), "{was_lost}");
    }
}

/// Nobody else has the claim: the volume is used.
#[tokio::test(start_paused = true)]
async fn volume_of_a_claim_without_a_node_is_used() {
    let (story, running) = begun(None).await;
    running.stop();
    story.world.api.edit("persistentvolumeclaims", "data", |claim| {
        claim["metadata"]["annotations"].as_object_mut().unwrap().remove(SELECTED);
    });
    let _first = run(&story.first, "node-1");
    bound(&story.world, "data").await;
    assert_eq!((made(&story.first), places(&story.world)), (1, vec![json!("node-1")]));
}

/// The other node's object of the claim, whose volume has the same id there.
fn made_elsewhere(claim: &Value) -> Value {
    let uid = claim["metadata"]["uid"].as_str().unwrap();
    let [_, mut volume] = sim::objects::bound("data", &format!("pvc-{uid}"));
    volume["spec"]["claimRef"]["uid"] = claim["metadata"]["uid"].clone();
    volume["spec"]["csi"]["volumeHandle"] = json!(sim::id_of(&format!("pvc-{uid}")));
    let is = json!({"key": "host", "operator": "In", "values": ["node-2"]});
    volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [is]}]}});
    volume
}

/// Whoever was first has the claim, and the other has nothing.
#[test]
fn crash_anywhere_while_another_node_takes_over_leaks_none() {
    async fn sidecar(world: World) {
        ON_NODE.live(world, config("node-1"), Leadership::always(), CancellationToken::new()).await;
    }
    let scenario = Scenario::new(sidecar, |world: World| async move {
        let _binder = world.binder();
        world.driver.script("CreateVolume", [Reply::LostReply]);
        let claim = world.api.put(selected("data", "node-1"));
        sleep(2 * SECOND).await;
        if world.api.count("persistentvolumes") == 0 {
            select(&world, "data", "node-2");
            world.api.put(made_elsewhere(&claim));
        }
        sleep(900 * SECOND).await;
    });
    let scenario = scenario.prepare(|world| drop(world.api.put(late()))).check(|world| {
        let (places, left, written) = (places(world), made(world), intents(world));
        let own = places.iter().filter(|place| **place == "node-1").count();
        if places.len() == 1 && left == own && written.is_empty() {
            return Ok(());
        }
        Err(format!("{places:?}, {left} volumes here, written down: {written:?}"))
    });
    let report = crash::everywhere(&scenario);
    assert!(report.steps.iter().any(|step| step.is_rpc("DeleteVolume")), "{:?}", report.steps);
}

/// A node of this zone; everywhere without.
fn in_zone(node: &str, zone: Option<&str>) -> Config {
    let mut config = config(node);
    config.topology = zone.is_some();
    let segments = zone.map(|zone| ("zone".to_owned(), zone.to_owned()));
    if let Some(settings) = &mut config.node {
        settings.segments = segments.into_iter().collect();
    }
    config
}

/// The nodes have one driver. The claim is given to the second while the first one's volume is being made. Gives how often
/// the volume was deleted, and how many objects there are.
async fn one_driver(zones: [Option<&'static str>; 2], is_known: bool, both: bool) -> (usize, usize) {
    let world = World::default();
    world.api.put(late());
    let [first, second] = ["node-1", "node-2"].map(|name| world.other(name));
    for (name, zone) in ["node-1", "node-2"].into_iter().zip(zones).filter(|_| is_known) {
        let labels = zone.map_or(json!({}), |zone| json!({"zone": zone}));
        world.api.put(sim::objects::node(name, labels));
    }
    world.api.put(selected("data", "node-1"));
    let _binder = world.binder();
    world.driver.script("CreateVolume", [Reply::LostReply]);
    let _first = ON_NODE.run(&first, move |usual| *usual = in_zone("node-1", zones[0]));
    sleep(Duration::from_millis(500)).await;
    assert_eq!(made(&world), 1);
    select(&world, "data", "node-2");
    let run = || ON_NODE.run(&second, move |usual| *usual = in_zone("node-2", zones[1]));
    let _second = both.then(run);
    sleep(600 * SECOND).await;
    let deleted = calls(&world).iter().filter(|call| call.starts_with("DeleteVolume")).count();
    assert_eq!(intents(&world), Vec::<String>::new());
    (deleted, world.api.count("persistentvolumes"))
}

#[tokio::test(start_paused = true)]
async fn volume_that_the_other_node_reaches_is_stored() {
    for zone in [Some("z1"), None] {
        for (is_known, both) in [(true, false), (true, true), (false, false)] {
            let (deleted, stored) = one_driver([zone; 2], is_known, both).await;
            assert_eq!((deleted, stored), (0, 1), "{zone:?} {is_known} {both}");
        }
    }
    let (deleted, stored) = one_driver([Some("z1"), Some("z2")], true, false).await;
    assert_eq!((deleted, stored), (1, 0), "another zone");
}

//! Where volumes are made (docs/upstream/provisioner.md, "Topology").

mod crashes;
mod placed;
mod reschedule;
mod retries;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csi::v1::{CreateVolumeRequest, Topology};
use provisioner::Config;
use serde_json::{Value, json};
use sim::objects::{DRIVER, class, csi_node_with, node, with};
use sim::{Sidecar, World};

use crate::harness::{PROVISIONER, config, waiting};

pub(crate) const SELECTED: &str = "volume.kubernetes.io/selected-node";

/// The provisioner of a driver with topology.
pub(crate) static PLACED: Sidecar<Config> = Sidecar { config: placed, world: three_zones, ..PROVISIONER };

pub(crate) fn placed() -> Config {
    let mut config = config();
    config.can.topology = true;
    config
}

/// Node `name` of a zone, where the driver has registered `keys`.
pub(crate) fn put_node(world: &World, name: &str, zone: &str, keys: &[&str]) {
    world.api.put(node(name, json!({"zone": zone, "host": name, "other": "label"})));
    world.api.put(csi_node_with(name, json!([{"name": DRIVER, "nodeID": name, "topologyKeys": keys}])));
}

/// Nodes node-1 to node-3 in zones z1 to z3.
pub(crate) fn three_zones() -> World {
    let world = World::default();
    for number in 1..=3 {
        put_node(&world, &format!("node-{number}"), &format!("z{number}"), &["zone"]);
    }
    world
}

/// Class `fast` with late binding.
pub(crate) fn late() -> Value {
    with(class(), json!({"volumeBindingMode": "WaitForFirstConsumer"}))
}

/// A claim of class `fast` with this selected node.
pub(crate) fn selected(name: &str, node: &str) -> Value {
    with(waiting(name), json!({"metadata": {"annotations": {SELECTED: node}}}))
}

pub(crate) fn select(world: &World, claim: &str, node: &str) {
    world.api.edit("persistentvolumeclaims", claim, |claim| {
        claim["metadata"]["annotations"][SELECTED] = json!(node);
    });
}

/// The node that the claim has selected.
pub(crate) fn selection(world: &World, claim: &str) -> Option<String> {
    let claim = world.api.get("persistentvolumeclaims", claim)?;
    Some(claim["metadata"]["annotations"][SELECTED].as_str()?.to_owned())
}

/// Requisite and preferred terms of each CreateVolume, as text.
pub(crate) fn terms(world: &World) -> Vec<String> {
    let text = |topology: &Topology| {
        let pairs: Vec<String> =
            topology.segments.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(",")
    };
    let texts = |all: &[Topology]| all.iter().map(text).collect::<Vec<_>>().join(" ");
    let calls = world.driver.calls_of("CreateVolume");
    let request =
        |call: &sim::Call| call.request::<CreateVolumeRequest>().unwrap().accessibility_requirements.clone();
    calls
        .iter()
        .map(|call| match request(call) {
            Some(wanted) => format!("{} / {}", texts(&wanted.requisite), texts(&wanted.preferred)),
            None => "anywhere".to_owned(),
        })
        .collect()
}

/// What is free in a zone.
pub(crate) fn set_room(world: &World, zone: &str, bytes: i64) {
    let segments = BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
    world.driver.change_model(|model| {
        model.room.insert(segments, bytes);
    });
}

/// The part of kube-scheduler that a provisioner lives with: chooses a node for each late-binding claim that has none, one
/// after the other for the same claim.
pub(crate) struct Scheduler {
    task: tokio::task::JoinHandle<()>,
    chosen: Arc<Mutex<Vec<String>>>,
}

impl Scheduler {
    pub(crate) fn start(world: &World, nodes: &'static [&'static str]) -> Self {
        let (api, chosen) = (world.api.clone(), Arc::<Mutex<Vec<String>>>::default());
        let told = chosen.clone();
        let task = tokio::spawn(async move {
            let mut changes = api.changes();
            let mut tries = BTreeMap::<String, usize>::new();
            loop {
                changes.borrow_and_update();
                for claim in api.list("persistentvolumeclaims") {
                    let unbound = claim["spec"]["volumeName"].as_str().unwrap_or_default().is_empty();
                    let gone = claim["metadata"]["deletionTimestamp"].is_string();
                    if !unbound || gone || claim["metadata"]["annotations"][SELECTED].is_string() {
                        continue;
                    }
                    let name = claim["metadata"]["name"].as_str().unwrap();
                    let turn = tries.entry(name.to_owned()).or_default();
                    let node = nodes[*turn % nodes.len()];
                    *turn += 1;
                    told.lock().unwrap().push(node.to_owned());
                    api.edit_if_there("persistentvolumeclaims", name, |claim| {
                        if claim["metadata"]["annotations"].is_null() {
                            claim["metadata"]["annotations"] = json!({});
                        }
                        claim["metadata"]["annotations"][SELECTED] = json!(node);
                    });
                }
                if changes.changed().await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { task, chosen }
    }

    /// The nodes in the order in which they were chosen.
    pub(crate) fn chosen(&self) -> Vec<String> {
        self.chosen.lock().unwrap().clone()
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

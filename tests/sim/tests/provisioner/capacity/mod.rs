//! CSIStorageCapacity objects (docs/upstream/provisioner.md, "Capacity").

mod crashes;
mod objects;
mod refresh;

use std::time::Duration;

use csi::v1::controller_service_capability::rpc::Type as Rpc;
use kubernetes::object::Keep;
use provisioner::{CapacitySettings, Config};
use serde_json::{Value, json};
use sim::{Request, Settings, Sidecar, World};

use crate::harness::PROVISIONER;
use crate::topology::{placed, put_node};

/// The provisioner of a driver with topology, which publishes capacities.
pub(crate) static PUBLISHING: Sidecar<Config> = Sidecar {
    keep: provisioner::KEEP.and(Keep::PLACE),
    config: publishing,
    world: two_zones,
    calls: asked,
    writes: changes,
    ..PROVISIONER
};

const POLL: Duration = Duration::from_secs(60);

pub(crate) fn publishing() -> Config {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs-uid", "controller": true});
    let capacity = CapacitySettings {
        namespace: "csi".into(),
        managed_by: "external-provisioner".into(),
        owner: serde_json::from_value(owner).unwrap(),
        workers: 1,
        poll: POLL,
        immediate: false,
    };
    Config { capacity: Some(capacity), ..placed() }
}

/// A driver that tells its capacity.
pub(crate) fn telling() -> World {
    let mut settings = Settings::default();
    settings.controller.push(Rpc::GetCapacity);
    let world = World::new(settings);
    world.api.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "csi"}}));
    world
}

/// Nodes in zones z1 and z2.
fn two_zones() -> World {
    let world = telling();
    put_node(&world, "node-1", "z1", &["zone"]);
    put_node(&world, "node-2", "z2", &["zone"]);
    world
}

/// The places and parameters that GetCapacity was asked for.
fn asked(world: &World) -> Vec<String> {
    let text = |call: &sim::Call| {
        let request = call.request::<csi::v1::GetCapacityRequest>().unwrap();
        assert!(request.volume_capabilities.is_empty());
        let place = request.accessible_topology.as_ref().unwrap();
        let pairs = place.segments.iter().chain(&request.parameters);
        pairs.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    world.driver.calls_of("GetCapacity").iter().map(text).collect()
}

fn is_change(request: &&Request) -> bool {
    request.who == "sidecar" && request.is_write() && request.resource == "csistoragecapacities"
}

/// What was written to capacities.
fn changes(world: &World) -> Vec<String> {
    let requests = world.api.requests();
    let texts =
        requests.iter().filter(is_change).map(|request| format!("{} {}", request.verb, request.status));
    texts.collect()
}

/// All capacities in words: class, labels of the segment, size, maximum.
pub(crate) fn published(world: &World) -> Vec<String> {
    let text = |object: &Value| {
        let size = |field: &str| object[field].as_str().unwrap_or("-").to_owned();
        let labels = object["nodeTopology"]["matchLabels"].as_object().cloned().unwrap_or_default();
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect();
        let class = object["storageClassName"].as_str().unwrap();
        format!("{class} [{}] {} {}", labels.join(","), size("capacity"), size("maximumVolumeSize"))
    };
    let mut texts: Vec<String> = world.api.list("csistoragecapacities").iter().map(text).collect();
    texts.sort();
    texts
}

/// Class `name` with late binding and a parameter that says its name.
fn class_called(name: &str) -> Value {
    let change = json!({"metadata": {"name": name}, "parameters": {"kind": name}});
    sim::objects::with(crate::topology::late(), change)
}

/// An object as we or somebody else made it.
fn capacity(name: &str, class: &str, zone: &str, size: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity",
        "metadata": {
            "name": name, "namespace": "csi",
            "labels": {
                "csi.storage.k8s.io/drivername": "driver.example",
                "csi.storage.k8s.io/managed-by": "external-provisioner",
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs-uid", "controller": true,
            }],
        },
        "storageClassName": class, "nodeTopology": {"matchLabels": {"zone": zone}}, "capacity": size,
    })
}

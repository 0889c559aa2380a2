//! csi-resizer in the simulated world.

use std::time::Duration;

use base::leadership::Leadership;
use base::queue::Backoff;
use csi::v1::controller_service_capability::rpc::Type;
use csi::v1::{ControllerExpandVolumeRequest, ControllerModifyVolumeRequest};
use resizer::{Capabilities, Config, Expansion};
use serde_json::{Value, json};
pub(crate) use sim::objects::{DRIVER, bound, with};
use sim::{Request, Settings, Sidecar, Volume, World};
use tokio_util::sync::CancellationToken;
use translation::Plugins;

/// Long enough for everything that is tried again at least once.
pub(crate) const LIMIT: Duration = Duration::from_secs(900);
const GI: i64 = 1 << 30;

/// The call that a claim for 2 Gi leads to.
pub(crate) const EXPANDED: &str = "expand id-of-pv to 2Gi Ok";
/// The first write of a growth from 1 Gi to 2 Gi.
pub(crate) const MARKED: &str = "allocated 2Gi state ControllerResizeInProgress +Resizing";
/// Its last write, if the node has nothing to do.
pub(crate) const FINISHED: &str = "state null capacity 2Gi node done true -Resizing";

pub(crate) fn config() -> Config {
    Config {
        driver: DRIVER.into(),
        expand_timeout: Duration::from_secs(10),
        modify_timeout: Duration::from_secs(10),
        backoff: Backoff { base: Duration::from_secs(1), max: Duration::from_secs(300) },
        workers: 10,
        resync: Duration::from_secs(600),
        looks_at_pods: true,
        extra_modify_metadata: false,
        annotate: true,
        plugins: Plugins::default(),
        classes: Some("v1"),
        can: Capabilities {
            expansion: Some(Expansion::Controller),
            modify: true,
            single_node_multi_writer: false,
        },
    }
}

/// The resizer as the cases run it.
pub(crate) static RESIZER: Sidecar<Config> = Sidecar {
    keep: resizer::KEEP,
    config,
    driver: |config| &config.driver,
    duty: resizer::resize,
    world: || world_with(&["pv"]),
    calls,
    writes,
};

/// One life of the resizer, always leading.
pub(crate) async fn sidecar(world: World) {
    RESIZER.live(world, config(), Leadership::always(), CancellationToken::new()).await;
}

/// How the driver presents itself: it expands and modifies, and the node has nothing to do.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.controller.extend([Type::ExpandVolume, Type::ModifyVolume]);
    settings
}

/// A world whose driver has volumes of these names, of 1 Gi each.
pub(crate) fn world_with(volumes: &[&str]) -> World {
    let world = World::new(settings());
    give(&world, volumes);
    world
}

/// Gives the driver volumes of these names, of 1 Gi each.
pub(crate) fn give(world: &World, volumes: &[&str]) {
    world.driver.change_model(|model| {
        for name in volumes {
            let (id, name) = (sim::id_of(name), (*name).to_owned());
            model.volumes.insert(id.clone(), Volume { id, name, capacity: GI, ..Volume::default() });
        }
    });
}

/// Claim `default/data` that requests this size, and its volume `pv` of 1 Gi.
pub(crate) fn asking(size: &str) -> [Value; 2] {
    let [claim, volume] = bound("data", "pv");
    [with(claim, json!({"spec": {"resources": {"requests": {"storage": size}}}})), volume]
}

/// The same, with this in the status of the claim.
pub(crate) fn left(size: &str, status: Value) -> [Value; 2] {
    let [claim, volume] = asking(size);
    [with(claim, json!({"status": status})), volume]
}

/// The user requests this size.
pub(crate) fn request(world: &World, size: &str) {
    world.api.edit("persistentvolumeclaims", "data", |claim| {
        claim["spec"]["resources"]["requests"]["storage"] = json!(size);
    });
}

/// Everything the sidecar asked of the driver, in order: `expand VOLUME to SIZE CODE`, `modify VOLUME PARAMETERS CODE`.
pub(crate) fn calls(world: &World) -> Vec<String> {
    let line = |call: sim::Call| {
        let outcome = call.code.map_or_else(|| "unanswered".to_owned(), |code| format!("{code:?}"));
        if let Some(request) = call.request::<ControllerExpandVolumeRequest>() {
            let range = request.capacity_range.as_ref().expect("a range");
            assert_eq!(range.limit_bytes, 0);
            let size = base::quantity::Quantity::from_bytes(range.required_bytes);
            return format!("expand {} to {size} {outcome}", request.volume_id);
        }
        if let Some(request) = call.request::<ControllerModifyVolumeRequest>() {
            let pairs = request.mutable_parameters.iter().map(|(key, value)| format!("{key}={value}"));
            return format!("modify {} {} {outcome}", request.volume_id, pairs.collect::<Vec<_>>().join(","));
        }
        format!("{} {outcome}", call.method)
    };
    world.driver.calls().into_iter().map(line).collect()
}

/// Everything the sidecar wrote, in order and in words; events too.
pub(crate) fn writes(world: &World) -> Vec<String> {
    let ours =
        |request: &Request| request.who == "sidecar" && request.is_write() && request.resource != "events";
    world.api.requests().iter().filter(|request| ours(request)).map(in_words).collect()
}

/// One write in words; a status other than 200 in brackets.
fn in_words(request: &Request) -> String {
    let body = &request.body;
    assert_eq!(request.verb, "patch", "{request:?}");
    assert_eq!(body.pointer("/metadata/resourceVersion"), None, "nothing can end in a conflict");
    let mut words: Vec<String> = Vec::new();
    let mut say = |pointer: &str, what: &str| {
        if let Some(value) = body.pointer(pointer) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            words.push(format!("{what} {text}"));
        }
    };
    match request.resource.as_str() {
        "persistentvolumes" => {
            say("/spec/capacity/storage", "volume");
            say("/spec/volumeAttributesClassName", "volume of class");
            say("/metadata/annotations/volume.alpha.kubernetes.io~1pre-resize-capacity", "before");
        }
        _ => {
            assert_eq!(request.subresource, "status", "only the status of a claim is written");
            say("/status/allocatedResources/storage", "allocated");
            say("/status/allocatedResourceStatuses/storage", "state");
            say("/status/capacity/storage", "capacity");
            say("/metadata/annotations/volume.kubernetes.io~1node-expansion-not-required", "node done");
            say("/status/currentVolumeAttributesClassName", "class");
            let last = body.pointer("/status/modifyVolumeStatus");
            say(
                if last == Some(&Value::Null) {
                    "/status/modifyVolumeStatus"
                } else {
                    "/status/modifyVolumeStatus/status"
                },
                "modify",
            );
            say("/status/modifyVolumeStatus/targetVolumeAttributesClassName", "to");
            for condition in
                body.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
            {
                let sign = if condition.get("$patch").is_some() { '-' } else { '+' };
                words.push(format!("{sign}{}", condition["type"].as_str().unwrap_or_default()));
            }
        }
    }
    if request.status != 200 {
        words.push(format!("({})", request.status));
    }
    words.join(" ")
}

/// The events about claims, in order: reason, and how often it was told.
pub(crate) fn events(world: &World) -> Vec<String> {
    let mut events: Vec<(u64, String)> = Vec::new();
    for event in world.api.list("events") {
        let version = event["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
        assert_eq!(event["involvedObject"]["kind"], "PersistentVolumeClaim");
        let count = event["count"].as_u64().unwrap_or(1);
        let times = if count > 1 { format!(" x{count}") } else { String::new() };
        events
            .push((version.unwrap_or(0), format!("{}{times}", event["reason"].as_str().unwrap_or_default())));
    }
    events.sort();
    events.into_iter().map(|(_, text)| text).collect()
}

/// The messages of the events with this reason.
pub(crate) fn messages(world: &World, reason: &str) -> Vec<String> {
    let events = world.api.list("events").into_iter().filter(|event| event["reason"] == reason);
    events.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
}

/// The claim `data`; null when it is gone.
pub(crate) fn claim(world: &World) -> Value {
    world.api.get("persistentvolumeclaims", "data").unwrap_or_default()
}

/// The volume `pv`; null when it is gone.
pub(crate) fn volume(world: &World) -> Value {
    world.api.get("persistentvolumes", "pv").unwrap_or_default()
}

/// The types of the claim's conditions, in order of the alphabet.
pub(crate) fn conditions(world: &World) -> Vec<String> {
    let claim = claim(world);
    let all = claim["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let mut types: Vec<String> =
        all.iter().map(|one| one["type"].as_str().unwrap_or_default().to_owned()).collect();
    types.sort();
    types
}

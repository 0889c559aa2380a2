//! csi-attacher in the simulated world.

use std::time::Duration;

use attacher::{Capabilities, Config, finalizer};
use base::leadership::Leadership;
use base::queue::Backoff;
use csi::v1::controller_service_capability::rpc::Type;
use csi::v1::{ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest};
use serde_json::Value;
use sim::{Request, Settings, Sidecar, Volume, World};
use tokio_util::sync::CancellationToken;
use translation::Plugins;

pub(crate) type Case = sim::Case<Config>;

/// Long enough for anything that would come to have come.
pub(crate) const QUIET: Duration = Case::QUIET;
/// Long enough for everything that is tried again at least once.
pub(crate) const LIMIT: Duration = Duration::from_secs(900);

pub(crate) fn config() -> Config {
    use crate::objects::DRIVER;
    Config {
        driver: DRIVER.into(),
        finalizer: finalizer(DRIVER).into(),
        timeout: Duration::from_secs(15),
        backoff: Backoff { base: Duration::from_secs(1), max: Duration::from_secs(300) },
        workers: 10,
        resync: Duration::from_secs(600),
        reconcile_sync: Duration::from_secs(60),
        max_entries: 0,
        default_fs: "".into(),
        error_code: true,
        plugins: Plugins::default(),
        can: Capabilities { attach: true, read_only: true, ..Capabilities::default() },
    }
}

/// The attacher as the cases run it.
pub(crate) static ATTACHER: Sidecar<Config> = Sidecar {
    keep: attacher::KEEP,
    config,
    driver: |config| &config.driver,
    duty: attacher::attach,
    world: || world_with(&["pv1", "pv2", "inline"]),
    calls,
    writes,
};

/// One life of the attacher, always leading.
pub(crate) async fn sidecar(world: World) {
    ATTACHER.live(world, config(), Leadership::always(), CancellationToken::new()).await;
}

/// A world whose driver has volumes of these names, and publishes and lists them.
pub(crate) fn world_with(volumes: &[&str]) -> World {
    let more = [Type::PublishReadonly, Type::ListVolumes, Type::ListVolumesPublishedNodes];
    let mut settings = Settings::default();
    settings.controller.extend(more);
    let world = World::new(settings);
    give(&world, volumes);
    world
}

/// Gives the driver volumes of these names.
pub(crate) fn give(world: &World, volumes: &[&str]) {
    world.driver.change_model(|model| {
        for name in volumes {
            let volume = Volume { id: sim::id_of(name), name: (*name).to_owned(), ..Volume::default() };
            model.volumes.insert(volume.id.clone(), volume);
        }
    });
}

/// Everything the sidecar asked of the driver, in order: `publish VOLUME NODE CODE`.
pub(crate) fn calls(world: &World) -> Vec<String> {
    let line = |call: sim::Call| {
        let outcome = call.code.map_or_else(|| "unanswered".to_owned(), |code| format!("{code:?}"));
        let (what, volume, node) = if let Some(request) = call.request::<ControllerPublishVolumeRequest>() {
            ("publish", &request.volume_id, &request.node_id)
        } else if let Some(request) = call.request::<ControllerUnpublishVolumeRequest>() {
            ("unpublish", &request.volume_id, &request.node_id)
        } else {
            return format!("{} {outcome}", call.method);
        };
        format!("{what} {volume} {node} {outcome}")
    };
    world.driver.calls().into_iter().map(line).collect()
}

/// Everything the sidecar wrote, in order and in words.
pub(crate) fn writes(world: &World) -> Vec<String> {
    let ours = |request: &Request| request.who == "sidecar" && request.is_write();
    world.api.requests().iter().filter(|request| ours(request)).map(in_words).collect()
}

/// One write in words; a status other than 200 in brackets.
fn in_words(request: &Request) -> String {
    let body = &request.body;
    let at = |pointer: &str| body.pointer(pointer);
    let text = |pointer: &str| at(pointer).and_then(Value::as_str).unwrap_or_default();
    let what = if request.verb != "patch" {
        format!("{} {}", request.verb, request.resource)
    } else if request.resource == "persistentvolumes" {
        match (at("/metadata/finalizers"), at("/metadata/$deleteFromPrimitiveList~1finalizers")) {
            (Some(_), None) => format!("protect {}", request.name),
            (None, Some(_)) => format!("release {}", request.name),
            _ => format!("patch {} {body}", request.name),
        }
    } else if request.subresource == "status" {
        match (
            at("/status/attached").and_then(Value::as_bool),
            at("/status/attachError"),
            at("/status/detachError"),
        ) {
            (Some(true), ..) => "attached".to_owned(),
            (Some(false), ..) => "detached".to_owned(),
            (None, Some(_), None) => format!("attach error: {}", text("/status/attachError/message")),
            (None, None, Some(_)) => format!("detach error: {}", text("/status/detachError/message")),
            _ => format!("patch status {body}"),
        }
    } else {
        match (at("/metadata/finalizers"), at("/metadata/$deleteFromPrimitiveList~1finalizers")) {
            (Some(_), None) => "save".to_owned(),
            (None, Some(_)) => "unbind".to_owned(),
            _ => format!("patch {body}"),
        }
    };
    if request.status == 200 { what } else { format!("{what} ({})", request.status) }
}

/// How long after `before` the calls came, in whole seconds.
pub(crate) fn seconds(world: &World, before: tokio::time::Instant) -> Vec<u64> {
    world.driver.calls().iter().map(|call| call.at.duration_since(before).as_secs()).collect()
}

/// The object `name` of `plural`; null when it is gone.
pub(crate) fn object(world: &World, plural: &str, name: &str) -> Value {
    world.api.get(plural, name).unwrap_or_default()
}

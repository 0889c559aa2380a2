//! Replies given to our sidecars in the simulated world: nothing panics, and nothing is stored that makes no sense.

use std::time::Duration;

use attacher::attach;
use base::leadership::Leadership;
use base::queue::Backoff;
use csi::v1::{
    ControllerExpandVolumeResponse, ControllerPublishVolumeResponse, CreateVolumeResponse,
    ListVolumesResponse, controller_service_capability,
};
use prost::Message;
use provisioner::provision;
use serde_json::json;
use sim::objects::{DRIVER, attachment, bound, claim, class, csi_node, volume, with};
use sim::{Reply, Running, Settings, Volume, World, id_of};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff { base: SECOND, max: Duration::from_secs(300) };

/// A letter that says which reply it is, and its bytes, which the driver answers each such call with.
///
/// # Panics
/// When the sidecar panics, stores a volume without a handle, or lets a size shrink.
#[allow(clippy::expect_used, reason = "without a runtime there is no test")]
pub fn csi_replies_used(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    match kind {
        0 => given::<CreateVolumeResponse>(bytes, |reply| runtime.block_on(creating(reply))),
        1 => given::<ControllerPublishVolumeResponse>(bytes, |reply| {
            runtime.block_on(attaching(publishing(reply)))
        }),
        2 => given::<ListVolumesResponse>(bytes, |reply| runtime.block_on(attaching(listing(reply)))),
        4 => given::<ControllerExpandVolumeResponse>(bytes, |reply| runtime.block_on(growing(reply))),
        _ => {}
    }
}

/// The reply that the bytes are, if they are one.
fn given<M: Message + Default + Clone + 'static>(bytes: &[u8], use_it: impl FnOnce(Reply)) {
    if let Ok(message) = M::decode(bytes) {
        use_it(Reply::edit(move |reply: &mut M| reply.clone_from(&message)));
    }
}

/// A claim's life with this answer to CreateVolume.
async fn creating(reply: Reply) {
    let world = World::default();
    world.driver.always("CreateVolume", reply);
    let _binder = world.binder();
    let running = world.run(SECOND, |world| async move {
        let duty =
            |seat, caches: &mut _| provision(seat, caches, provisioner_config()).expect("one provisioner");
        let (leads, stop) = (Leadership::always(), CancellationToken::new());
        world.sidecar((DRIVER, provisioner::KEEP), leads, stop, duty).await;
    });
    world.api.put(class());
    world.api.put(claim("data"));
    sleep(5 * SECOND).await;
    for object in world.api.list("persistentvolumes") {
        let handle = object.pointer("/spec/csi/volumeHandle").and_then(|handle| handle.as_str());
        assert!(handle.is_some_and(|handle| !handle.is_empty()), "no handle: {object}");
    }
    world.api.delete("persistentvolumeclaims", "data");
    sleep(5 * SECOND).await;
    assert_eq!(running.panics(), Vec::<String>::new());
}

/// A world whose driver publishes so.
fn publishing(reply: Reply) -> World {
    let world = World::default();
    world.driver.always("ControllerPublishVolume", reply);
    world
}

/// A world whose driver lists so.
fn listing(reply: Reply) -> World {
    use controller_service_capability::rpc::Type;
    let mut settings = Settings::default();
    settings.controller.extend([Type::ListVolumes, Type::ListVolumesPublishedNodes]);
    let world = World::new(settings);
    world.driver.always("ListVolumes", reply);
    world
}

/// An attachment's life.
async fn attaching(world: World) {
    world.driver.change_model(|model| {
        let volume = Volume { id: id_of("pv1"), name: "pv1".to_owned(), ..Volume::default() };
        model.volumes.insert(volume.id.clone(), volume);
    });
    [volume("pv1"), csi_node("node1"), attachment("va1", "pv1", "node1")]
        .into_iter()
        .for_each(|object| drop(world.api.put(object)));
    let running: Running = world.run(SECOND, |world| async move {
        let duty = |seat, caches: &mut _| attach(seat, caches, attacher_config());
        let (leads, stop) = (Leadership::always(), CancellationToken::new());
        world.sidecar((DRIVER, attacher::KEEP), leads, stop, duty).await;
    });
    sleep(15 * SECOND).await;
    world.api.delete("volumeattachments", "va1");
    sleep(15 * SECOND).await;
    assert_eq!(running.panics(), Vec::<String>::new());
}

/// A claim that grows, with this answer to ControllerExpandVolume.
async fn growing(reply: Reply) {
    let mut settings = Settings::default();
    settings.controller.push(controller_service_capability::rpc::Type::ExpandVolume);
    let world = World::new(settings);
    world.driver.change_model(|model| {
        let volume =
            Volume { id: id_of("pv"), name: "pv".to_owned(), capacity: 1 << 30, ..Volume::default() };
        model.volumes.insert(volume.id.clone(), volume);
    });
    world.driver.always("ControllerExpandVolume", reply);
    let [claim, volume] = bound("data", "pv");
    world.api.put(with(claim, json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}})));
    world.api.put(volume);
    let running: Running = world.run(SECOND, |world| async move {
        let duty = |seat, caches: &mut _| resizer::resize(seat, caches, resizer_config());
        let (leads, stop) = (Leadership::always(), CancellationToken::new());
        world.sidecar((DRIVER, resizer::KEEP), leads, stop, duty).await;
    });
    sleep(15 * SECOND).await;
    let claim = world.api.get("persistentvolumeclaims", "data").unwrap_or_default();
    let volume = world.api.get("persistentvolumes", "pv").unwrap_or_default();
    let size = |object: &serde_json::Value, pointer: &str| {
        let text = object.pointer(pointer).and_then(|size| size.as_str()).unwrap_or_default();
        base::quantity::Quantity::parse(text).ok()
    };
    let before = base::quantity::Quantity::parse("1Gi").ok();
    assert!(size(&claim, "/status/capacity/storage") >= before, "the claim shrank: {claim}");
    assert!(size(&volume, "/spec/capacity/storage") >= before, "the volume shrank: {volume}");
    assert_eq!(running.panics(), Vec::<String>::new());
}

fn resizer_config() -> resizer::Config {
    resizer::Config {
        driver: DRIVER.into(),
        expand_timeout: 10 * SECOND,
        modify_timeout: 10 * SECOND,
        backoff: BACKOFF,
        workers: 2,
        resync: 600 * SECOND,
        looks_at_pods: true,
        extra_modify_metadata: false,
        annotate: true,
        plugins: translation::Plugins::default(),
        classes: None,
        can: resizer::Capabilities {
            expansion: Some(resizer::Expansion::Controller),
            ..resizer::Capabilities::default()
        },
    }
}

fn provisioner_config() -> provisioner::Config {
    provisioner::Config {
        driver: DRIVER.into(),
        identity: "test".into(),
        timeout: 10 * SECOND,
        backoff: BACKOFF,
        workers: 2,
        prefix: "pvc".into(),
        uuid_length: None,
        default_fs: "ext4".into(),
        extra_metadata: true,
        publish_read_only: false,
        prevent_mode_conversion: true,
        snapshot_sweep: Some(Duration::from_secs(300)),
        cross_namespace: false,
        clone_workers: 1,
        topology: true,
        strict_topology: false,
        immediate_topology: true,
        attributes_classes: Some(kubernetes::object::AttributesVersion::V1),
        node: None,
        capacity: None,
        plugins: translation::Plugins::default(),
        intents: None,
        can: provisioner::Capabilities { controller: true, create_delete: true, ..Default::default() },
    }
}

fn attacher_config() -> attacher::Config {
    attacher::Config {
        driver: DRIVER.into(),
        finalizer: attacher::finalizer(DRIVER).into(),
        timeout: 10 * SECOND,
        backoff: BACKOFF,
        workers: 2,
        resync: 600 * SECOND,
        reconcile_sync: 5 * SECOND,
        max_entries: 0,
        default_fs: "".into(),
        error_code: true,
        plugins: translation::Plugins::default(),
        can: attacher::Capabilities { attach: true, lists_nodes: true, ..Default::default() },
    }
}

//! csi-provisioner in the simulated world.

use std::time::Duration;

use base::leadership::Leadership;
use base::queue::Backoff;
use kubernetes::object::AttributesVersion;
use process::{Caches, Duty, Seat};
use provisioner::{Capabilities, Config, Place, provision};
use serde_json::{Value, json};
pub(crate) use sim::objects::{DRIVER, claim, class};
use sim::{Request, Sidecar, World};
use tokio_util::sync::CancellationToken;
use translation::Plugins;

/// Long enough for everything that is tried again at least once.
pub(crate) const LIMIT: Duration = Duration::from_secs(900);
/// What the Leases of intents are called.
pub(crate) const INTENTS: &str = "mooring-intents-driver-example";
pub(crate) const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

pub(crate) fn config() -> Config {
    Config {
        driver: DRIVER.into(),
        identity: "test-provisioner".into(),
        timeout: Duration::from_secs(10),
        backoff: Backoff { base: Duration::from_secs(1), max: Duration::from_secs(300) },
        workers: 10,
        clone_workers: 1,
        prefix: "pvc".into(),
        uuid_length: None,
        default_fs: "ext4".into(),
        extra_metadata: false,
        publish_read_only: false,
        prevent_mode_conversion: true,
        snapshot_sweep: Some(Duration::from_secs(300)),
        cross_namespace: false,
        topology: true,
        strict_topology: false,
        immediate_topology: true,
        attributes_classes: Some(AttributesVersion::V1),
        node: None,
        capacity: None,
        plugins: Plugins::default(),
        intents: None,
        can: Capabilities { controller: true, create_delete: true, publish: true, ..Capabilities::default() },
    }
}

/// The provisioner as the cases run it.
pub(crate) static PROVISIONER: Sidecar<Config> = Sidecar {
    keep: provisioner::KEEP,
    config,
    driver: |config| &config.driver,
    duty,
    world: World::default,
    calls,
    writes,
};

#[allow(clippy::expect_used, reason = "the only provisioner on its host")]
fn duty(seat: Seat, caches: &mut Caches, config: Config) -> Duty {
    provision(seat, caches, config).expect("one provisioner")
}

/// The sidecar's life in `world`, without leader election.
pub(crate) async fn sidecar(world: World) {
    sidecar_with(world, config(), Leadership::always(), CancellationToken::new()).await;
}

/// The same, with requests written down before they are sent, as the flags have it by default.
pub(crate) async fn remembering(world: World) {
    sidecar_with(world, with_intents(), Leadership::always(), CancellationToken::new()).await;
}

pub(crate) fn with_intents() -> Config {
    Config { intents: Some(Place::new("default".into(), DRIVER, None)), ..config() }
}

/// What is written down at present: the annotations of all Leases.
pub(crate) fn intents(world: &World) -> Vec<String> {
    let annotations =
        |lease: &Value| lease.pointer("/metadata/annotations").and_then(Value::as_object).cloned();
    let names = world.api.list("leases").into_iter().filter_map(|lease| annotations(&lease)).flatten();
    names.map(|(name, _)| name).filter(|name| name.starts_with("intent.mooring.dev/")).collect()
}

/// Makes a Lease of this name with the annotations of the Lease `from`, which goes: as a backup does.
#[allow(clippy::unwrap_used, reason = "the test has just seen it")]
pub(crate) fn copy_lease(world: &World, from: &str, to: &str) {
    let lease = world.api.get("leases", from).unwrap();
    world.api.delete("leases", from);
    let metadata =
        json!({"name": to, "namespace": "default", "annotations": lease["metadata"]["annotations"]});
    world.api.put(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}));
}

/// The same, as if its requests had been written down there.
pub(crate) fn move_lease(world: &World, from: &str, to: &str) {
    copy_lease(world, from, to);
    world.api.edit("leases", to, |lease| {
        let uid = lease["metadata"]["uid"].clone();
        lease["metadata"]["annotations"]["mooring.dev/lease-uid"] = uid;
    });
}

/// The same with everything that a test may want to hold.
pub(crate) async fn sidecar_with(
    world: World,
    config: Config,
    leadership: Leadership,
    stop: CancellationToken,
) {
    PROVISIONER.live(world, config, leadership, stop).await;
}

/// A claim that the controller-manager has handed to us.
pub(crate) fn waiting(name: &str) -> Value {
    let mut claim = claim(name);
    claim["metadata"]["annotations"] = json!({"volume.kubernetes.io/storage-provisioner": DRIVER});
    claim
}

/// A volume of a claim that is gone.
pub(crate) fn released(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": name, "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER}, "finalizers": [FINALIZER],
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "fast",
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {"namespace": "default", "name": "gone", "uid": "gone"},
            "csi": {"driver": DRIVER, "volumeHandle": "handle"},
        },
        "status": {"phase": "Released"},
    })
}

/// What is logged while `story` runs, the sidecar's lines included.
#[allow(clippy::unwrap_used, reason = "without a runtime there is no test")]
pub(crate) fn logged(story: impl Future<Output = ()>) -> String {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    base::log::capture(|| runtime.block_on(story))
}

pub(crate) async fn bound(world: &World, name: &str) {
    let name = name.to_owned();
    let what = format!("{name} to be bound");
    world
        .api
        .until(&what, LIMIT, move |api| {
            let claim = api.get("persistentvolumeclaims", &name)?;
            (claim.pointer("/status/phase")? == "Bound").then_some(())
        })
        .await;
}

pub(crate) async fn no_volumes(world: &World) {
    world
        .api
        .until("the volumes to go", LIMIT, |api| (api.count("persistentvolumes") == 0).then_some(()))
        .await;
}

/// What the sidecar wrote, as `verb resource status`, events left out.
pub(crate) fn writes(world: &World) -> Vec<String> {
    let ours =
        |request: &Request| request.who == "sidecar" && request.is_write() && request.resource != "events";
    let reviews = |request: &Request| request.resource.starts_with("selfsubject");
    let requests = world.api.requests();
    let kept = requests.iter().filter(|request| ours(request) && !reviews(request));
    kept.map(|request| format!("{} {} {}", request.verb, request.resource, request.status)).collect()
}

/// The events written, as `reason: message`.
pub(crate) fn events(world: &World) -> Vec<String> {
    let text =
        |event: &Value, key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    world
        .api
        .list("events")
        .iter()
        .map(|event| format!("{}: {}", text(event, "reason"), text(event, "message")))
        .collect()
}

/// The RPCs that change something, in order, with their outcome.
pub(crate) fn calls(world: &World) -> Vec<String> {
    let calls = world.driver.calls();
    let changing = calls.iter().filter(|call| call.method == "CreateVolume" || call.method == "DeleteVolume");
    changing.map(|call| format!("{} {:?}", call.method, call.code)).collect()
}

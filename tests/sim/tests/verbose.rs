//! What a log at level 5 shows of Secrets: nothing. A program of its own, because the level is the process's.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use base::leadership::Leadership;
use base::log::LogOptions;
use base::queue::Backoff;
use serde_json::json;
use sim::{Reply, World};
use tokio_util::sync::CancellationToken;
use tonic::Code;

const DRIVER: &str = "driver.example";

fn config() -> provisioner::Config {
    provisioner::Config {
        driver: DRIVER.into(),
        identity: "test-provisioner".into(),
        timeout: Duration::from_secs(10),
        backoff: Backoff { base: Duration::from_secs(1), max: Duration::from_secs(300) },
        workers: 10,
        prefix: "pvc".into(),
        uuid_length: None,
        default_fs: "ext4".into(),
        extra_metadata: false,
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

async fn sidecar(world: World) {
    let duty = |seat, caches: &mut _| provisioner::provision(seat, caches, config()).unwrap();
    let (leads, stop) = (Leadership::always(), CancellationToken::new());
    world.sidecar((DRIVER, provisioner::KEEP), leads, stop, duty).await;
}

/// A claim's life with a Secret, and with failures of both calls that need it.
async fn life() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
        "provisioner": DRIVER, "reclaimPolicy": "Delete",
        "parameters": {"csi.storage.k8s.io/secret-name": "key", "csi.storage.k8s.io/secret-namespace": "default"},
    }));
    world.api.put(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": "default"},
        "data": {"token": "aHVzaGh1c2g="},
    }));
    world.api.put(json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }));
    world.driver.script("CreateVolume", [Reply::LostReply, Reply::error(Code::Internal, "no")]);
    world.driver.script("DeleteVolume", [Reply::error(Code::Internal, "no")]);
    let _running = world.run(Duration::from_secs(1), sidecar);
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.api.delete("persistentvolumeclaims", "data");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.driver.volumes().is_empty());
}

#[test]
fn log_at_level_5_shows_calls_and_no_secret() {
    base::log::init(LogOptions { verbosity: 5, ..LogOptions::default() });
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let log = base::log::capture(|| runtime.block_on(life()));
    for call in ["CreateVolume", "DeleteVolume"] {
        let shown = |line: &&str| {
            line.contains("GRPC call") && line.contains(call) && line.contains("***stripped***")
        };
        assert!(log.lines().any(|line| shown(&line)), "{call}: {log}");
    }
    for secret in ["hushhush", "aHVzaGh1c2g"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

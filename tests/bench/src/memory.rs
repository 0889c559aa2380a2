//! Resident memory of a sidecar, or of all of them in one process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::stand::{Beside, Programs, ROLES, Stand, until_logged};
use crate::usage::{cpu, memory};

/// How long a sidecar is left alone before it is looked at.
const SETTLE: Duration = Duration::from_secs(5);

/// What each sidecar logs when it has read its objects.
const READY: [(&str, &str); 4] = [
    ("csi-provisioner", "\"Provisioning\""),
    ("csi-attacher", "\"Attaching\""),
    ("csi-resizer", "\"Starting external resizer\""),
    ("controller", "\"Starting external resizer\""),
];

/// Whose volumes the sidecars look after.
const OURS: &str = "hostpath.csi.k8s.io";

/// `foreign` pairs of another driver, then `own` beside them.
pub(crate) async fn measure(programs: &Programs, sidecar: &str, foreign: usize, own: usize) -> Result<()> {
    let Some((_, ready)) = READY.into_iter().find(|(name, _)| *name == sidecar) else {
        bail!("--sidecar: there is no {sidecar:?}");
    };
    // The driver's own list would contradict the attachments that we make.
    let driver = ["--enable-attach", "--hidden-capabilities=LIST_VOLUMES_PUBLISHED_NODES"];
    let stand = Stand::up(programs, Beside::Nothing, "csi-sidecar", &ROLES.join("\n---\n"), &driver).await?;
    let look = async |what: &str| look(&stand, (sidecar, ready), what).await;
    look("idle, empty cluster").await?;
    fill(&stand, "other.example.com", foreign).await?;
    look(&format!("{foreign} bound pairs of another driver")).await?;
    fill(&stand, OURS, own).await?;
    look(&format!("and {own} bound pairs of our own beside them")).await?;
    if !matches!(sidecar, "csi-attacher" | "controller") {
        return Ok(());
    }
    stand.nodes(NODES).await?;
    let attach = |number| attached(&stand.client, number);
    futures::stream::iter(0..own).map(attach).buffer_unordered(32).try_collect::<Vec<()>>().await?;
    look(&format!("and these {own} attached to {NODES} nodes")).await
}

/// Nodes that volumes are attached to.
const NODES: usize = 100;

/// Makes the attachment of our own volume of this number the way it looks when it is attached.
async fn attached(client: &kube::Client, number: usize) -> Result<()> {
    let attachments: Api<VolumeAttachment> = Api::all(client.clone());
    let name = format!("csi-{number:064x}");
    let attachment = json!({
        "metadata": {
            "name": name, "finalizers": [finalizer(OURS)],
            "annotations": {"csi.alpha.kubernetes.io/node-id": "node-1"},
        },
        "spec": {
            "attacher": OURS, "nodeName": format!("node-{}", number % NODES),
            "source": {"persistentVolumeName": volume_name(OURS, number)},
        },
    });
    attachments.create(&PostParams::default(), &serde_json::from_value(attachment)?).await?;
    let attached = json!({"status": {"attached": true}});
    attachments.patch_status(&name, &PatchParams::default(), &Patch::Merge(&attached)).await?;
    Ok(())
}

/// Starts the sidecar, lets it settle, and prints what it uses.
async fn look(stand: &Stand, (name, ready): (&str, &str), what: &str) -> Result<()> {
    let begun = Instant::now();
    let log = what.replace([' ', ','], "-");
    let sidecar =
        stand.sidecar_logging_to(&log, name, &["--leader-election", "--leader-election-namespace=bench"])?;
    until_logged(&sidecar, ready).await?;
    let ready = begun.elapsed();
    tokio::time::sleep(SETTLE).await;
    let before = cpu(sidecar.id())?;
    tokio::time::sleep(SETTLE).await;
    let idle = cpu(sidecar.id())?.saturating_sub(before).as_secs_f64() / SETTLE.as_secs_f64() * 60_000.0;
    println!(
        "{name}, {what}: {}; ready after {:.2} s; {idle:.0} ms of CPU a minute",
        memory(sidecar.id())?,
        ready.as_secs_f64()
    );
    Ok(())
}

/// Makes bound pairs the way they look after a binder.
async fn fill(stand: &Stand, driver: &str, pairs: usize) -> Result<()> {
    let client = Arc::new(stand.client.clone());
    let namespace = stand.namespace.clone();
    let make = |number: usize| {
        let (client, namespace, driver) = (client.clone(), namespace.clone(), driver.to_owned());
        async move { pair(&client, &namespace, &driver, number).await }
    };
    futures::stream::iter(0..pairs).map(make).buffer_unordered(32).try_collect::<Vec<()>>().await?;
    Ok(())
}

fn volume_name(driver: &str, number: usize) -> String {
    let prefix = driver.split('.').next().unwrap_or(driver);
    format!("{prefix}-pvc-8d2a5c1e-3f4b-4f6a-9c1d-{number:012}")
}

/// The attacher's finalizer.
fn finalizer(driver: &str) -> String {
    format!("external-attacher/{}", driver.replace('.', "-"))
}

async fn pair(client: &kube::Client, namespace: &str, driver: &str, number: usize) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let prefix = driver.split('.').next().unwrap_or(driver);
    let (claim_name, class) = (format!("{prefix}-data-{number}"), format!("{prefix}-fast"));
    let volume_name = volume_name(driver, number);
    let claim = json!({
        "metadata": {
            "name": claim_name, "labels": {"app": "database", "app.kubernetes.io/instance": claim_name},
            "annotations": {
                "pv.kubernetes.io/bind-completed": "yes",
                "pv.kubernetes.io/bound-by-controller": "yes",
                "volume.beta.kubernetes.io/storage-provisioner": driver,
                "volume.kubernetes.io/storage-provisioner": driver,
            },
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": class, "volumeName": volume_name,
            "resources": {"requests": {"storage": "10Gi"}},
        },
    });
    let claim = claims.create(&PostParams::default(), &serde_json::from_value(claim)?).await?;
    let volume = json!({
        "metadata": {
            "name": volume_name,
            "annotations": {
                "pv.kubernetes.io/provisioned-by": driver,
                "volume.kubernetes.io/provisioner-deletion-secret-name": "",
                "volume.kubernetes.io/provisioner-deletion-secret-namespace": "",
            },
            "finalizers": ["external-provisioner.volume.kubernetes.io/finalizer", finalizer(driver)],
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "10Gi"}, "storageClassName": class,
            "persistentVolumeReclaimPolicy": "Delete", "volumeMode": "Filesystem",
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim_name,
                "uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version,
            },
            "csi": {
                "driver": driver, "volumeHandle": format!("vol-{number:017x}"), "fsType": "ext4",
                "volumeAttributes": {
                    "storage.kubernetes.io/csiProvisionerIdentity": format!("1700000000000-1234-{driver}"),
                    "type": "gp3", "iops": "3000",
                },
            },
        },
    });
    volumes.create(&PostParams::default(), &serde_json::from_value(volume)?).await?;
    let params = PatchParams::default();
    let bound = json!({"status": {"phase": "Bound"}});
    volumes.patch_status(&volume_name, &params, &Patch::Merge(&bound)).await?;
    let bound = json!({"status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "10Gi"}}});
    claims.patch_status(&claim_name, &params, &Patch::Merge(&bound)).await?;
    Ok(())
}

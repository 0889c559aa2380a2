//! A provisioner of forty lines, right or wrong as asked, to show that the harness tells the two apart.

use std::sync::Arc;
use std::time::Duration;

use base::metrics::Metrics;
use csi::CallLog;
use csi::v1::{CreateVolumeRequest, DeleteVolumeRequest, VolumeCapability, volume_capability};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use sim::World;

/// What the toy does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It deletes the PersistentVolume before the volume: a crash between the two loses the volume.
    DeletesObjectFirst,
    /// It gives each attempt a name of its own: a crash after the creation makes a second volume.
    NamesAttempts,
}

const DEADLINE: Duration = Duration::from_secs(5);
const FINALIZER: &str = "toy/finalizer";

/// Looks at everything once a second, for ever.
pub(crate) async fn run(world: World, fault: Fault) {
    let driver = csi::Client::new(world.connection(), Metrics::new(), CallLog::default());
    let driver = Arc::new(driver);
    let client = world.client();
    loop {
        // Whatever failed is tried again with the next look.
        let _ = look(&client, &driver, fault, world.steps.count()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn look(
    client: &kube::Client,
    driver: &csi::Client,
    fault: Fault,
    attempt: usize,
) -> Result<(), Failure> {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    for claim in claims.list(&ListParams::default()).await? {
        let unbound = claim.spec.as_ref().is_none_or(|spec| spec.volume_name.is_none());
        if unbound && claim.metadata.deletion_timestamp.is_none() {
            let uid = claim.metadata.uid.clone().unwrap_or_default();
            let name = if fault == Fault::NamesAttempts {
                format!("pvc-{uid}-{attempt}")
            } else {
                format!("pvc-{uid}")
            };
            provision(&volumes, driver, &claim, &name).await?;
        }
    }
    for volume in volumes.list(&ListParams::default()).await? {
        let phase = volume.status.as_ref().and_then(|status| status.phase.clone());
        if phase.as_deref() == Some("Released") {
            delete(&volumes, driver, &volume, fault).await?;
        }
    }
    Ok(())
}

async fn provision(
    volumes: &Api<PersistentVolume>,
    driver: &csi::Client,
    claim: &PersistentVolumeClaim,
    name: &str,
) -> Result<(), Failure> {
    let request = CreateVolumeRequest {
        name: name.to_owned(),
        volume_capabilities: vec![VolumeCapability {
            access_type: Some(
                volume_capability::AccessType::Mount(volume_capability::MountVolume::default()),
            ),
            ..VolumeCapability::default()
        }],
        ..CreateVolumeRequest::default()
    };
    let volume = driver.call(request, DEADLINE).await?.volume.ok_or("no volume")?;
    let (namespace, claim_name) = (&claim.metadata.namespace, &claim.metadata.name);
    let object: PersistentVolume = serde_json::from_value(json!({
        "metadata": { "name": name, "finalizers": [FINALIZER] },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": { "storage": volume.capacity_bytes.to_string() },
            "persistentVolumeReclaimPolicy": "Delete",
            "csi": { "driver": "driver.example", "volumeHandle": volume.volume_id },
            "claimRef": { "namespace": namespace, "name": claim_name, "uid": claim.metadata.uid },
        },
    }))?;
    match volumes.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(|_| ()).map_err(Failure::from),
    }
}

async fn delete(
    volumes: &Api<PersistentVolume>,
    driver: &csi::Client,
    volume: &PersistentVolume,
    fault: Fault,
) -> Result<(), Failure> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let volume_id = volume
        .spec
        .as_ref()
        .and_then(|spec| Some(spec.csi.as_ref()?.volume_handle.clone()))
        .unwrap_or_default();
    let unprotect = json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": [FINALIZER] } });
    if fault == Fault::DeletesObjectFirst {
        volumes.patch(name, &PatchParams::default(), &Patch::Strategic(&unprotect)).await?;
        volumes.delete(name, &DeleteParams::default()).await?;
    }
    driver.call(DeleteVolumeRequest { volume_id, ..DeleteVolumeRequest::default() }, DEADLINE).await?;
    if fault != Fault::DeletesObjectFirst {
        volumes.delete(name, &DeleteParams::default()).await?;
        volumes.patch(name, &PatchParams::default(), &Patch::Strategic(&unprotect)).await?;
    }
    Ok(())
}

//! Claims made, bound and deleted: time, CPU, API requests.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::PartialObjectMeta;
use serde_json::json;

use crate::stand::{Programs, Stand, until_logged};
use crate::usage::{cpu, memory};

/// A bound on every wait.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) async fn measure(programs: &Programs, count: usize) -> Result<()> {
    let rbac = include_str!("../../../manifests/rbac/provisioner.yaml");
    let mut stand = Stand::up(programs, true, "csi-provisioner", rbac, &[]).await?;
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
        "provisioner": "hostpath.csi.k8s.io", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
    });
    stand.control_plane.apply_object(class, "").await?;
    let sidecar = stand.sidecar("csi-provisioner", &[])?;
    until_logged(&sidecar, "\"Provisioning\"").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stand.audit.reset();
    let (used, driver_used) = (cpu(sidecar.id())?, cpu(stand.driver())?);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());

    let begun = Instant::now();
    make(&claims, count).await?;
    until(&volumes, count).await?;
    let provisioned = begun.elapsed();
    let made_cpu = cpu(sidecar.id())?.saturating_sub(used);
    until_bound(&claims, count).await?;
    println!(
        "provision {count} claims: {:.1} s to the last volume ({:.0}/s), {:.1} s to the last bound; CPU {:.2} ms a claim",
        provisioned.as_secs_f64(),
        count as f64 / provisioned.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
        made_cpu.as_secs_f64() * 1000.0 / count as f64
    );
    let begun = Instant::now();
    claims.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    until(&volumes, 0).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let total = cpu(sidecar.id())?.saturating_sub(used);
    println!(
        "delete: {:.1} s to the last volume gone; CPU of a claim's whole life {:.2} ms (driver {:.2} ms); {}",
        begun.elapsed().as_secs_f64(),
        total.as_secs_f64() * 1000.0 / count as f64,
        cpu(stand.driver())?.saturating_sub(driver_used).as_secs_f64() * 1000.0 / count as f64,
        memory(sidecar.id())?
    );
    println!("API requests of the provisioner, per claim:");
    for (request, times) in stand.audit.counts()? {
        println!("  {request:<48} {:.3}", times as f64 / count as f64);
    }
    Ok(())
}

async fn make(claims: &Api<PersistentVolumeClaim>, count: usize) -> Result<()> {
    let one = |number: usize| async move {
        let claim = json!({
            "metadata": {"name": format!("claim-{number}")},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                "resources": {"requests": {"storage": "1Mi"}},
            },
        });
        claims.create(&PostParams::default(), &serde_json::from_value(claim)?).await?;
        anyhow::Ok(())
    };
    futures::stream::iter(0..count).map(one).buffer_unordered(16).try_collect::<Vec<()>>().await?;
    Ok(())
}

async fn until(volumes: &Api<PersistentVolume>, count: usize) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        // Metadata only, from the watch cache: looking must not cost what is measured.
        let list = volumes.list_metadata(&ListParams::default().match_any()).await?;
        let seen: &[PartialObjectMeta<PersistentVolume>] = &list.items;
        if seen.len() == count {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{} volumes after {PATIENCE:?}, not {count}", seen.len());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn until_bound(claims: &Api<PersistentVolumeClaim>, count: usize) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let list = claims.list(&ListParams::default().match_any()).await?;
        let is_bound = |claim: &&PersistentVolumeClaim| {
            claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
        };
        let bound = list.iter().filter(is_bound).count();
        if bound == count {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{bound} bound claims after {PATIENCE:?}, not {count}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

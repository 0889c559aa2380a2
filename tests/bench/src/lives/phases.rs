//! The phases: what is asked for, and when it is done.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::task::JoinHandle;

use super::figures::{Phase, PhaseFigures, Size};
use super::sets::Sidecars;
use crate::latency::Times;
use crate::stand::{DRIVER, Stand};

/// A bound on every wait.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Requests of ours in flight.
const AT_ONCE: usize = 16;

/// A class, and the nodes, all called as the driver's own node.
pub(super) async fn prepare(stand: &Stand, nodes: usize) -> Result<()> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
        "provisioner": DRIVER, "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
        "allowVolumeExpansion": true,
    });
    stand.control_plane.apply_object(class, "").await?;
    stand.nodes(nodes).await
}

/// Runs one phase for all volumes.
pub(super) async fn run(
    phase: Phase,
    stand: &Stand,
    sidecars: &Sidecars,
    size: Size,
) -> Result<PhaseFigures> {
    let times = Times::default();
    let cpu = sidecars.usage()?.cpu;
    let begun = Instant::now();
    let follower = follow(phase, stand, times.clone());
    let asked = ask(phase, stand, &times, size).await;
    let done = match asked {
        Ok(()) => times.until_done(size.volumes, PATIENCE).await,
        failed => failed,
    };
    follower.abort();
    done?;
    let took = begun.elapsed().as_secs_f64();
    sidecars.quiet().await?;
    let latency = times.quantiles().map(|time| time.as_secs_f64());
    let cpu = sidecars.usage()?.cpu - cpu;
    Ok(PhaseFigures { phase, took, latency, cpu, requests: stand.audit.counts()? })
}

fn claim_name(number: usize) -> String {
    format!("claim-{number}")
}

/// As long as kube-controller-manager makes them.
fn attachment_name(number: usize) -> String {
    format!("csi-{number:064}")
}

/// Asks for what the phase is about, for every volume.
async fn ask(phase: Phase, stand: &Stand, times: &Times, size: Size) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let attachments: Api<VolumeAttachment> = Api::all(stand.client.clone());
    let volumes = match phase {
        Phase::Attach => volume_names(&claims, size.volumes).await?,
        _ => vec![String::new(); size.volumes],
    };
    let one = |(number, volume): (usize, String)| {
        let (claims, attachments, times) = (&claims, &attachments, times.clone());
        async move {
            let (post, patch, delete) =
                (PostParams::default(), PatchParams::default(), DeleteParams::default());
            let (claim, attachment) = (claim_name(number), attachment_name(number));
            let is_attachment = matches!(phase, Phase::Attach | Phase::Detach);
            times.asked(if is_attachment { attachment.clone() } else { claim.clone() });
            match phase {
                Phase::Provision => {
                    let object = json!({
                        "metadata": {"name": claim},
                        "spec": {
                            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                            "resources": {"requests": {"storage": "1Mi"}},
                        },
                    });
                    claims.create(&post, &serde_json::from_value(object)?).await?;
                }
                Phase::Attach => {
                    let object = json!({
                        "metadata": {"name": attachment},
                        "spec": {
                            "attacher": DRIVER, "nodeName": format!("node-{}", number % size.nodes),
                            "source": {"persistentVolumeName": volume},
                        },
                    });
                    attachments.create(&post, &serde_json::from_value(object)?).await?;
                }
                Phase::Expand => {
                    let larger = json!({"spec": {"resources": {"requests": {"storage": "2Mi"}}}});
                    claims.patch(&claim, &patch, &Patch::Merge(larger)).await?;
                }
                Phase::Detach => drop(attachments.delete(&attachment, &delete).await?),
                Phase::Delete => drop(claims.delete(&claim, &delete).await?),
            }
            anyhow::Ok(())
        }
    };
    let all = futures::stream::iter(volumes.into_iter().enumerate()).map(one);
    all.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// The volume of each claim, by the claim's number.
async fn volume_names(claims: &Api<PersistentVolumeClaim>, count: usize) -> Result<Vec<String>> {
    let mut names = vec![String::new(); count];
    for claim in claims.list(&ListParams::default().match_any()).await? {
        let number =
            claim.metadata.name.as_deref().and_then(|name| name.strip_prefix("claim-")?.parse().ok());
        let name = number.and_then(|number: usize| names.get_mut(number));
        if let (Some(name), Some(volume)) = (name, claim.spec.and_then(|spec| spec.volume_name)) {
            *name = volume;
        }
    }
    Ok(names)
}

/// Notes which are done.
fn follow(phase: Phase, stand: &Stand, times: Times) -> JoinHandle<()> {
    let client = stand.client.clone();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &stand.namespace);
    let name = |claim: PersistentVolumeClaim| claim.metadata.name;
    match phase {
        Phase::Provision => spawn(claims, times, false, move |claim| {
            let is_bound =
                claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
            is_bound.then(|| name(claim)).flatten()
        }),
        Phase::Expand => spawn(claims, times, false, move |claim| {
            let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
            let is_larger = capacity.is_some_and(|size| size.0 == "2Mi");
            is_larger.then(|| name(claim)).flatten()
        }),
        Phase::Delete => {
            let of = |volume: PersistentVolume| volume.spec?.claim_ref?.name;
            spawn(Api::all(client), times, true, of)
        }
        Phase::Attach => spawn(Api::all(client), times, false, |attachment: VolumeAttachment| {
            attachment.status?.attached.then_some(attachment.metadata.name).flatten()
        }),
        Phase::Detach => {
            spawn(Api::all(client), times, true, |attachment: VolumeAttachment| attachment.metadata.name)
        }
    }
}

/// Follows a kind; `done` gives the name of what an object shows to be done, and is asked about deleted objects alone, or about
/// all others.
fn spawn<K>(
    api: Api<K>,
    times: Times,
    deleted: bool,
    done: impl Fn(K) -> Option<String> + Send + 'static,
) -> JoinHandle<()>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    tokio::spawn(async move {
        let mut events = watcher(api, watcher::Config::default()).boxed();
        while let Some(event) = events.next().await {
            let object = match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) if !deleted => object,
                Ok(Event::Delete(object)) if deleted => object,
                _ => continue,
            };
            if let Some(name) = done(object) {
                times.done(name);
            }
        }
    })
}

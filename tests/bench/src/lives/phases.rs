//! The phases: what is asked for, and when it is done.

use std::collections::HashMap;
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
    class(stand).await?;
    stand.nodes(nodes).await
}

/// The class of all claims.
pub(super) async fn class(stand: &Stand) -> Result<()> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
        "provisioner": DRIVER, "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
        "allowVolumeExpansion": true,
    });
    stand.control_plane.apply_object(class, "").await?;
    Ok(())
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
    let follower = follow(phase, stand, {
        let times = times.clone();
        move |name| times.done(name)
    });
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

/// The number in the name of a claim or an attachment.
pub(super) fn number(name: &str) -> Option<usize> {
    name.strip_prefix("claim-").or_else(|| name.strip_prefix("csi-"))?.parse().ok()
}

/// Asks for what the phase is about, for every volume.
async fn ask(phase: Phase, stand: &Stand, times: &Times, size: Size) -> Result<()> {
    let mut asker = Asker::new(stand, size.nodes);
    if phase == Phase::Attach {
        asker.look_up().await?;
    }
    let all = futures::stream::iter(0..size.volumes).map(|number| asker.ask(phase, number, times));
    all.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// Asks for steps of single volumes.
#[derive(Clone)]
pub(super) struct Asker {
    claims: Api<PersistentVolumeClaim>,
    attachments: Api<VolumeAttachment>,
    nodes: usize,
    /// Names of volumes, by their numbers, as far as they are known.
    volumes: HashMap<usize, String>,
}

impl Asker {
    pub(super) fn new(stand: &Stand, nodes: usize) -> Self {
        let claims = Api::namespaced(stand.client.clone(), &stand.namespace);
        Self { claims, attachments: Api::all(stand.client.clone()), nodes, volumes: HashMap::new() }
    }

    /// Looks up the names of all volumes at once.
    async fn look_up(&mut self) -> Result<()> {
        let claims = self.claims.list(&ListParams::default().match_any()).await?;
        self.volumes = claims
            .into_iter()
            .filter_map(|claim| Some((number(claim.metadata.name.as_deref()?)?, claim.spec?.volume_name?)))
            .collect();
        Ok(())
    }

    /// Asks for this step of the volume of this number.
    pub(super) async fn ask(&self, phase: Phase, number: usize, times: &Times) -> Result<()> {
        let (post, patch, delete) = (PostParams::default(), PatchParams::default(), DeleteParams::default());
        let (claim, attachment) = (claim_name(number), attachment_name(number));
        let volume = match phase {
            Phase::Attach => match self.volumes.get(&number) {
                Some(known) => Some(known.clone()),
                None => self.claims.get(&claim).await?.spec.and_then(|spec| spec.volume_name),
            },
            _ => None,
        };
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
                self.claims.create(&post, &serde_json::from_value(object)?).await?;
            }
            Phase::Attach => {
                let object = json!({
                    "metadata": {"name": attachment},
                    "spec": {
                        "attacher": DRIVER, "nodeName": format!("node-{}", number % self.nodes),
                        "source": {"persistentVolumeName": volume},
                    },
                });
                self.attachments.create(&post, &serde_json::from_value(object)?).await?;
            }
            Phase::Expand => {
                let larger = json!({"spec": {"resources": {"requests": {"storage": "2Mi"}}}});
                self.claims.patch(&claim, &patch, &Patch::Merge(larger)).await?;
            }
            Phase::Detach => drop(self.attachments.delete(&attachment, &delete).await?),
            Phase::Delete => drop(self.claims.delete(&claim, &delete).await?),
        }
        Ok(())
    }
}

/// Tells the name of each claim or attachment that is done, perhaps more than once.
pub(super) fn follow(phase: Phase, stand: &Stand, tell: impl Fn(String) + Send + 'static) -> JoinHandle<()> {
    let client = stand.client.clone();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &stand.namespace);
    let name = |claim: PersistentVolumeClaim| claim.metadata.name;
    match phase {
        Phase::Provision => spawn(claims, tell, false, move |claim| {
            let is_bound =
                claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
            is_bound.then(|| name(claim)).flatten()
        }),
        Phase::Expand => spawn(claims, tell, false, move |claim| {
            let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
            let is_larger = capacity.is_some_and(|size| size.0 == "2Mi");
            is_larger.then(|| name(claim)).flatten()
        }),
        Phase::Delete => {
            let of = |volume: PersistentVolume| volume.spec?.claim_ref?.name;
            spawn(Api::all(client), tell, true, of)
        }
        Phase::Attach => spawn(Api::all(client), tell, false, |attachment: VolumeAttachment| {
            attachment.status?.attached.then_some(attachment.metadata.name).flatten()
        }),
        Phase::Detach => {
            spawn(Api::all(client), tell, true, |attachment: VolumeAttachment| attachment.metadata.name)
        }
    }
}

/// Follows a kind; `done` gives the name of what an object shows to be done, and is asked about deleted objects alone, or about
/// all others.
fn spawn<K>(
    api: Api<K>,
    tell: impl Fn(String) + Send + 'static,
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
                tell(name);
            }
        }
    })
}

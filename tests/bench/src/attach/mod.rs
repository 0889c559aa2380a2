//! Attachments made and withdrawn: time, latency, CPU, API requests, memory; and attaches behind a burst
//! of detaches. The Go attacher goes through the same beside ours when asked for.

mod figures;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base::metrics::Metrics;
use cluster::Process;
use csi::{CallLog, Client, Connection, DialOptions, Endpoint, v1};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;

use crate::stand::{Beside, DRIVER, Programs, Stand, quiet, until_logged};
use crate::usage::{Memory, cpu, memory};
use figures::{Figures, Phase, compare};

/// A bound on every wait.
const PATIENCE: Duration = Duration::from_secs(900);
/// Requests of ours in flight.
const AT_ONCE: usize = 16;
/// Attaches made while the burst of detaches runs.
const BEHIND_BURST: usize = 50;

/// What the names of the attachments begin with.
const VA: &str = "csi-va";
/// The same of those made behind a burst.
const BEHIND: &str = "csi-behind";

/// An attachment's name, as long as kube-controller-manager makes them.
fn name(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number:0width$}", width = 67 - prefix.len())
}

/// When each attachment was asked for and when it was seen attached.
#[derive(Default)]
struct Times {
    asked: HashMap<String, Instant>,
    attached: HashMap<String, Instant>,
    gone: usize,
}

impl Times {
    /// The given share of the latencies of the attachments whose name begins with `prefix`.
    fn quantile(&self, prefix: &str, share: f64) -> Duration {
        let took =
            |(name, at): (&String, &Instant)| Some(at.saturating_duration_since(*self.asked.get(name)?));
        let ours = self.attached.iter().filter(|(name, _)| name.starts_with(prefix));
        let mut all: Vec<_> = ours.filter_map(took).collect();
        all.sort();
        let index = (share * all.len().saturating_sub(1) as f64).round() as usize;
        all.get(index).copied().unwrap_or_default()
    }

    fn attached(&self, prefix: &str) -> usize {
        self.attached.keys().filter(|name| name.starts_with(prefix)).count()
    }
}

/// How many, to how many nodes, and how many detaches at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) attachments: usize,
    pub(crate) nodes: usize,
    pub(crate) burst: usize,
}

/// Whose csi-attacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attacher {
    Ours,
    Go,
}

impl Attacher {
    /// What it is called.
    fn name(self) -> &'static str {
        match self {
            Attacher::Ours => "mooring",
            Attacher::Go => "Go",
        }
    }

    /// As many workers for both. The Go attacher's five requests a second would be all that is measured.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Attacher::Ours => &["--worker-threads=100"],
            Attacher::Go => &["--worker-threads=100", "--kube-api-qps=1000", "--kube-api-burst=2000"],
        }
    }

    /// Starts it and waits until it has read what there is.
    async fn start(self, stand: &Stand, log: &str) -> Result<Process> {
        let (process, ready) = match self {
            Attacher::Ours => (stand.sidecar_logging_to(log, "csi-attacher", self.flags())?, "\"Attaching\""),
            Attacher::Go => (stand.go_attacher(log, self.flags())?, "Starting CSI attacher"),
        };
        until_logged(&process, ready).await?;
        quiet(process.id()).await?;
        Ok(process)
    }
}

/// Runs the scenario with ours, and with the Go attacher if `go`.
pub(crate) async fn measure(programs: &Programs, size: Size, go: bool) -> Result<()> {
    let ours = run(programs, size, Attacher::Ours).await?;
    if go {
        let theirs = run(programs, size, Attacher::Go).await?;
        compare([Attacher::Ours.name(), Attacher::Go.name()], [&ours, &theirs]);
    }
    Ok(())
}

async fn run(programs: &Programs, size: Size, attacher: Attacher) -> Result<Figures> {
    let Size { attachments: count, nodes, burst } = size;
    let rbac = include_str!("../../../../manifests/rbac/attacher.yaml");
    let mut stand = Stand::up(programs, Beside::Nothing, "csi-attacher", rbac, &["--enable-attach"]).await?;
    println!("csi-attacher of {}:", attacher.name());
    let tell = |what: &str, process: &Process| -> Result<Memory> {
        let memory = memory(process.id())?;
        println!("{what}: {memory}");
        Ok(memory)
    };
    let first = attacher.start(&stand, "empty").await?;
    let empty = tell("empty cluster", &first)?;
    drop(first);
    prepare(&stand, count.max(burst + BEHIND_BURST), nodes).await?;
    let sidecar = attacher.start(&stand, "filled").await?;
    let filled = tell(&format!("{count} volumes, nothing attached"), &sidecar)?;
    let times = follow(&stand);

    stand.audit.reset();
    let (used, begun) = (cpu(sidecar.id())?, Instant::now());
    attach(&stand, &times, VA, 0..count, nodes).await?;
    until(&times, |times| times.attached(VA) == count, "all attached").await?;
    let attach = phase(&stand, count, begun, &sidecar, used)?;
    attach.print("attach");
    let latency = latency(&times, VA, &format!("attach to {nodes} nodes"));
    let attached = tell("all attached", &sidecar)?;
    drop(sidecar);
    let sidecar = attacher.start(&stand, "restarted").await?;
    let restarted = tell("all attached, after a restart", &sidecar)?;

    stand.audit.reset();
    let (used, begun) = (cpu(sidecar.id())?, Instant::now());
    let attachments: Api<VolumeAttachment> = Api::all(stand.client.clone());
    let mut behind = None;
    if burst > 0 {
        behind = Some(behind_burst(&stand, &times, burst.min(count), nodes, count).await?);
    }
    attachments.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    let all = count + if burst > 0 { BEHIND_BURST } else { 0 };
    until(&times, |times| times.gone == all, "all detached").await?;
    let detach = phase(&stand, all, begun, &sidecar, used)?;
    detach.print("detach");
    Ok(Figures { empty, filled, attached, restarted, attach, latency, behind, detach })
}

/// What `count` operations took since `begun`, when the attacher had `used` so much CPU.
fn phase(stand: &Stand, count: usize, begun: Instant, attacher: &Process, used: Duration) -> Result<Phase> {
    let took = begun.elapsed();
    let cpu = cpu(attacher.id())?.saturating_sub(used);
    Ok(Phase { count, took, cpu, requests: stand.audit.counts()? })
}

/// Median and 99th percentile of the attachments whose name begins with `prefix`.
fn latency(times: &Arc<Mutex<Times>>, prefix: &str, what: &str) -> [Duration; 2] {
    let times = times.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let [median, high] = [0.5, 0.99].map(|share| times.quantile(prefix, share));
    println!("{what}: latency p50 {} ms, p99 {} ms", median.as_millis(), high.as_millis());
    [median, high]
}

/// Deletes many attachments at once, and attaches a few more while that goes on.
async fn behind_burst(
    stand: &Stand,
    times: &Arc<Mutex<Times>>,
    burst: usize,
    nodes: usize,
    first: usize,
) -> Result<[Duration; 2]> {
    let attachments: Api<VolumeAttachment> = Api::all(stand.client.clone());
    let delete = |number: usize| {
        let attachments = attachments.clone();
        async move { attachments.delete(&name(VA, number), &DeleteParams::default()).await.map(drop) }
    };
    futures::stream::iter(0..burst).map(delete).buffer_unordered(64).try_collect::<Vec<()>>().await?;
    attach(stand, times, BEHIND, first..first + BEHIND_BURST, nodes).await?;
    until(times, |times| times.attached(BEHIND) == BEHIND_BURST, "attached behind the burst").await?;
    let what = format!("{BEHIND_BURST} attaches behind a burst of {burst} detaches");
    Ok(latency(times, BEHIND, &what))
}

/// Volumes at the driver, their objects, and the nodes: all called as the driver's own node.
async fn prepare(stand: &Stand, volumes: usize, nodes: usize) -> Result<()> {
    let socket = stand.control_plane.folder().join("csi.sock");
    let connection = Connection::dial(Endpoint::Unix(socket), DialOptions::default()).await?;
    let driver = Client::new(connection, Metrics::new(), CallLog::default());
    let objects: Api<PersistentVolume> = Api::all(stand.client.clone());
    let make = |number: usize| {
        let (driver, objects) = (driver.clone(), objects.clone());
        async move { volume(&driver, &objects, number).await }
    };
    futures::stream::iter(0..volumes + BEHIND_BURST)
        .map(make)
        .buffer_unordered(32)
        .try_collect::<Vec<()>>()
        .await?;
    stand.nodes(nodes).await
}

async fn volume(driver: &Client, objects: &Api<PersistentVolume>, number: usize) -> Result<()> {
    use v1::volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode};
    let name = format!("pvc-8d2a5c1e-3f4b-4f6a-9c1d-{number:012}");
    let request = v1::CreateVolumeRequest {
        name: name.clone(),
        volume_capabilities: vec![v1::VolumeCapability {
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
            access_type: Some(AccessType::Mount(MountVolume::default())),
        }],
        capacity_range: Some(v1::CapacityRange { required_bytes: 1 << 20, limit_bytes: 0 }),
        ..Default::default()
    };
    let made =
        driver.call(request, Duration::from_secs(60)).await.map_err(|status| anyhow::anyhow!("{status}"))?;
    let handle = made.volume.context("a volume")?.volume_id;
    let object = json!({
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER}},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}, "storageClassName": "fast",
            "persistentVolumeReclaimPolicy": "Delete",
            "csi": {
                "driver": DRIVER, "volumeHandle": handle, "fsType": "ext4",
                "volumeAttributes": {"storage.kubernetes.io/csiProvisionerIdentity": "1700000000000-1234-hostpath.csi.k8s.io"},
            },
        },
    });
    objects.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

async fn attach(
    stand: &Stand,
    times: &Arc<Mutex<Times>>,
    prefix: &str,
    numbers: std::ops::Range<usize>,
    nodes: usize,
) -> Result<()> {
    let attachments: Api<VolumeAttachment> = Api::all(stand.client.clone());
    let make = |number: usize| {
        let (attachments, times, name) = (attachments.clone(), times.clone(), name(prefix, number));
        async move {
            let object = json!({
                "metadata": {"name": name},
                "spec": {
                    "attacher": DRIVER, "nodeName": format!("node-{}", number % nodes),
                    "source": {"persistentVolumeName": format!("pvc-8d2a5c1e-3f4b-4f6a-9c1d-{number:012}")},
                },
            });
            times
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .asked
                .insert(name, Instant::now());
            attachments.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
            anyhow::Ok(())
        }
    };
    futures::stream::iter(numbers).map(make).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// Notes when attachments become attached and when they go.
fn follow(stand: &Stand) -> Arc<Mutex<Times>> {
    let times = Arc::new(Mutex::new(Times::default()));
    let (api, noted): (Api<VolumeAttachment>, _) = (Api::all(stand.client.clone()), times.clone());
    tokio::spawn(async move {
        let mut events = watcher(api, watcher::Config::default()).boxed();
        while let Some(event) = events.next().await {
            let mut times = noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => {
                    if object.status.is_some_and(|status| status.attached) {
                        times
                            .attached
                            .entry(object.metadata.name.unwrap_or_default())
                            .or_insert_with(Instant::now);
                    }
                }
                Ok(Event::Delete(_)) => times.gone += 1,
                Ok(Event::Init | Event::InitDone) | Err(_) => {}
            }
        }
    });
    times
}

async fn until(times: &Arc<Mutex<Times>>, done: impl Fn(&Times) -> bool, what: &str) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        {
            let times = times.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if done(&times) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!(
                    "waited {PATIENCE:?} for {what}: {} attached, {} gone",
                    times.attached.len(),
                    times.gone
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

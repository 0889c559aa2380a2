//! Claims that grow at once: time, latency, CPU, API requests, memory, also with many pods in the cluster. The Go resizer goes
//! through the same beside ours when asked for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base::metrics::Metrics;
use cluster::Process;
use csi::{CallLog, Client, Connection, DialOptions, Endpoint, v1};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;

use crate::latency::Times;
use crate::stand::{Beside, DRIVER, Programs, Stand, quiet, rights_for_go, until_logged};
use crate::usage::{Memory, cpu, memory};

/// A bound on every wait.
const PATIENCE: Duration = Duration::from_secs(900);
/// Requests of ours in flight.
const AT_ONCE: usize = 32;

/// How many claims, and how many pods that use none of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) claims: usize,
    pub(crate) pods: usize,
}

/// Whose csi-resizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resizer {
    Ours,
    Go,
}

impl Resizer {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "mooring",
            Self::Go => "Go",
        }
    }

    /// Starts it and waits until it has read what there is. As many workers for both; the Go resizer's five requests a
    /// second would be all that is measured.
    async fn start(self, stand: &Stand, log: &str) -> Result<Process> {
        let rates = ["--workers=100", "--kube-api-qps=1000", "--kube-api-burst=2000"];
        let (process, ready) = match self {
            Self::Ours => {
                (stand.sidecar_logging_to(log, "csi-resizer", &["--workers=100"])?, "\"Resizing\" driver")
            }
            Self::Go => (stand.go_resizer(log, &rates)?, "Starting external resizer"),
        };
        until_logged(&process, ready).await?;
        quiet(process.id()).await?;
        Ok(process)
    }
}

/// One run's figures.
struct Figures {
    empty: Memory,
    filled: Memory,
    grown: Memory,
    with_pods: Memory,
    took: Duration,
    /// Median, and what one in a hundred exceeds.
    latency: [Duration; 2],
    cpu: Duration,
    requests: BTreeMap<String, usize>,
}

/// Runs the scenario with ours, and with the Go resizer if `go`.
pub(crate) async fn measure(programs: &Programs, size: Size, go: bool) -> Result<()> {
    let mut runs = vec![(Resizer::Ours, run(programs, size, Resizer::Ours).await?)];
    if go {
        runs.push((Resizer::Go, run(programs, size, Resizer::Go).await?));
    }
    println!("\n| | {} |", runs.iter().map(|(who, _)| who.name()).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---|".repeat(runs.len()));
    let line = |what: &str, of: &dyn Fn(&Figures) -> String| {
        let cells: Vec<String> = runs.iter().map(|(_, run)| of(run)).collect();
        println!("| {what} | {} |", cells.join(" | "));
    };
    let count = size.claims as f64;
    line("empty cluster", &|run| run.empty.to_string());
    line(&format!("{count} bound claims"), &|run| run.filled.to_string());
    line("all grown", &|run| run.grown.to_string());
    line(&format!("restarted, {} pods in the cluster", size.pods), &|run| run.with_pods.to_string());
    line("grown a second", &|run| format!("{:.0}", count / run.took.as_secs_f64()));
    line("latency p50, p99", &|run| {
        let [median, high] = run.latency.map(|time| time.as_millis());
        format!("{median} ms, {high} ms")
    });
    line("CPU a claim", &|run| format!("{:.2} ms", run.cpu.as_secs_f64() * 1000.0 / count));
    let each = |run: &Figures, counted: &dyn Fn(&str) -> bool| {
        let counts = run.requests.iter().filter(|(request, _)| counted(request));
        counts.map(|(_, times)| *times).sum::<usize>() as f64 / count
    };
    let writes = |request: &str| request.starts_with("patch persistentvolume");
    line("writes a claim, without events", &|run| format!("{:.2}", each(run, &writes)));
    line("of these in conflict", &|run| {
        format!("{:.2}", each(run, &|request| writes(request) && request.ends_with(" 409")))
    });
    Ok(())
}

async fn run(programs: &Programs, size: Size, resizer: Resizer) -> Result<Figures> {
    let rbac = rights_for_go(include_str!("../../../manifests/rbac/resizer.yaml"));
    let mut stand =
        Stand::up(programs, Beside::Nothing, "csi-resizer", &rbac, &["--disable-node-expansion"]).await?;
    println!("csi-resizer of {}:", resizer.name());
    let first = resizer.start(&stand, "empty").await?;
    let empty = memory(first.id())?;
    drop(first);
    prepare(&stand, size.claims).await?;
    let sidecar = resizer.start(&stand, "filled").await?;
    let filled = memory(sidecar.id())?;
    let times = follow(&stand);
    stand.audit.reset();
    let (used, begun) = (cpu(sidecar.id())?, Instant::now());
    request(&stand, &times, size.claims).await?;
    times.until_done(size.claims, PATIENCE).await?;
    let took = begun.elapsed();
    quiet(sidecar.id()).await?;
    let spent = cpu(sidecar.id())?.saturating_sub(used);
    let requests = stand.audit.counts()?;
    println!("API requests of the resizer, per claim:");
    for (request, times) in &requests {
        println!("  {request:<48} {:.3}", *times as f64 / size.claims as f64);
    }
    let grown = memory(sidecar.id())?;
    drop(sidecar);
    pods(&stand, size.pods).await?;
    let sidecar = resizer.start(&stand, "pods").await?;
    let with_pods = memory(sidecar.id())?;
    let latency = times.quantiles();
    Ok(Figures { empty, filled, grown, with_pods, took, latency, cpu: spent, requests })
}

fn name(number: usize) -> String {
    format!("data-{number:06}")
}

/// A class, and bound pairs of claim and volume.
async fn prepare(stand: &Stand, count: usize) -> Result<()> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
        "provisioner": DRIVER, "allowVolumeExpansion": true,
    });
    stand.control_plane.apply_object(class, "").await?;
    let socket = stand.control_plane.folder().join("csi.sock");
    let connection = Connection::dial(Endpoint::Unix(socket), DialOptions::default()).await?;
    let driver = Client::new(connection, Metrics::new(), CallLog::default());
    let pairs = futures::stream::iter(0..count).map(|number| pair(stand, driver.clone(), number));
    pairs.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

async fn pair(stand: &Stand, driver: Client, number: usize) -> Result<()> {
    use v1::volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode};
    let (claim_name, volume_name) = (name(number), format!("pvc-8d2a5c1e-3f4b-4f6a-9c1d-{number:012}"));
    let request = v1::CreateVolumeRequest {
        name: volume_name.clone(),
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
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let claim = json!({
        "metadata": {"name": claim_name, "annotations": {"volume.kubernetes.io/storage-provisioner": DRIVER}},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeName": volume_name, "storageClassName": "fast",
            "resources": {"requests": {"storage": "1Mi"}},
        },
    });
    let claim = claims.create(&PostParams::default(), &serde_json::from_value(claim)?).await?;
    let reference = json!({"namespace": stand.namespace, "name": claim_name, "uid": claim.metadata.uid});
    let volume = json!({
        "metadata": {"name": volume_name, "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER}},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}, "storageClassName": "fast",
            "persistentVolumeReclaimPolicy": "Delete", "claimRef": reference,
            "csi": {"driver": DRIVER, "volumeHandle": handle, "fsType": "ext4"},
        },
    });
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());
    volumes.create(&PostParams::default(), &serde_json::from_value(volume)?).await?;
    // As kube-controller-manager does, which would only add to what is measured.
    let bound = json!({"status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}}});
    claims.patch_status(&claim_name, &PatchParams::default(), &Patch::Merge(bound)).await?;
    Ok(())
}

/// Pods that use no claim.
async fn pods(stand: &Stand, count: usize) -> Result<()> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    stand.control_plane.apply_object(account, &stand.namespace).await?;
    let api: Api<Pod> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let one = |number: usize| {
        let api = api.clone();
        async move {
            let container = json!({"name": "c", "image": "registry.example/app:1.0", "env": [{"name": "A", "value": "b"}]});
            let pod = json!({
                "metadata": {"name": format!("pod-{number}"), "labels": {"app": "a"}},
                "spec": {"containers": [container], "automountServiceAccountToken": false},
            });
            api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
            anyhow::Ok(())
        }
    };
    futures::stream::iter(0..count).map(one).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// Asks every claim to grow.
async fn request(stand: &Stand, times: &Times, count: usize) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let one = |number: usize| {
        let (claims, times) = (claims.clone(), times.clone());
        async move {
            let larger = json!({"spec": {"resources": {"requests": {"storage": "2Mi"}}}});
            times.asked(name(number));
            claims.patch(&name(number), &PatchParams::default(), &Patch::Merge(larger)).await?;
            anyhow::Ok(())
        }
    };
    futures::stream::iter(0..count).map(one).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// Notes when claims have their new size.
fn follow(stand: &Stand) -> Times {
    let times = Times::default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let noted = times.clone();
    tokio::spawn(async move {
        let mut events = watcher(claims, watcher::Config::default()).boxed();
        while let Some(event) = events.next().await {
            let Ok(Event::Apply(claim)) = event else { continue };
            let capacity = claim.status.and_then(|status| status.capacity?.remove("storage"));
            if capacity.is_some_and(|size| size.0 == "2Mi") {
                noted.done(claim.metadata.name.unwrap_or_default());
            }
        }
    });
    times
}

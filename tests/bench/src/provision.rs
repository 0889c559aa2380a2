//! Claims made, bound and deleted: time, latency, CPU, API requests, bytes into etcd. The same without intents, and through
//! the Go csi-provisioner, when asked for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use cluster::Process;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;

use crate::latency::Times;
use crate::scrape::sample;
use crate::stand::{Beside, Programs, Stand, quiet, until_logged};
use crate::usage::{Memory, cpu, memory};

/// A bound on every wait.
const PATIENCE: Duration = Duration::from_secs(900);
/// Every byte that was put into etcd.
const PUT: &str = "etcd_debugging_mvcc_total_put_size_in_bytes";

/// How many claims, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) claims: usize,
    pub(crate) workers: usize,
    /// Whether all claims are there when the provisioner starts.
    pub(crate) waiting: bool,
}

/// Whose csi-provisioner, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provisioner {
    Ours,
    WithoutIntents,
    Go,
}

impl Provisioner {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "mooring",
            Self::WithoutIntents => "without intents",
            Self::Go => "Go",
        }
    }

    /// Starts it; as many workers for all. The Go provisioner's five requests a second would be all that is measured.
    async fn start(self, stand: &Stand, workers: usize) -> Result<Process> {
        let workers = format!("--worker-threads={workers}");
        // Where the role lets it write Leases.
        let namespace = format!("--leader-election-namespace={}", stand.namespace);
        let rates = [&*workers, "--kube-api-qps=1000", "--kube-api-burst=2000"];
        let (process, ready) = match self {
            Self::Ours => (stand.sidecar("csi-provisioner", &[&workers, &namespace])?, "\"Provisioning\""),
            Self::WithoutIntents => {
                let flags = [&*workers, &*namespace, "--volume-intents=false"];
                (stand.sidecar("csi-provisioner", &flags)?, "\"Provisioning\"")
            }
            Self::Go => (stand.go_provisioner("csi-provisioner", &rates)?, "Starting provisioner controller"),
        };
        until_logged(&process, ready).await?;
        Ok(process)
    }
}

/// One run's figures.
struct Figures {
    provisioned: Duration,
    bound: Duration,
    deleted: Duration,
    /// Median, and what one in a hundred exceeds.
    latency: [Duration; 2],
    cpu: Duration,
    whole_cpu: Duration,
    /// CPU of the driver.
    driver_cpu: Duration,
    /// Bytes put into etcd until all were bound.
    put: f64,
    memory: Memory,
    /// Until all were bound, and until all were gone.
    requests: [BTreeMap<String, usize>; 2],
}

/// Runs the scenario with ours, and if asked for without intents and with the Go provisioner.
pub(crate) async fn measure(programs: &Programs, size: Size, no_intents: bool, go: bool) -> Result<()> {
    let others = [(no_intents, Provisioner::WithoutIntents), (go, Provisioner::Go)];
    let others = others.into_iter().filter_map(|(wanted, who)| wanted.then_some(who));
    let mut runs = Vec::new();
    for who in std::iter::once(Provisioner::Ours).chain(others) {
        println!("csi-provisioner, {}:", who.name());
        runs.push((who, run(programs, size, who).await?));
    }
    print(size, &runs);
    Ok(())
}

fn print(size: Size, runs: &[(Provisioner, Figures)]) {
    println!("\n| {size:?} | {} |", runs.iter().map(|(who, _)| who.name()).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---|".repeat(runs.len()));
    let line = |what: &str, of: &dyn Fn(&Figures) -> String| {
        let cells: Vec<String> = runs.iter().map(|(_, run)| of(run)).collect();
        println!("| {what} | {} |", cells.join(" | "));
    };
    let count = size.claims as f64;
    let rate = |time: Duration| format!("{:.0}", count / time.as_secs_f64());
    let each = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0 / count);
    line("claims a second, to the last volume", &|run| rate(run.provisioned));
    line("to the last bound", &|run| rate(run.bound));
    line("deleted a second", &|run| rate(run.deleted));
    line("claim to volume: p50, p99", &|run| {
        let [median, high] = run.latency.map(|time| time.as_millis());
        format!("{median} ms, {high} ms")
    });
    line("CPU: a claim provisioned, its whole life", &|run| {
        format!("{}, {}", each(run.cpu), each(run.whole_cpu))
    });
    line("CPU of the driver, a claim", &|run| each(run.driver_cpu));
    line("memory", &|run| run.memory.to_string());
    line("bytes into etcd a claim, by all", &|run| format!("{:.0}", run.put / count));
    let sum = |requests: &BTreeMap<String, usize>, counted: &dyn Fn(&str, &str) -> bool| {
        let words = |request: &str| {
            let (verb, rest) = request.split_once(' ').unwrap_or_default();
            !["get", "list", "watch"].contains(&verb) && counted(verb, rest)
        };
        let all = requests.iter().filter(|(request, _)| words(request)).map(|(_, times)| *times);
        all.sum::<usize>() as f64 / count
    };
    let both = |run: &Figures, counted: &dyn Fn(&str, &str) -> bool| {
        let [made, whole] = &run.requests;
        format!("{:.3}, {:.3}", sum(made, counted), sum(whole, counted))
    };
    line("API writes a claim, without events: to be bound, whole life", &|run| {
        both(run, &|_, what| !what.starts_with("events"))
    });
    line("of these for intents (and leases)", &|run| both(run, &|_, what| what.starts_with("leases")));
    line("of these failed", &|run| {
        both(run, &|_, what| !what.starts_with("events") && !what.contains(" 20"))
    });
    line("events a claim", &|run| both(run, &|_, what| what.starts_with("events")));
}

/// A stand with a class.
async fn up(programs: &Programs) -> Result<Stand> {
    let rbac = include_str!("../../../manifests/rbac/provisioner.yaml");
    let stand = Stand::up(programs, Beside::Binder, "csi-provisioner", rbac, &[]).await?;
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
        "provisioner": "hostpath.csi.k8s.io", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
    });
    stand.control_plane.apply_object(class, "").await?;
    Ok(stand)
}

async fn run(programs: &Programs, size: Size, who: Provisioner) -> Result<Figures> {
    let mut stand = up(programs).await?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let volumes: Api<PersistentVolume> = Api::all(stand.client.clone());
    let (count, etcd) = (size.claims, stand.control_plane.etcd().to_owned());
    let times = follow(&stand);
    let mut sidecar = None;
    if size.waiting {
        make(&claims, count, &Times::default()).await?;
        until_claimed(&claims, count).await?;
    } else {
        let started = who.start(&stand, size.workers).await?;
        quiet(started.id()).await?;
        sidecar = Some(started);
    }
    stand.audit.reset();
    let (put, driver_used) = (sample(&etcd, PUT, "").await?, cpu(stand.driver())?);
    let used = sidecar.as_ref().map(|sidecar| cpu(sidecar.id())).transpose()?.unwrap_or_default();
    let begun = Instant::now();
    let sidecar = match sidecar {
        Some(sidecar) => {
            make(&claims, count, &times).await?;
            sidecar
        }
        None => {
            (0..count).for_each(|number| times.asked(name(number)));
            who.start(&stand, size.workers).await?
        }
    };
    times.until_done(count, PATIENCE).await?;
    let provisioned = begun.elapsed();
    let made_cpu = cpu(sidecar.id())?.saturating_sub(used);
    until_bound(&claims, count).await?;
    let bound = begun.elapsed();
    quiet(sidecar.id()).await?;
    let put = sample(&etcd, PUT, "").await? - put;
    let made = stand.audit.counts()?;
    let begun = Instant::now();
    claims.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    until_gone(&volumes).await?;
    let deleted = begun.elapsed();
    quiet(sidecar.id()).await?;
    let whole_cpu = cpu(sidecar.id())?.saturating_sub(used);
    let whole = stand.audit.counts()?;
    tell(&whole, count);
    Ok(Figures {
        provisioned,
        bound,
        deleted,
        latency: times.quantiles(),
        cpu: made_cpu,
        whole_cpu,
        driver_cpu: cpu(stand.driver())?.saturating_sub(driver_used),
        put,
        memory: memory(sidecar.id())?,
        requests: [made, whole],
    })
}

fn tell(requests: &BTreeMap<String, usize>, count: usize) {
    println!("API requests, per claim:");
    for (request, times) in requests {
        println!("  {request:<48} {:.3}", *times as f64 / count as f64);
    }
}

fn name(number: usize) -> String {
    format!("claim-{number}")
}

async fn make(claims: &Api<PersistentVolumeClaim>, count: usize, times: &Times) -> Result<()> {
    let one = |number: usize| async move {
        let claim = json!({
            "metadata": {"name": name(number)},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                "resources": {"requests": {"storage": "1Mi"}},
            },
        });
        times.asked(name(number));
        claims.create(&PostParams::default(), &serde_json::from_value(claim)?).await?;
        anyhow::Ok(())
    };
    futures::stream::iter(0..count).map(one).buffer_unordered(16).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// Notes when the volume of each claim is there.
fn follow(stand: &Stand) -> Times {
    let times = Times::default();
    let (volumes, noted): (Api<PersistentVolume>, _) = (Api::all(stand.client.clone()), times.clone());
    tokio::spawn(async move {
        let mut events = watcher(volumes, watcher::Config::default()).boxed();
        while let Some(event) = events.next().await {
            let Ok(Event::Apply(volume) | Event::InitApply(volume)) = event else { continue };
            if let Some(claim) = volume.spec.and_then(|spec| spec.claim_ref?.name) {
                noted.done(claim);
            }
        }
    });
    times
}

async fn until_gone(volumes: &Api<PersistentVolume>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        // Metadata only, from the watch cache: looking must not cost what is measured.
        let list = volumes.list_metadata(&ListParams::default().match_any()).await?;
        let seen: &[PartialObjectMeta<PersistentVolume>] = &list.items;
        if seen.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{} volumes after {PATIENCE:?}", seen.len());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until kube-controller-manager has named the provisioner in each claim.
async fn until_claimed(claims: &Api<PersistentVolumeClaim>, count: usize) -> Result<()> {
    let annotation = "volume.kubernetes.io/storage-provisioner";
    until(claims, count, "claimed", |claim| {
        claim.metadata.annotations.iter().flatten().any(|(name, _)| name == annotation)
    })
    .await
}

async fn until_bound(claims: &Api<PersistentVolumeClaim>, count: usize) -> Result<()> {
    until(claims, count, "bound", |claim| {
        claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
    })
    .await
}

async fn until(
    claims: &Api<PersistentVolumeClaim>,
    count: usize,
    what: &str,
    is_so: impl Fn(&PersistentVolumeClaim) -> bool,
) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let list = claims.list(&ListParams::default().match_any()).await?;
        let so = list.iter().filter(|claim| is_so(claim)).count();
        if so == count {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{so} claims are {what} after {PATIENCE:?}, not {count}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

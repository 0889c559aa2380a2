//! CSIStorageCapacity objects of many nodes and classes: time until they are there, and what they cost while nothing changes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use cluster::node::NodeDriver;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::scrape::sample;
use crate::stand::{Beside, Programs, Stand, quiet, until_logged};
use crate::usage::{cpu, memory};

const DRIVER: &str = "hostpath.csi.k8s.io";
const KEY: &str = "topology.hostpath.csi/node";
/// A bound on every wait.
const PATIENCE: Duration = Duration::from_secs(900);
/// Where the provisioner serves its metrics.
const PAGE: &str = "127.0.0.1:19187";

/// How many nodes and classes, and for how long nothing changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) classes: usize,
    pub(crate) polls: u32,
    /// Pause between two polls.
    pub(crate) interval: u64,
}

pub(crate) async fn measure(programs: &Programs, size: Size) -> Result<()> {
    let rbac = include_str!("../../../manifests/rbac/provisioner.yaml");
    let driver = ["--enable-topology=true", "--capacity=fast=1Gi"];
    let mut stand = Stand::up(programs, Beside::Nothing, "csi-provisioner", rbac, &driver).await?;
    prepare(&stand, size).await?;
    let interval = format!("--capacity-poll-interval={}s", size.interval);
    let endpoint = format!("--http-endpoint={PAGE}");
    let flags = [
        "--enable-capacity",
        "--capacity-ownerref-level=-1",
        "--kube-api-capacity-qps=1000",
        "--kube-api-capacity-burst=2000",
        &interval,
        &endpoint,
    ];
    stand.audit.reset();
    let (wanted, begun) = (size.nodes * size.classes, Instant::now());
    let sidecar = stand.sidecar("csi-provisioner", &flags)?;
    until_logged(&sidecar, "\"Provisioning\"").await?;
    until(&stand, wanted).await?;
    println!(
        "{} nodes x {} classes: {wanted} objects after {:.1} s; CPU {:.2} s; {}",
        size.nodes,
        size.classes,
        begun.elapsed().as_secs_f64(),
        cpu(sidecar.id())?.as_secs_f64(),
        memory(sidecar.id())?
    );
    print(&stand.audit.counts()?);
    quiet(sidecar.id()).await?;

    stand.audit.reset();
    let (used, calls) = (cpu(sidecar.id())?, calls().await?);
    tokio::time::sleep(Duration::from_secs(size.interval) * size.polls).await;
    let calls = self::calls().await? - calls;
    let used = cpu(sidecar.id())?.saturating_sub(used);
    println!(
        "{} polls every {} s, nothing changes: {calls} GetCapacity; CPU {:.2} s; {}; API requests:",
        size.polls,
        size.interval,
        used.as_secs_f64(),
        memory(sidecar.id())?
    );
    let counts = stand.audit.counts()?;
    print(&counts);
    let is_write =
        |request: &&String| !["get ", "list ", "watch "].iter().any(|verb| request.starts_with(verb));
    let writes: usize = counts.iter().filter(|(request, _)| is_write(request)).map(|(_, times)| times).sum();
    println!("writes while nothing changes: {writes}");
    if calls == 0.0 {
        bail!("nothing was polled: choose more polls or a shorter interval");
    }
    Ok(())
}

fn print(counts: &BTreeMap<String, usize>) {
    for (request, times) in counts {
        println!("  {request:<48} {times}");
    }
}

async fn calls() -> Result<f64> {
    sample(PAGE, "csi_sidecar_operations_seconds_count", "GetCapacity").await
}

/// Nodes, each a segment of its own, and classes with late binding.
async fn prepare(stand: &Stand, size: Size) -> Result<()> {
    let node = |number: usize| async move {
        let name = format!("node-{number}");
        let labels = BTreeMap::from([(KEY.to_owned(), name.clone())]);
        let driver = NodeDriver {
            name: DRIVER.to_owned(),
            node_id: name.clone(),
            topology_keys: vec![KEY.to_owned()],
            allocatable: None,
        };
        stand.control_plane.node(&name, &labels, &[driver]).await?;
        anyhow::Ok(())
    };
    futures::stream::iter(0..size.nodes).map(node).buffer_unordered(16).try_collect::<Vec<()>>().await?;
    for number in 0..size.classes {
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": format!("class-{number}")},
            "provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer", "parameters": {"kind": "fast"},
        });
        stand.control_plane.apply_object(class, "").await?;
    }
    Ok(())
}

async fn until(stand: &Stand, count: usize) -> Result<()> {
    let api: Api<CSIStorageCapacity> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = api.list_metadata(&ListParams::default().match_any()).await?.items.len();
        if seen == count {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{seen} objects after {PATIENCE:?}, not {count}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

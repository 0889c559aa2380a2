//! A StatefulSet whose pods all start at once: its claims, their volumes, the attachments where the scheduler puts the pods; then all
//! of it goes. Nobody runs the pods: the nodes are objects.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use cluster::node::NodeDriver;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use super::figures::{PHASES, Phase, called};
use super::phases;
use super::sets::{Set, Sidecars};
use crate::latency::Times;
use crate::stand::{Beside, DRIVER, Programs, ROLES, Stand, rights_for_go};

/// A bound on every wait.
const PATIENCE: Duration = Duration::from_secs(900);
/// How many nodes there are.
const NODES: usize = 10;

/// Runs it through every set, and prints a table.
pub(crate) async fn measure(programs: &Programs, sets: &[Set], replicas: usize) -> Result<()> {
    let mut lines = Vec::new();
    for set in sets {
        println!("{}, {replicas} replicas:", set.name);
        let line = run(programs, set, replicas).await?;
        println!("{line}");
        lines.push(line);
    }
    println!(
        "\n| {replicas} replicas | all attached after, s | all gone after, s | CPU, s | peak resident, MiB | calls |"
    );
    println!("|---|---|---|---|---|---|");
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

async fn run(programs: &Programs, set: &Set, replicas: usize) -> Result<String> {
    let driver = ["--enable-attach", "--disable-node-expansion"];
    let rights = rights_for_go(&ROLES.join("\n---\n"));
    let stand = Stand::up(programs, Beside::Scheduler, "csi-sidecars", &rights, &driver).await?;
    phases::class(&stand).await?;
    for number in 0..NODES {
        let node_driver =
            NodeDriver { name: DRIVER.to_owned(), node_id: "node-1".to_owned(), ..NodeDriver::default() };
        stand.control_plane.node(&format!("node-{number}"), &BTreeMap::new(), &[node_driver]).await?;
    }
    let sidecars = set.start(&stand, None).await?;
    let before = sidecars.usage()?.cpu;
    let begun = Instant::now();
    until(&stand, Phase::Attach, replicas, || {
        stand.control_plane.apply_object(stateful_set(replicas), &stand.namespace)
    })
    .await?;
    let attached = begun.elapsed().as_secs_f64();
    sidecars.quiet().await?;
    let begun = Instant::now();
    until(&stand, Phase::Delete, replicas, || remove(&stand)).await?;
    let gone = begun.elapsed().as_secs_f64();
    sidecars.quiet().await?;
    let usage = sidecars.usage()?;
    Ok(format!(
        "| {} | {attached:.1} | {gone:.1} | {:.2} | {:.1} | {} |",
        set.name,
        usage.cpu - before,
        usage.peak as f64 / f64::from(1 << 20),
        calls(&sidecars).await
    ))
}

/// Begins something, and waits until so many objects show this phase as done.
async fn until<T, E, F>(stand: &Stand, phase: Phase, count: usize, begin: impl FnOnce() -> F) -> Result<()>
where
    F: Future<Output = Result<T, E>>,
    anyhow::Error: From<E>,
{
    let times = Times::default();
    let follower = phases::follow(phase, stand, {
        let times = times.clone();
        move |name| times.done(name)
    });
    begin().await?;
    let done = times.until_done(count, PATIENCE).await;
    follower.abort();
    done
}

fn stateful_set(replicas: usize) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "data"},
        "spec": {
            "serviceName": "data", "replicas": replicas, "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "data"}},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
            "template": {
                "metadata": {"labels": {"app": "data"}},
                "spec": {
                    "tolerations": [{"operator": "Exists"}], "terminationGracePeriodSeconds": 0,
                    "containers": [{
                        "name": "data", "image": "pause",
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }],
                },
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                    "resources": {"requests": {"storage": "1Mi"}},
                },
            }],
        },
    })
}

/// Deletes the StatefulSet, and the pods by force: there is no kubelet to say that they have ended.
async fn remove(stand: &Stand) -> Result<()> {
    let sets: Api<StatefulSet> = Api::namespaced(stand.client.clone(), &stand.namespace);
    sets.delete("data", &DeleteParams::background()).await?;
    let pods: Api<Pod> = Api::namespaced(stand.client.clone(), &stand.namespace);
    pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await?;
    Ok(())
}

/// How often each call was made, whatever the answer.
async fn calls(sidecars: &Sidecars) -> String {
    let made = sidecars.calls().await;
    let told = PHASES.map(|phase| (phase.call(), called(&made, phase.call())));
    let told = told.into_iter().filter(|(_, count)| *count > 0);
    told.map(|(call, count)| format!("{call} {count}")).collect::<Vec<_>>().join(", ")
}

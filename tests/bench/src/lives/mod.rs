//! The whole life of many volumes: provisioned, attached, expanded, detached, deleted, by any set of sidecars. What they use
//! all the while, what they ask of the API server and of the driver, and how long it takes.

mod figures;
mod phases;
mod plot;
mod relay;
mod replicas;
mod sampler;
mod sets;
mod table;
mod waves;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::stand::{Beside, Programs, ROLES, Stand, rights_for_go};
pub(crate) use figures::Size;
use figures::{PHASES, Run, Usage};
pub(crate) use replicas::measure as measure_replicas;
use sampler::Sampler;
pub(crate) use sets::Set;
pub(crate) use waves::{Waves, measure as measure_waves};

/// Where the figures go beside the terminal.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// All figures, as JSON.
    pub(crate) json: Option<PathBuf>,
    /// The repository, whose BENCHMARKS.md gets the table and the plots.
    pub(crate) repository: Option<PathBuf>,
}

/// Runs every set, one after the other and so often, and tells what came of it.
pub(crate) async fn measure(programs: &Programs, sets: &[Set], size: Size, output: &Output) -> Result<()> {
    let mut runs: Vec<(String, Vec<Run>)> = sets.iter().map(|set| (set.name.clone(), Vec::new())).collect();
    for number in 1..=size.runs {
        for (set, (_, done)) in sets.iter().zip(&mut runs) {
            println!("run {number} of {}, {}:", size.runs, set.name);
            let run = life(programs, set, size).await?;
            run.tell(size.volumes);
            done.push(run);
        }
    }
    let table = table::markdown(size, &runs);
    println!("\n{table}");
    if let Some(path) = &output.json {
        let json = serde_json::json!({"volumes": size.volumes, "nodes": size.nodes, "sets": runs});
        std::fs::write(path, serde_json::to_vec_pretty(&json)?)
            .with_context(|| format!("--json {}", path.display()))?;
    }
    if let Some(repository) = &output.repository {
        table::put(&repository.join("BENCHMARKS.md"), &table)?;
        for (name, plot) in plot::plots(&runs) {
            std::fs::write(repository.join("docs").join(name), plot)?;
        }
    }
    Ok(())
}

/// One life of all volumes through one set.
async fn life(programs: &Programs, set: &Set, size: Size) -> Result<Run> {
    let driver = ["--enable-attach", "--disable-node-expansion"];
    let mut stand =
        Stand::up(programs, Beside::Binder, "csi-sidecars", &rights_for_go(&ROLES.join("\n---\n")), &driver)
            .await?;
    phases::prepare(&stand, size.nodes).await?;
    let sidecars = set.start(&stand, None).await?;
    let idle = sidecars.usage()?;
    let (standby, watched_by_standby) = standby(&mut stand, set).await?;
    let sampler = Sampler::begin(sidecars.pids());
    let mut phases = Vec::new();
    for phase in PHASES {
        stand.audit.reset();
        phases.push(phases::run(phase, &stand, &sidecars, size).await?);
    }
    let samples = sampler.end().await;
    Ok(Run {
        idle,
        standby,
        watched_by_standby,
        end: sidecars.usage()?,
        phases,
        calls: sidecars.calls().await,
        samples,
    })
}

/// What a second replica uses while the first one leads, and what it watches.
async fn standby(stand: &mut Stand, set: &Set) -> Result<(Usage, Vec<String>)> {
    stand.audit.reset();
    let second = set.start(stand, Some("second")).await?;
    let usage = second.usage()?;
    // The audit log has a watch when it ends.
    drop(second);
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok((usage, figures::watched(&stand.audit.counts()?)))
}

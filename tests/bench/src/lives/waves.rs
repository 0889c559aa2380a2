//! Waves that overlap: in each, some volumes begin their lives, and each volume goes on as soon as it can. So sidecars provision,
//! attach, expand, detach and delete at once, beside a driver that takes its time.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::figures::{PHASES, called};
use super::phases::{self, Asker};
use super::relay::Relay;
use super::sets::{Set, Sidecars};
use crate::latency::Times;
use crate::stand::{Beside, Programs, ROLES, Stand, rights_for_go};

/// What happens.
#[derive(Debug, Clone)]
pub(crate) struct Waves {
    /// Volumes of each wave.
    pub(crate) volumes: usize,
    /// How many waves.
    pub(crate) waves: usize,
    /// From the beginning of one to that of the next.
    pub(crate) every: Duration,
    /// How long the driver holds back each answer, one run for each.
    pub(crate) delays: Vec<Duration>,
    /// On how many nodes.
    pub(crate) nodes: usize,
}

/// A bound on the time between two steps of any volume.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs the waves through every set, once for each delay, and prints a table.
pub(crate) async fn measure(programs: &Programs, sets: &[Set], waves: &Waves) -> Result<()> {
    let mut lines = Vec::new();
    for delay in &waves.delays {
        for set in sets {
            println!("{}, answers held back {delay:?}:", set.name);
            let line = run(programs, set, waves, *delay).await?;
            println!("{line}");
            lines.push(line);
        }
    }
    println!(
        "\n| driver | sidecars | whole, s | {} | CPU, s | peak resident, MiB | calls beyond one a step |",
        { PHASES.map(|phase| format!("{} p50, p99, s", phase.name())).join(" | ") }
    );
    println!("|---|---|---|{}---|---|---|", "---|".repeat(PHASES.len()));
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

async fn run(programs: &Programs, set: &Set, waves: &Waves, delay: Duration) -> Result<String> {
    let driver = ["--enable-attach", "--disable-node-expansion"];
    let mut stand =
        Stand::up(programs, Beside::Binder, "csi-sidecars", &rights_for_go(&ROLES.join("\n---\n")), &driver)
            .await?;
    let relay = Relay::begin(&stand.csi_socket)?;
    stand.csi_socket.clone_from(&relay.socket);
    phases::prepare(&stand, waves.nodes).await?;
    let sidecars = set.start(&stand, None).await?;
    relay.hold_back(delay);
    let before = sidecars.usage()?.cpu;
    let begun = Instant::now();
    let times = live(&stand, waves).await?;
    let whole = begun.elapsed().as_secs_f64();
    relay.hold_back(Duration::ZERO);
    sidecars.quiet().await?;
    let usage = sidecars.usage()?;
    let total = waves.volumes * waves.waves;
    let quantiles = times.iter().map(|times| {
        let [median, high] = times.quantiles().map(|time| time.as_secs_f64());
        format!("{median:.2}, {high:.2}")
    });
    Ok(format!(
        "| answers after {delay:?} | {} | {whole:.1} | {} | {:.2} | {:.1} | {} |",
        set.name,
        quantiles.collect::<Vec<_>>().join(" | "),
        usage.cpu - before,
        usage.peak as f64 / f64::from(1 << 20),
        beyond(&sidecars, total).await
    ))
}

/// How many calls were made beyond one for each step of each volume, whatever the answer.
async fn beyond(sidecars: &Sidecars, volumes: usize) -> String {
    let made = sidecars.calls().await;
    let beyond = PHASES.map(|phase| (phase, called(&made, phase.call()) as i64 - volumes as i64));
    let told: Vec<String> = beyond
        .iter()
        .filter(|(_, more)| *more != 0)
        .map(|(phase, more)| format!("{} {more:+}", phase.call()))
        .collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

/// Lets all volumes live. The times of each phase, in the order of [`PHASES`].
async fn live(stand: &Stand, waves: &Waves) -> Result<Vec<Times>> {
    let times: Vec<Times> = PHASES.iter().map(|_| Times::default()).collect();
    let (done, mut seen) = mpsc::unbounded_channel::<(usize, String)>();
    let followers: Vec<_> = PHASES
        .iter()
        .enumerate()
        .map(|(index, &phase)| {
            let done = done.clone();
            phases::follow(phase, stand, move |name| drop(done.send((index, name))))
        })
        .collect();
    let total = waves.volumes * waves.waves;
    let asker = Asker::new(stand, waves.nodes);
    let ask = |index: usize, number: usize| {
        let (asker, times) = (asker.clone(), times.get(index).cloned().unwrap_or_default());
        let phase = PHASES.get(index).copied();
        async move {
            let Some(phase) = phase else { return };
            if let Err(error) = asker.ask(phase, number, &times).await {
                println!("{} {number}: {error:#}", phase.name());
            }
        }
    };
    let mut next_wave = tokio::time::Instant::now();
    let (mut begun, mut ended, mut steps) = (0, 0, HashSet::new());
    while ended < total {
        let (index, name) = tokio::select! {
            () = sleep_until(next_wave), if begun < total => {
                next_wave += waves.every;
                (begun..begun + waves.volumes).for_each(|number| drop(tokio::spawn(ask(0, number))));
                begun += waves.volumes;
                continue;
            }
            step = timeout(PATIENCE, seen.recv()) => match step {
                Ok(Some(step)) => step,
                _ => bail!("{ended} of {total} volumes have ended, and nothing happens any more"),
            },
        };
        let Some(number) = phases::number(&name) else { continue };
        // An object is seen more than once after the step.
        if !steps.insert((index, number)) {
            continue;
        }
        if let Some(times) = times.get(index) {
            times.done(name);
        }
        if index + 1 == PHASES.len() {
            ended += 1;
        } else {
            tokio::spawn(ask(index + 1, number));
        }
    }
    followers.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(times)
}

//! Two faults in one run: a seeded sample, since there are too many pairs to try them all.
//!
//! A run with the first fault alone shows which steps follow it; the second is one that can happen at one of them. It often
//! comes a few steps after the first, while the process still recovers.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use tonic::Code;

use super::{Planned, Run, Scenario, difference, in_parallel, run, whole};
use crate::seeds::{self, seeds};
use crate::steps::{Fault, Step};

/// How it went.
#[derive(Debug)]
pub struct PairReport {
    /// How many pairs were tried, one a run.
    pub runs: usize,
    /// In how many of them both faults happened and had an effect.
    pub both: usize,
    /// What went wrong, run by run; empty is what we want.
    pub failures: Vec<String>,
}

/// The faults that a sidecar's life is tried with, two at a time.
const FAULTS: [Fault; 11] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::LoseReply,
    Fault::ApiError(500),
    Fault::ApiError(429),
    Fault::Conflict,
    Fault::Rpc(Code::Unavailable),
    Fault::Rpc(Code::Internal),
    Fault::Delay(Duration::from_secs(30)),
    Fault::BreakWatches,
    Fault::RestartDriver,
];

/// Tries `usual` pairs of faults in a sidecar's life, or those that [`seeds::VARIABLE`] asks for; panics with all that went
/// wrong.
///
/// # Panics
/// When the undisturbed run fails, or a disturbed run ends otherwise than that one, or in more than a quarter of the runs
/// one of the faults did not happen or had no effect.
#[allow(clippy::panic)]
pub fn in_pairs(scenario: &Scenario, usual: u64) {
    let report = explore_pairs(scenario, &FAULTS, usual);
    println!("{} runs with two faults planned, {} of them with both", report.runs, report.both);
    if report.failures.is_empty() {
        assert!(4 * report.both >= 3 * report.runs, "too few runs had both their faults: {report:?}");
        return;
    }
    let shown: Vec<&str> = report.failures.iter().take(10).map(String::as_str).collect();
    panic!(
        "{} of {} runs with two faults ended otherwise than the undisturbed one ({}=N..N+1 repeats one):\n\n{}",
        report.failures.len(),
        report.runs,
        seeds::VARIABLE,
        shown.join("\n\n"),
    );
}

/// As [`in_pairs`], with these faults, and all is only reported.
///
/// # Panics
/// When the undisturbed run fails.
pub fn explore_pairs(scenario: &Scenario, faults: &[Fault], usual: u64) -> PairReport {
    let plain = whole(scenario);
    let seeds: Vec<u64> = seeds(usual).collect();
    let done = in_parallel(&seeds, |seed| {
        let planned = pair(scenario, *seed, &plain.steps, faults);
        let run = run(scenario, &planned);
        (run.fired == 2, judge(*seed, &plain.state, &run, &planned))
    });
    PairReport {
        runs: done.len(),
        both: done.iter().filter(|(both, _)| *both).count(),
        failures: done.into_iter().filter_map(|(_, failure)| failure).collect(),
    }
}

/// The pair of this seed, for a life with these steps.
fn pair(scenario: &Scenario, seed: u64, steps: &[Step], faults: &[Fault]) -> Vec<Planned> {
    const NEAR: usize = 6;
    let mut rng = Rng::with_seed(seed);
    let Some(first) = one_of(&mut rng, steps, 0, faults) else { return Vec::new() };
    let after = run(scenario, std::slice::from_ref(&first)).steps;
    let end = if rng.bool() { after.len().min(first.0 + NEAR) } else { after.len() };
    let second = one_of(&mut rng, after.get(..end).unwrap_or(&after), first.0, faults);
    std::iter::once(first).chain(second).collect()
}

/// A fault that can happen at one of `steps`, the first `from` left out.
fn one_of(rng: &mut Rng, steps: &[Step], from: usize, faults: &[Fault]) -> Option<Planned> {
    if from >= steps.len() {
        return None;
    }
    let number = rng.usize(from + 1..=steps.len());
    let step = steps.get(number - 1)?;
    let fitting: Vec<&Fault> = faults.iter().filter(|fault| fault.is_for(step)).collect();
    Some((number, (*rng.choice(fitting)?).clone()))
}

/// What is wrong with a run, if anything.
fn judge(seed: u64, plain: &BTreeMap<String, Value>, run: &Run, planned: &[Planned]) -> Option<String> {
    let wrong = match &run.failure {
        Some(failure) => failure.clone(),
        None => difference(plain, &run.state)?,
    };
    let told: Vec<String> = planned
        .iter()
        .map(|(number, fault)| {
            let step = run.steps.get(number - 1).map_or_else(|| "no step".to_owned(), Step::to_string);
            format!("{fault:?} at step {number} ({step})")
        })
        .collect();
    Some(format!("seed {seed}: {}:\n{wrong}", told.join(" and ")))
}

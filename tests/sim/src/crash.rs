//! Kills the process under test before and after every single thing that it asks of the outside, and looks whether the
//! world ends as it does when nothing goes wrong.
//!
//! All points are enumerated, none is sampled; pairs of faults are ([`in_pairs`]). Each run has a runtime and a paused clock of its own, so thousands of
//! virtual minutes take seconds. Call from a plain `#[test]`: a runtime within a runtime is not possible.

mod pairs;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

use crate::api::admission;
use crate::driver::Settings;
use crate::steps::{Fault, Step};
use crate::world::{Process, World, message_of};

pub use pairs::{PairReport, explore_pairs, in_pairs};

/// A fault, and the number of the step at which it is to happen.
type Planned = (usize, Fault);
type Prepare = Arc<dyn Fn(&World) + Send + Sync>;
type Script = Arc<dyn Fn(World) -> BoxFuture<'static, ()> + Send + Sync>;
type Check = Arc<dyn Fn(&World) -> Result<(), String> + Send + Sync>;

/// A life of the cluster with the process under test in it.
#[derive(Clone)]
pub struct Scenario {
    settings: Settings,
    prepare: Prepare,
    process: Process,
    script: Script,
    check: Check,
    pause: Duration,
    quiet: Duration,
    left_out: Option<&'static str>,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scenario").field("pause", &self.pause).field("quiet", &self.quiet).finish()
    }
}

impl Scenario {
    /// `process` is the process under test: it takes its client and connection from the world that it is given, and is
    /// called anew after each crash. `script` is what users do and wait for; it may panic when something does not come.
    pub fn new<P, F, S, G>(process: P, script: S) -> Scenario
    where
        P: Fn(World) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
        S: Fn(World) -> G + Send + Sync + 'static,
        G: Future<Output = ()> + Send + 'static,
    {
        Scenario {
            settings: Settings::default(),
            prepare: Arc::new(|_| {}),
            process: Arc::new(move |world| Box::pin(process(world))),
            script: Arc::new(move |world| Box::pin(script(world))),
            check: Arc::new(|_| Ok(())),
            pause: Duration::from_secs(1),
            quiet: Duration::from_secs(10),
            left_out: None,
        }
    }

    /// How the driver presents itself.
    pub fn driver(mut self, settings: Settings) -> Scenario {
        self.settings = settings;
        self
    }

    /// What is there before the process starts.
    pub fn prepare(mut self, prepare: impl Fn(&World) + Send + Sync + 'static) -> Scenario {
        self.prepare = Arc::new(prepare);
        self
    }

    /// What must hold at the end of every run, beside the end state: the message says what does not.
    pub fn check(mut self, check: impl Fn(&World) -> Result<(), String> + Send + Sync + 'static) -> Scenario {
        self.check = Arc::new(check);
        self
    }

    /// How long after a crash the process is started again: 1 s unless set.
    pub fn restart_after(mut self, pause: Duration) -> Scenario {
        self.pause = pause;
        self
    }

    /// A field of the objects, as a JSON pointer, in which runs may differ.
    pub fn leave_out(mut self, pointer: &'static str) -> Scenario {
        self.left_out = Some(pointer);
        self
    }

    /// How long to let things settle after the script: 10 s unless set.
    pub fn quiet(mut self, quiet: Duration) -> Scenario {
        self.quiet = quiet;
        self
    }
}

/// How it went.
#[derive(Debug)]
pub struct Report {
    /// The steps of the undisturbed run.
    pub steps: Vec<Step>,
    /// How many runs were made.
    pub runs: usize,
    /// How many of them had their fault. The others ended before they came to it, or it could not happen at that step.
    pub fired: usize,
    /// What went wrong, run by run; empty is what we want.
    pub failures: Vec<String>,
}

/// How one run went.
struct Run {
    state: BTreeMap<String, Value>,
    steps: Vec<Step>,
    /// How many of the planned faults happened.
    fired: usize,
    failure: Option<String>,
}

/// Crashes everywhere, before and after; panics with all that went wrong.
///
/// # Panics
/// When the undisturbed run fails, or a disturbed run ends otherwise than that one.
pub fn everywhere(scenario: &Scenario) -> Report {
    at_each_step(scenario, &[Fault::CrashBefore, Fault::CrashAfter])
}

/// Each of `faults` at every step, one fault a run; panics with all that went wrong.
///
/// # Panics
/// When the undisturbed run fails, or a disturbed run ends otherwise than that one.
#[allow(clippy::panic)]
pub fn at_each_step(scenario: &Scenario, faults: &[Fault]) -> Report {
    let report = explore(scenario, faults);
    assert!(report.fired > 0 || faults.is_empty(), "the process under test made no step: nothing was tested");
    println!("{} runs, {} of them with their fault, {} steps", report.runs, report.fired, report.steps.len());
    if report.failures.is_empty() {
        return report;
    }
    let mut text = format!(
        "{} of {} runs ended otherwise than the undisturbed one:",
        report.failures.len(),
        report.runs
    );
    for failure in report.failures.iter().take(10) {
        let _ = write!(text, "\n\n{failure}");
    }
    text.push_str("\n\nThe steps of the undisturbed run:");
    for (index, step) in report.steps.iter().enumerate() {
        let _ = write!(text, "\n{:4} {step}", index + 1);
    }
    panic!("{text}")
}

/// As [`at_each_step`], but the failures are only reported.
///
/// # Panics
/// When the undisturbed run fails.
pub fn explore(scenario: &Scenario, faults: &[Fault]) -> Report {
    let plain = whole(scenario);
    let one = |(number, fault): &Planned| {
        let run = run(scenario, &[(*number, fault.clone())]);
        (run.steps.len() >= *number, run.fired > 0, judge(&plain.state, &run, *number, fault))
    };
    let at = |number: usize| faults.iter().map(move |fault| (number, fault.clone()));
    let points: Vec<Planned> = (1..=plain.steps.len()).flat_map(at).collect();
    let mut done = in_parallel(&points, one);
    // A disturbed run may be longer than the undisturbed one, but a fault past its end cannot happen.
    for number in plain.steps.len() + 1.. {
        let further: Vec<_> = at(number).map(|point| one(&point)).collect();
        let reached = further.iter().any(|(reached, ..)| *reached);
        done.extend(further);
        if !reached {
            break;
        }
    }
    Report {
        steps: plain.steps,
        runs: done.len(),
        fired: done.iter().filter(|(_, fired, _)| *fired).count(),
        failures: done.into_iter().filter_map(|(.., failure)| failure).collect(),
    }
}

/// The undisturbed run.
#[allow(clippy::panic)]
fn whole(scenario: &Scenario) -> Run {
    let plain = run(scenario, &[]);
    if let Some(failure) = plain.failure {
        panic!("the undisturbed run failed: {failure}");
    }
    plain
}

/// What `one` gives for each of `points`, in their order, worked out on all cores.
fn in_parallel<P: Sync, T: Send>(points: &[P], one: impl Fn(&P) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(point) = points.get(index) else { break };
                    let result = one(point);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// What is wrong with a run, if anything.
fn judge(plain: &BTreeMap<String, Value>, run: &Run, number: usize, fault: &Fault) -> Option<String> {
    let step = run.steps.get(number - 1).map_or_else(|| "no step".to_owned(), Step::to_string);
    let wrong = match &run.failure {
        Some(failure) => failure.clone(),
        None => difference(plain, &run.state)?,
    };
    Some(format!("{fault:?} at step {number} ({step}):\n{wrong}"))
}

/// One run with these faults.
fn run(scenario: &Scenario, faults: &[Planned]) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Some(format!("no runtime: {error}"));
            return Run { state: BTreeMap::new(), steps: Vec::new(), fired: 0, failure };
        }
    };
    let world = runtime.block_on(async { World::new(scenario.settings.clone()) });
    // Random pauses are the same whenever the run is repeated, and others in another run.
    fastrand::seed(faults.iter().fold(0, |seed, (number, _)| 1000 * seed + *number as u64));
    for (number, fault) in faults {
        world.steps.plan(*number, fault.clone());
    }
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(play(scenario, &world))));
    let failure = ended.unwrap_or_else(|panic| Some(message_of(panic.as_ref())));
    let (mut state, steps) = (world.end_state(), world.steps.taken());
    if let Some(pointer) = scenario.left_out {
        state.values_mut().for_each(|object| admission::remove_at(object, pointer));
    }
    Run { state, steps, fired: world.steps.fired().len(), failure }
}

/// The scenario from beginning to end; gives what went wrong.
async fn play(scenario: &Scenario, world: &World) -> Option<String> {
    /// Virtual time after which a script is taken to hang.
    const LIMIT: Duration = Duration::from_secs(4 * 3600);
    (scenario.prepare)(world);
    let running = world.keep_running(scenario.pause, scenario.process.clone());
    if tokio::time::timeout(LIMIT, (scenario.script)(world.clone())).await.is_err() {
        return Some("the script does not end".to_owned());
    }
    tokio::time::sleep(scenario.quiet).await;
    let panics = running.panics();
    running.stop();
    if !panics.is_empty() {
        return Some(format!("the process panicked: {}", panics.join("; ")));
    }
    if let overlaps @ [_, ..] = world.driver.overlaps().as_slice() {
        return Some(format!("calls about the same volume at the same time: {}", overlaps.join(", ")));
    }
    (scenario.check)(world).err()
}

/// Where two end states differ; `None` when they do not.
fn difference(expected: &BTreeMap<String, Value>, found: &BTreeMap<String, Value>) -> Option<String> {
    let mut text = String::new();
    for (name, object) in expected {
        match found.get(name) {
            None => {
                let _ = writeln!(text, "  missing: {name}");
            }
            Some(other) => compare(&mut text, name, object, other),
        }
    }
    for name in found.keys().filter(|name| !expected.contains_key(*name)) {
        let _ = writeln!(text, "  too much: {name}");
    }
    (!text.is_empty()).then_some(text)
}

/// Writes where two values differ, field by field.
fn compare(text: &mut String, place: &str, expected: &Value, found: &Value) {
    match (expected, found) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one.keys().chain(other.keys().filter(|key| !one.contains_key(*key))) {
                let nothing = Value::Null;
                let (one, other) = (one.get(key).unwrap_or(&nothing), other.get(key).unwrap_or(&nothing));
                compare(text, &format!("{place} {key}"), one, other);
            }
        }
        _ if expected == found => {}
        _ => {
            let _ = writeln!(text, "  {place}: {expected} undisturbed, {found} now");
        }
    }
}

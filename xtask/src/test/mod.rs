//! `cargo xtask test`: format, lints, house rules, then every test that the machine allows.
//!
//! What was left out is listed at the end, with the reason and how to have it. As root, which CI is, no test may be left
//! out for want of rights or of a control plane: that is a failure (see [`cluster::skip`]). Other people's checkers
//! (cargo-deny, promtool) are set up where that can be done ([`checkers`], [`cluster::prometheus`]), and otherwise only missed.
//!
//! A test of a `tests` folder that fails is run once more ([`once_more`]).
//!
//! The last line is always `N passed, N failed`, summed over all test binaries; the exit code is 0 only if nothing failed
//! at all, the format and the lints included.

mod checkers;
mod once_more;
mod output;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use cluster::binaries::{BinariesError, Binary, Progress, ensure};
use cluster::built::{cargo, statically};
use output::Tally;

/// Tests that need a control plane, where there can be none: whole packages, and tests by name elsewhere.
const CLUSTER_PACKAGES: &[&str] = &["cluster", "conformance", "bench"];
const CLUSTER_TESTS: &[&str] = &["answers_as_the_real_one_does"];
/// Set for the tests that compare our protocol files with the official ones, which come by Go: they say what they left out.
const NO_OFFICIAL_PROTOCOL: &str = "MOORING_SKIP_OFFICIAL_PROTOCOL";

/// What was left out: what, why, and how to have it.
struct Skipped(Vec<String>);

impl Skipped {
    fn add(&mut self, what: &str, why: &str, how: &str) {
        self.0.push(format!("{what}: {why}; {how}"));
    }
}

/// Whether no test may be left out.
fn skips_nothing() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs everything.
pub(crate) fn run() -> ExitCode {
    let started = Instant::now();
    let mut skipped = Skipped(Vec::new());
    let mut broken = Vec::new();
    eprintln!("== format");
    if !succeeds(cargo().args(["fmt", "--all", "--", "--check"])) {
        broken.push("the format is off: cargo fmt --all".to_owned());
    }
    let mut clippy = cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]);
    eprintln!("== lints");
    if !succeeds(&mut clippy) {
        broken.push("clippy has complaints (above)".to_owned());
    }
    tidy(&mut broken);
    deny(&mut skipped, &mut broken);
    let with_cluster = binaries(&mut skipped, &mut broken);
    if with_cluster {
        real_node(&mut broken);
        ceph();
    }
    let (tally, passed_again) = tests(with_cluster, &mut broken);
    report(&tally, &passed_again, &skipped, &broken, started)
}

fn succeeds(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("{} cannot run: {error}", command.get_program().display());
            false
        }
    }
}

/// The house rules (see [`crate::tidy`]).
fn tidy(broken: &mut Vec<String>) {
    eprintln!("== house rules");
    match crate::tidy::is_tidy() {
        Ok(true) => {}
        Ok(false) => broken.push("something is against the house rules (above): cargo xtask tidy".to_owned()),
        Err(error) => broken.push(format!("the house rules cannot be checked: {error:#}")),
    }
}

/// Licences and sources of dependencies. Advisories need a database from the network and are a recipe of their own.
fn deny(skipped: &mut Skipped, broken: &mut Vec<String>) {
    eprintln!("== dependencies");
    match checkers::deny() {
        Ok(mut deny) => {
            if !succeeds(deny.args(["check", "bans", "licenses", "sources"])) {
                broken.push("cargo deny has complaints (above)".to_owned());
            }
        }
        Err(error) => {
            let how = "cargo install --locked cargo-deny";
            skipped.add("licences, bans and sources of dependencies", &format!("{error:#}"), how);
        }
    }
}

/// Builds the control plane's binaries before the tests, where the wait can be seen. Whether there can be a cluster.
fn binaries(skipped: &mut Skipped, broken: &mut Vec<String>) -> bool {
    eprintln!("== control plane");
    match ensure(&Binary::TESTS, &Progress::auto()) {
        Ok(_) => true,
        Err(error @ BinariesError::NoGo { .. }) if skips_nothing() => {
            eprintln!("{error}");
            broken.push(
                "there is no Go to build a control plane with, and root may leave nothing out".to_owned(),
            );
            false
        }
        Err(BinariesError::NoGo { .. }) => {
            let how = "install Go 1.26 or newer (https://go.dev/dl), or name a folder with the binaries in MOORING_KUBE_BIN";
            skipped.add(
                "everything on a real control plane, and csi-sanity",
                "there is no Go to build Kubernetes with",
                how,
            );
            false
        }
        Err(error) => {
            eprintln!("{error}");
            broken.push("there is no control plane to test on (above)".to_owned());
            false
        }
    }
}

/// Sets up what a real node needs, where that can be done; tests that miss it say so themselves.
fn real_node(broken: &mut Vec<String>) {
    if !cluster::node::install() {
        return;
    }
    eprintln!("== real node");
    let built = ensure(&[Binary::Kubelet], &Progress::auto()).map_err(|error| error.to_string());
    let built = built.and_then(|_| statically::for_images().map_err(|error| error.to_string()));
    if let Err(error) = built {
        eprintln!("{error}");
        broken.push("there is nothing to make a real node of (above)".to_owned());
    }
}

/// What there is to test with.
struct Means {
    /// A control plane.
    cluster: bool,
    /// Go. There can be a control plane without it: somebody else's binaries.
    go: bool,
    /// No test may be left out.
    skips_nothing: bool,
}

fn has_go() -> bool {
    let version = Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// What runs all tests that can be run.
fn test_command(with: &Means) -> Command {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if !with.cluster {
        command.args(CLUSTER_PACKAGES.iter().flat_map(|package| ["--exclude", package]));
    }
    set_means(&mut command, with);
    // The output of tests that pass is asked for because it says what they left out; it is not shown.
    command.args(["--", "--show-output"]);
    if !with.cluster {
        command.args(CLUSTER_TESTS.iter().flat_map(|test| ["--skip", test]));
    }
    command
}

/// Installs a Ceph to test the driver on, where that can be done; tests that miss it say so themselves.
fn ceph() {
    if cluster::ceph::lack().is_some() {
        eprintln!("== Ceph");
        cluster::ceph::install();
    }
}

/// Tells the tests what they may leave out.
fn set_means(command: &mut Command, with: &Means) {
    if !with.cluster || !(with.go || with.skips_nothing) {
        command.env(NO_OFFICIAL_PROTOCOL, "1");
    }
    if with.skips_nothing {
        command.env(cluster::skip::NOTHING, "1");
    }
}

/// Runs all tests, and once more what failed on real parts; shows each result as it comes.
fn tests(with_cluster: bool, broken: &mut Vec<String>) -> (Tally, Vec<String>) {
    eprintln!("== tests");
    let means = Means { cluster: with_cluster, go: has_go(), skips_nothing: skips_nothing() };
    let mut tally = read_tests(test_command(&means), broken);
    let names = once_more::candidates(&tally);
    if names.is_empty() || !with_cluster {
        return (tally, Vec::new());
    }
    eprintln!("== once more");
    let mut command = cargo();
    set_means(&mut command, &means);
    once_more::of(&mut command, names);
    let second = read_tests(command, broken);
    let passed = once_more::settle(&mut tally, &second);
    (tally, passed)
}

/// Runs this `cargo test`.
fn read_tests(mut command: Command, broken: &mut Vec<String>) -> Tally {
    // A test that misses promtool says so itself.
    let programs = cluster::prometheus::programs().map_err(anyhow::Error::from);
    match programs.and_then(|folder| checkers::path_with(folder.as_slice())) {
        Ok(path) => {
            command.env("PATH", path);
        }
        Err(error) => eprintln!("no promtool: {error:#}"),
    }
    let mut tally = Tally::default();
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            broken.push(format!("cargo test cannot run: {error}"));
            return tally;
        }
    };
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            if tally.read(&line) {
                println!("{line}");
            }
        }
    }
    tally.end();
    broken.extend(tally.died.iter().cloned());
    match child.wait() {
        Ok(status) if status.success() => {}
        Ok(_) if tally.failed > 0 => {}
        Ok(status) => broken.push(format!(
            "cargo test ended with {status}: something does not compile, or a test binary did not begin"
        )),
        Err(error) => broken.push(format!("cargo test cannot be waited for: {error}")),
    }
    tally
}

fn report(
    tally: &Tally,
    passed_again: &[String],
    skipped: &Skipped,
    broken: &[String],
    started: Instant,
) -> ExitCode {
    println!("\n== {} s", started.elapsed().as_secs());
    for line in &skipped.0 {
        println!("left out: {line}");
    }
    for (why, whats) in &tally.skipped {
        let whats: Vec<&str> = whats.iter().map(String::as_str).collect();
        println!("left out: {}: {why}", whats.join(", "));
    }
    for line in &tally.panics {
        println!("    {line}");
    }
    for name in passed_again {
        println!("passed only when run again: {name}");
    }
    for name in &tally.failures {
        println!("failed: {name}");
    }
    for what in broken {
        println!("broken: {what}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 && broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsStr;

    use super::*;

    fn compares_protocols(command: &Command) -> bool {
        !command.get_envs().any(|(name, value)| name == NO_OFFICIAL_PROTOCOL && value.is_some())
    }

    #[test]
    fn without_a_control_plane_nothing_that_needs_go_is_run() {
        let command = test_command(&Means { cluster: false, go: false, skips_nothing: false });
        let args: BTreeSet<_> = command.get_args().filter_map(OsStr::to_str).collect();
        assert!(
            CLUSTER_PACKAGES.iter().chain(CLUSTER_TESTS).all(|left_out| args.contains(left_out)),
            "{args:?}"
        );
        assert!(!compares_protocols(&command));
    }

    #[test]
    fn with_a_control_plane_everything_is_run() {
        let command = test_command(&Means { cluster: true, go: true, skips_nothing: true });
        let args: Vec<_> = command.get_args().filter_map(OsStr::to_str).collect();
        assert_eq!(args, ["test", "--workspace", "--no-fail-fast", "--", "--show-output"]);
        assert!(compares_protocols(&command));
    }

    #[test]
    fn without_go_protocols_are_compared_if_skips_are_forbidden() {
        for (skips_nothing, compares) in [(false, false), (true, true)] {
            let command = test_command(&Means { cluster: true, go: false, skips_nothing });
            assert_eq!(compares_protocols(&command), compares);
        }
    }
}

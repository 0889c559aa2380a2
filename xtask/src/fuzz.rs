//! `cargo xtask fuzz`: every target of `fuzz/` under cargo-fuzz, one after the other.
//!
//! It needs a nightly compiler (`rustup toolchain install nightly`). What the targets do is in `tests/inputs`, which also
//! runs in CI. The inputs that reach new code are kept in our cache, so that the next run goes on from there.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use cluster::binaries::cache_folder;
use cluster::built::cargo;

use crate::tool::{built, root};

/// The release of cargo-fuzz that is set up.
const FUZZ: &str = "0.13.2";
/// How long each target is run, unless the command says.
const SECONDS: u32 = 60;

/// Runs the targets whose name contains `only`, for this many seconds each. Fails when one of them found something.
pub(crate) fn run(words: &[&str]) -> ExitCode {
    let asked = match words {
        [] => Some((SECONDS, "")),
        ["--seconds", number] => number.parse().ok().map(|seconds| (seconds, "")),
        ["--seconds", number, only] => number.parse().ok().map(|seconds| (seconds, *only)),
        _ => None,
    };
    let Some((seconds, only)) = asked else {
        eprintln!("usage: cargo xtask fuzz [--seconds N [PART OF A TARGET'S NAME]]");
        return ExitCode::from(2);
    };
    match all(seconds, only) {
        Ok(found) if found.is_empty() => ExitCode::SUCCESS,
        Ok(found) => {
            println!("something was found by: {}", found.join(", "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The names of the targets that found something.
fn all(seconds: u32, only: &str) -> Result<Vec<String>> {
    let executable = built("cargo-fuzz", FUZZ)?;
    let corpora = cache_folder()?.join("fuzz");
    let targets = seed(&corpora)?;
    let mut found = Vec::new();
    for target in targets.lines().filter(|target| target.contains(only)) {
        eprintln!("== {target}: {seconds} s");
        let mut command = on_nightly(&executable);
        // There is no unsafe code in what is run, so no sanitizer slows it down.
        command.args(["run", "--sanitizer", "none", target]).arg(corpora.join(target));
        command.args(["--", "-print_final_stats=1", "-verbosity=0", "-rss_limit_mb=4096"]);
        command.arg(format!("-max_total_time={seconds}"));
        if !command.status().context("cargo-fuzz cannot run")?.success() {
            found.push(target.to_owned());
        }
    }
    Ok(found)
}

/// Gives every target its first inputs; returns the targets' names, one a line.
fn seed(corpora: &Path) -> Result<String> {
    let mut seeds = cargo();
    seeds.args(["run", "--quiet", "--package", "inputs", "--example", "seeds", "--"]).arg(corpora);
    let output = seeds.stderr(std::process::Stdio::inherit()).output().context("cargo cannot run")?;
    if !output.status.success() {
        bail!("the first inputs cannot be written (above)");
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// cargo-fuzz with the nightly compiler. We are run by cargo with another one, and it must not learn of that.
fn on_nightly(executable: &Path) -> Command {
    let mut command = Command::new(executable);
    command.arg("fuzz").current_dir(root()).env("RUSTUP_TOOLCHAIN", "nightly");
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "CARGO_MANIFEST_DIR"] {
        command.env_remove(variable);
    }
    command
}

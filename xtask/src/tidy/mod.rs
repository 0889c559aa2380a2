//! `cargo xtask tidy`: the house rules that no other tool knows.
//!
//! Each rule is a function from the repository's files to its complaints, in a file of its own, with a test that shows it
//! complain. `cargo xtask test` runs them all.

mod circles;
mod complaint;
mod differences;
mod exports;
mod imports;
mod modules;
mod names;
mod node_side;
mod pure;
mod references;
mod size;
mod source;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use complaint::Complaint;
use source::Source;

/// Each rule that needs nothing but the files, by what it asks for.
type Rule = fn(&[Source]) -> Vec<Complaint>;
const RULES: &[(&str, Rule)] = &[
    ("files have at most 400 lines", size::check),
    ("decisions neither wait nor look at a clock", pure::check),
    ("what comments cite is there", references::check),
    ("imports have no circle", circles::check),
    ("a sidecar's lib.rs is a narrow door", exports::check),
    ("docs/differences.md is current", differences::check),
];

/// Checks every rule and prints what is against it. Whether all is well.
pub(crate) fn is_tidy() -> Result<bool> {
    let files = source::files()?;
    let mut results: Vec<(&str, Vec<Complaint>)> =
        RULES.iter().map(|(what, rule)| (*what, rule(&files))).collect();
    results.push(("the node's side knows no Kubernetes client", node_side::check(&files)?));
    for (what, complaints) in results.iter().filter(|(_, complaints)| !complaints.is_empty()) {
        eprintln!("against the rule that {what}:");
        for complaint in complaints {
            eprintln!("  {complaint}");
        }
    }
    let long = names::check(&files);
    if !long.is_empty() {
        eprintln!("{} test names are too long (cargo xtask tidy --names lists them)", long.len());
    }
    Ok(results.iter().all(|(_, complaints)| complaints.is_empty()))
}

/// `cargo xtask tidy`.
pub(crate) fn run() -> ExitCode {
    match is_tidy() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

/// `cargo xtask tidy --names`: every test name that is too long. A list to work through, not a failure.
pub(crate) fn long_names() -> ExitCode {
    match source::files() {
        Ok(files) => {
            names::check(&files).iter().for_each(|complaint| println!("{complaint}"));
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// `cargo xtask differences`: writes the page anew.
pub(crate) fn write_differences() -> ExitCode {
    let written = source::files().and_then(|files| {
        let path = source::root().join(differences::PAGE);
        let folder = path.parent().context("the page has no folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        std::fs::write(&path, differences::page(&files))
            .with_context(|| format!("cannot write {}", path.display()))
    });
    match written {
        Ok(()) => {
            println!("wrote {}", differences::PAGE);
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("{error:#}");
    ExitCode::FAILURE
}

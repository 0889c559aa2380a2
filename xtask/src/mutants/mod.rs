//! `cargo xtask mutants`: breaks the code in every way that cargo-mutants knows, one way at a time, and counts how often a
//! test notices. At least 90 % must be noticed. Survivors that we know are in docs/mutants.md, with the reason.
//!
//! It works in a copy of the tree, and takes hours: it is a command of its own.

mod part;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use cluster::binaries::cache_folder;

use crate::tool::{built, root};
use part::{PARTS, Part};

/// The release of cargo-mutants that is set up.
const MUTANTS: &str = "27.1.0";
/// What is not tried: `^` in place of `|`. Where we use `|` on flags, they have no bit in common, so both are the same.
const SAME: &str = r"replace \| with \^";
/// How many of a hundred mutants must be noticed.
const ENOUGH: usize = 90;

/// What became of the mutants of a part.
#[derive(Debug, Default, PartialEq, Eq)]
struct Score {
    /// A test failed, or did not end.
    caught: usize,
    /// As cargo-mutants names them.
    survivors: Vec<String>,
}

impl Score {
    /// Whether enough were caught. There must have been some.
    fn is_enough(&self) -> bool {
        let all = self.caught + self.survivors.len();
        all > 0 && 100 * self.caught >= ENOUGH * all
    }
}

/// Runs the named parts, or all of them.
pub(crate) fn run(words: &[&str]) -> ExitCode {
    if let Some(unknown) = words.iter().find(|word| !PARTS.iter().any(|part| part.name == **word)) {
        let known: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        eprintln!("there is no part `{unknown}`: {}", known.join(", "));
        return ExitCode::from(2);
    }
    match parts(words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether enough mutants of each part were caught.
fn parts(names: &[&str]) -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let tool = Tool {
        executable: built("cargo-mutants", MUTANTS)?,
        target: cache_folder()?.join("mutants"),
        output: folder.path().to_owned(),
    };
    let mut enough = true;
    for part in PARTS.iter().filter(|part| names.is_empty() || names.contains(&part.name)) {
        eprintln!("== {}", part.name);
        let score = tool.judge(part)?;
        for survivor in &score.survivors {
            println!("survived: {survivor}");
        }
        println!("{}: {} caught, {} survived", part.name, score.caught, score.survivors.len());
        enough &= score.is_enough();
    }
    Ok(enough)
}

/// cargo-mutants, and where it works.
struct Tool {
    executable: PathBuf,
    /// The target folder of all runs, so that dependencies are built once.
    target: PathBuf,
    /// Where the results go.
    output: PathBuf,
}

impl Tool {
    /// Asks one judge after the other, each only about what all before it missed.
    fn judge(&self, part: &Part) -> Result<Score> {
        let mut score = Score::default();
        for (number, judge) in part.judges.iter().enumerate() {
            if number > 0 && score.survivors.is_empty() {
                break;
            }
            let output = self.output.join(format!("{}-{number}", part.name));
            let mut command = self.command(part);
            command.args(["--timeout", &judge.patience().to_string()]);
            command.arg("--output").arg(&output);
            for survivor in &score.survivors {
                command.args(["--re", &exactly(survivor)]);
            }
            command.args(judge.when_building().map(|argument| format!("--cargo-arg={argument}")));
            command.arg("--").args(judge.when_testing());
            // Survivors make it fail; whether it worked at all is seen by what it wrote.
            command.status().context("cargo-mutants cannot run")?;
            let judged = read(&output.join("mutants.out"))?;
            score = Score { caught: score.caught + judged.caught, survivors: judged.survivors };
        }
        Ok(score)
    }

    fn command(&self, part: &Part) -> Command {
        let mut command = Command::new(&self.executable);
        command.args([
            "mutants",
            "--no-shuffle",
            "--jobs",
            "1",
            "--build-timeout",
            "600",
            "--exclude-re",
            SAME,
        ]);
        command.args(part.files.iter().flat_map(|files| ["--file", files]));
        command.current_dir(root()).env("CARGO_INCREMENTAL", "1").env("CARGO_TARGET_DIR", &self.target);
        command
    }
}

/// A pattern for this name and no other.
fn exactly(name: &str) -> String {
    let escaped = name.chars().flat_map(|letter| {
        let means_something = r"\.+*?()|[]{}^$#&-~".contains(letter);
        means_something.then_some('\\').into_iter().chain([letter])
    });
    format!("^{}$", escaped.collect::<String>())
}

/// What cargo-mutants wrote. What it could not build counts neither way.
fn read(folder: &Path) -> Result<Score> {
    let lines = |name: &str| -> Result<Vec<String>> {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let (caught, timeout) = (lines("caught.txt")?, lines("timeout.txt")?);
    let score = Score { caught: caught.len() + timeout.len(), survivors: lines("missed.txt")? };
    if score == Score::default() {
        bail!("cargo-mutants tried nothing: the tests fail without a mutant, or there is none");
    }
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(caught: usize, survived: usize) -> Score {
        Score { caught, survivors: vec![String::new(); survived] }
    }

    #[test]
    fn nine_of_ten_are_enough() {
        assert!(score(9, 1).is_enough() && score(1, 0).is_enough());
        assert!(!score(89, 11).is_enough() && !score(0, 0).is_enough());
    }

    #[test]
    fn what_cargo_mutants_wrote_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("caught.txt", "a\nb\n");
        write("timeout.txt", "c\n");
        write("missed.txt", "");
        assert_eq!(read(folder.path()).unwrap(), score(3, 0));
        write("caught.txt", "");
        write("timeout.txt", "");
        assert!(read(folder.path()).is_err(), "nothing was tried");
    }

    #[test]
    fn a_name_is_a_pattern_for_itself() {
        assert_eq!(exactly("a.rs:1:2: replace + -> é"), r"^a\.rs:1:2: replace \+ \-> é$");
    }
}

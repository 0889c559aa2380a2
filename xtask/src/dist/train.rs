//! `cargo xtask order`: which functions run, for the order in which they stand in the executable.
//!
//! The build that ships is run by valgrind, which notes each function: the node's side, a sidecar and the whole
//! controller while they wait, then the lives of a few volumes on a real control plane, in one process and in three. Run it when much has changed, and at the
//! latest when `bench memory` says more than BENCHMARKS.md. The list is part of the repository, so that every machine builds the same
//! executable.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use cluster::built::cargo;

use super::build::{beside, built, target_folder};
use super::{link, order};

/// What is run, and what of it comes before what.
const TRAININGS: &[(&str, &[&[&str]])] = &[
    ("on each node", &[&["node", "--seconds", "10"]]),
    (
        "while nothing happens",
        &[
            &["memory", "--pairs", "1", "--sidecar", "controller"],
            &["memory", "--pairs", "1", "--sidecar", "csi-attacher"],
        ],
    ),
    ("at work", &[&["lives", "--volumes", "12", "--nodes", "2"]]),
];

/// Runs every training, and writes the list.
///
/// # Errors
/// Something does not build or run.
pub(crate) fn run() -> Result<()> {
    let asked = Command::new("valgrind").arg("--version").output();
    if !asked.is_ok_and(|asked| asked.status.success()) {
        bail!("valgrind is missing, which notes what runs: install it (apt-get install valgrind)");
    }
    let executables = built()?;
    let of = |name: &str| {
        executables.iter().find(|file| file.ends_with(name)).with_context(|| format!("no {name} is built"))
    };
    let (mooring, driver) = (of("mooring")?, of("mooring-driver")?);
    let mooring = beside(mooring, link::WITH_SYMBOLS)
        .context("the linker left no executable with symbols: `cargo xtask dist` says why")?;
    let folder = target_folder()?.join("order");
    let _ = std::fs::remove_dir_all(&folder);
    let mut groups = Vec::new();
    for (what, commands) in TRAININGS {
        let notes = folder.join(what.replace(' ', "-"));
        let program = under_valgrind(&mooring, &notes)?;
        for command in *commands {
            let mut bench = cargo();
            bench.args(["run", "--package", "bench", "--", "--mooring"]).arg(&program);
            bench.arg("--driver").arg(driver).args(*command);
            if !bench.status().context("cargo cannot run")?.success() {
                bail!("bench {} failed (above)", command.join(" "));
            }
        }
        let ran = all(&notes)?;
        println!("{what}: {} functions", ran.len());
        groups.push((*what, ran));
    }
    std::fs::write(link::list(), order::list(&groups)).context("cannot write the list")
}

/// A program called `mooring` that runs `mooring` under valgrind, which writes into `notes` all the while: nobody ends it
/// gently.
fn under_valgrind(mooring: &Path, notes: &Path) -> Result<PathBuf> {
    let folder = notes.join("bin");
    let (real, program) = (notes.join("real"), folder.join("mooring"));
    for folder in [&folder, &real] {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let executable = real.join("mooring");
    std::fs::copy(mooring, &executable).context("the executable with symbols")?;
    let script = format!(
        "#!/bin/sh\nexec valgrind --quiet --tool=callgrind --demangle=no --dump-every-bb=300000 \
         --callgrind-out-file='{}/ran.%p' '{}' \"$@\"\n",
        notes.display(),
        executable.display()
    );
    link::write_program(&program, &script)?;
    Ok(program)
}

/// Every function in the notes of `folder`.
fn all(folder: &Path) -> Result<Vec<String>> {
    let mut ran = BTreeSet::new();
    for file in std::fs::read_dir(folder).context("valgrind wrote nothing")?.flatten() {
        if file.path().is_file() {
            ran.extend(names(&String::from_utf8_lossy(&std::fs::read(file.path())?)));
        }
    }
    if ran.is_empty() {
        bail!("valgrind noted no function");
    }
    Ok(ran.into_iter().collect())
}

/// The functions in a note of callgrind, which names each once: `fn=(NUMBER) NAME`, or `cfn=` where it is called.
fn names(note: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let (_, name) = line.strip_prefix("fn=(").or_else(|| line.strip_prefix("cfn=("))?.split_once(") ")?;
        // A function that calls itself gets `'2`; code without a name has an address.
        let name = name.split('\'').next()?.trim();
        name.starts_with(|first: char| first.is_alphabetic() || first == '_').then(|| name.to_owned())
    };
    note.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_names_each_function_once() {
        let note = "fl=(1) ???\nfn=(1) _RNvC1a1f\n0 1\ncfn=(2) memcpy\ncalls=1 0\nfn=(1)\nfn=(3) _RNvC1a1f'2\nfn=(4) 0x00af\n";
        assert_eq!(names(note).into_iter().collect::<Vec<_>>(), ["_RNvC1a1f", "memcpy"]);
    }
}

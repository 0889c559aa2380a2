//! `cargo xtask dist`: the build that ships, each executable one static file.
//!
//! What it needs beside the toolchain is installed where that needs no asking; otherwise one line says how to have it.

mod build;
mod elf;
mod link;
mod order;
mod train;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

pub(crate) use build::{built, built_for, target_folder};

/// Builds everything that ships, and shows where it is and how large.
pub(crate) fn run() -> ExitCode {
    ended(dist())
}

/// Finds out which functions run, and writes the list that the linker orders them by.
pub(crate) fn order() -> ExitCode {
    ended(train::run())
}

/// Links, as rustc asks.
pub(crate) fn link(arguments: &[&str]) -> ExitCode {
    ended(link::run(arguments))
}

fn ended(how: Result<()>) -> ExitCode {
    match how {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dist() -> Result<()> {
    for file in built()? {
        let order = match build::in_order(&file) {
            0 => "not in order: it needs more memory".to_owned(),
            functions => format!("{functions} functions in order"),
        };
        println!("{}  {order}", weighed(&file)?);
    }
    Ok(())
}

/// One line about an executable.
///
/// # Errors
/// It cannot be read, or is not static.
fn weighed(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    match elf::is_static(&bytes) {
        Some(true) => Ok(format!("{:>6.2} MB  static  {}", megabytes(bytes.len()), file.display())),
        Some(false) => bail!("{} is not static: it names a program interpreter", file.display()),
        None => bail!("{} is no 64-bit little-endian ELF file", file.display()),
    }
}

#[allow(clippy::cast_precision_loss)]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_not_static_and_a_script_is_no_executable() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").expect("written");
        let said = |file: &Path| weighed(file).map_err(|error| error.to_string());
        assert!(said(&script).is_err_and(|why| why.contains("no 64-bit")));
        if cfg!(target_env = "gnu") {
            let this = std::env::current_exe().expect("a path");
            assert!(said(&this).is_err_and(|why| why.contains("is not static")));
        }
    }
}

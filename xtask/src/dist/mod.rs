//! `cargo xtask dist`: the build that ships, each executable one static file.
//!
//! What it needs beside the toolchain is installed where that needs no asking; otherwise one line says how to have it.

mod elf;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use cluster::built::cargo;
use cluster::built::statically::{have_target, target};

/// What ships: each executable and its package.
const EXECUTABLES: &[(&str, &str)] = &[("mooring", "mooring"), ("mooring-driver", "driver"), ("csc", "csc")];

/// Builds everything that ships, and shows where it is and how large.
pub(crate) fn run() -> ExitCode {
    match dist() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dist() -> Result<()> {
    for file in built()? {
        println!("{}", weighed(&file)?);
    }
    Ok(())
}

/// Builds everything that ships; gives the executables in the order of [`EXECUTABLES`].
pub(crate) fn built() -> Result<Vec<PathBuf>> {
    have_target()?;
    let target = target();
    let mut build = cargo();
    build.args(["build", "--profile", "dist", "--target", &target]);
    build.args(EXECUTABLES.iter().flat_map(|(name, package)| ["--package", package, "--bin", name]));
    if !build.status().context("cargo build cannot run")?.success() {
        bail!("it does not build (above)");
    }
    let folder = target_folder()?.join(&target).join("dist");
    Ok(EXECUTABLES.iter().map(|(name, _)| folder.join(name)).collect())
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

/// Where cargo puts what it builds.
fn target_folder() -> Result<PathBuf> {
    let this = std::env::current_exe().context("this executable has no path")?;
    // It runs as TARGET/PROFILE/xtask.
    let folder = this.ancestors().nth(2).context("this executable is in no target folder")?;
    Ok(folder.to_owned())
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

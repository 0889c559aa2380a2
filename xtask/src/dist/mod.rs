//! `cargo xtask dist`: the build that ships, each executable one static file.
//!
//! It needs two things beside the toolchain: Rust's musl target, and a C compiler for musl (ring has C and assembly).
//! Both are installed where that needs no asking; otherwise one line says how to have them.

mod elf;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use cluster::built::cargo;

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
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    have_target(&target)?;
    have_c_compiler(&target)?;
    let mut build = cargo();
    build.args(["build", "--profile", "dist", "--target", &target]);
    build.args(EXECUTABLES.iter().flat_map(|(name, package)| ["--package", package, "--bin", name]));
    if !build.status().context("cargo build cannot run")?.success() {
        bail!("it does not build (above)");
    }
    let folder = target_folder()?.join(&target).join("dist");
    for (name, _) in EXECUTABLES {
        println!("{}", weighed(&folder.join(name))?);
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

/// Makes sure that Rust's standard library for `target` is there.
fn have_target(target: &str) -> Result<()> {
    let mut rustc = Command::new("rustc");
    let asked = rustc.args(["--print", "target-libdir", "--target", target]).output().context("no rustc")?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    if asked.status.success() && libraries.is_dir() {
        return Ok(());
    }
    println!("adding {target} to the toolchain");
    match Command::new("rustup").args(["target", "add", target]).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => bail!("rustup cannot add {target} (above)"),
        Err(_) => bail!(
            "Rust's standard library for {target} is missing, and so is rustup to add it: install either"
        ),
    }
}

/// Makes sure that there is a C compiler for `target`.
fn have_c_compiler(target: &str) -> Result<()> {
    // The variables that ring's build script obeys.
    let chosen = [format!("CC_{target}"), format!("CC_{}", target.replace('-', "_")), "TARGET_CC".to_owned()];
    if chosen.iter().any(|name| std::env::var_os(name).is_some()) || answers("musl-gcc") {
        return Ok(());
    }
    let remedy = format!(
        "musl-gcc is missing, which compiles ring's C code: install it (Debian and Ubuntu: apt-get install musl-tools; \
         Fedora: dnf install musl-gcc), or name another C compiler for musl in {}",
        chosen.get(1).map_or("CC", String::as_str)
    );
    if !rustix::process::geteuid().is_root() || !answers("apt-get") {
        bail!("{remedy}");
    }
    println!("installing musl-tools");
    let installs = || -> Result<bool> {
        let mut apt = Command::new("apt-get");
        apt.args(["install", "--yes", "--no-install-recommends", "musl-tools"]);
        Ok(apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()).status()?.success())
    };
    // A machine that has never updated its lists knows no package.
    let updates = || Command::new("apt-get").args(["update", "--quiet"]).stdout(Stdio::null()).status();
    if installs()? || (updates()?.success() && installs()?) {
        return Ok(());
    }
    bail!("apt-get cannot install musl-tools (above). {remedy}")
}

/// Whether there is a program `name` that runs.
fn answers(name: &str) -> bool {
    let asked = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
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

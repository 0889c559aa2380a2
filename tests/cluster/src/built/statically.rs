//! Static executables of the workspace, for images that have nothing else in them.
//!
//! They need two things beside the toolchain: Rust's musl target, and a C compiler for musl (ring has C and assembly).
//! Both are installed where that needs no asking; otherwise one line says how to have them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::same::same_everywhere;
use super::{BUILDING, BuildError, cargo};
use crate::image::Platform;

/// The platform of static executables on this machine.
pub fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// Makes sure that static executables can be built.
///
/// # Errors
/// Something is missing and cannot be installed; the message has the remedy.
pub fn have_target() -> Result<(), BuildError> {
    let failed = |why: String| BuildError("static executables".to_owned(), why);
    let target = target();
    have_libraries(&target).map_err(failed)?;
    have_c_compiler(&target).map_err(failed)
}

/// Makes sure that executables of another platform than this machine's can be built and run.
///
/// # Errors
/// As [`have_target`].
pub fn have_other(platform: &Platform) -> Result<(), BuildError> {
    let failed = |why: String| BuildError(format!("executables of {}", platform.name()), why);
    have_libraries(platform.target).map_err(failed)?;
    let emulator = ["qemu-user-static"];
    let programs = [(platform.compiler, &platform.packages[..]), (platform.emulator, &emulator[..])];
    for (program, packages) in programs.into_iter().filter(|(program, _)| !answers(program)) {
        let remedy = format!(
            "{program} is missing: install it (Debian and Ubuntu: apt-get install {})",
            packages.join(" ")
        );
        have_packages(packages, &remedy).map_err(failed)?;
    }
    Ok(())
}

/// Whether they can be built as the machine is, without installing anything.
pub fn can_build() -> bool {
    has_libraries(&target()).unwrap_or(false) && has_c_compiler(&target())
}

fn has_libraries(target: &str) -> Result<bool, String> {
    let mut rustc = Command::new("rustc");
    let asked = rustc.args(["--print", "target-libdir", "--target", target]).output();
    let asked = asked.map_err(|error| format!("no rustc: {error}"))?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim());
    Ok(asked.status.success() && libraries.is_dir())
}

/// The variables that ring's build script obeys.
fn compiler_variables(target: &str) -> [String; 3] {
    [format!("CC_{target}"), format!("CC_{}", target.replace('-', "_")), "TARGET_CC".to_owned()]
}

fn has_c_compiler(target: &str) -> bool {
    compiler_variables(target).iter().any(|name| std::env::var_os(name).is_some()) || answers("musl-gcc")
}

/// Makes sure that Rust's standard library for `target` is there.
fn have_libraries(target: &str) -> Result<(), String> {
    if has_libraries(target)? {
        return Ok(());
    }
    println!("adding {target} to the toolchain");
    match Command::new("rustup").args(["target", "add", target]).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!("rustup cannot add {target} (above)")),
        Err(_) => Err(format!(
            "Rust's standard library for {target} is missing, and so is rustup to add it: install either"
        )),
    }
}

/// Makes sure that there is a C compiler for `target`.
fn have_c_compiler(target: &str) -> Result<(), String> {
    if has_c_compiler(target) {
        return Ok(());
    }
    let [_, chosen, _] = compiler_variables(target);
    let remedy = format!(
        "musl-gcc is missing, which compiles ring's C code: install it (Debian and Ubuntu: apt-get install musl-tools; \
         Fedora: dnf install musl-gcc), or name another C compiler for musl in {chosen}"
    );
    have_packages(&["musl-tools"], &remedy)
}

/// Installs Debian's packages, where that needs no asking.
fn have_packages(packages: &[&str], remedy: &str) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() || !answers("apt-get") {
        return Err(remedy.to_owned());
    }
    let names = packages.join(" ");
    println!("installing {names}");
    let succeeds = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        apt.status().is_ok_and(|status| status.success())
    };
    let install = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    // A machine that has never updated its lists knows no package.
    if succeeds(&install) || (succeeds(&["update", "--quiet"]) && succeeds(&install)) {
        return Ok(());
    }
    Err(format!("apt-get cannot install {names} (above). {remedy}"))
}

/// Whether there is a program `name` that runs.
fn answers(name: &str) -> bool {
    let asked = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// `mooring` and `mooring-driver` as static executables, unoptimised and without symbols: for images of tests.
///
/// # Errors
/// See [`have_target`]; or what cargo says.
pub fn for_images() -> Result<[PathBuf; 2], BuildError> {
    for_images_in(&target_folder()?)
}

/// The same, built once more in another target folder.
///
/// # Errors
/// As [`for_images`].
pub fn for_images_again() -> Result<[PathBuf; 2], BuildError> {
    for_images_in(&target_folder()?.join("again"))
}

/// The target folder that the calling test or program was built in.
fn target_folder() -> Result<PathBuf, BuildError> {
    let failed = |why: String| BuildError("mooring and its driver".to_owned(), why);
    let this = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    // A test runs as target/PROFILE/deps/NAME, a program as target/PROFILE/NAME.
    let deps = this.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let folder = deps.and_then(|profile| profile.parent());
    let folder = folder.ok_or_else(|| failed(format!("{} is not in a target folder", this.display())))?;
    Ok(folder.to_owned())
}

fn for_images_in(folder: &Path) -> Result<[PathBuf; 2], BuildError> {
    let failed = |why: String| BuildError("mooring and its driver".to_owned(), why);
    have_target()?;
    let _one = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let target = target();
    let (variable, flags) = same_everywhere(&target, folder);
    let output = cargo()
        .env(variable, flags)
        .args([
            "build",
            "--quiet",
            "--package=mooring",
            "--package=driver",
            "--bin=mooring",
            "--bin=mooring-driver",
        ])
        // What is built piece by piece depends on what was there before.
        .args(
            ["debug=false", "strip=true", "incremental=false"]
                .map(|set| format!("--config=profile.dev.{set}")),
        )
        .args(["--target", &target, "--target-dir"])
        .arg(folder)
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(["mooring", "mooring-driver"].map(|name| folder.join(&target).join("debug").join(name)))
}

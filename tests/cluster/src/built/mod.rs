//! The workspace's own executables, for tests that run them as processes.

pub mod same;
pub mod statically;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

/// An executable of the workspace could not be built or found.
#[derive(Debug, thiserror::Error)]
#[error("cannot build {0}: {1}")]
pub struct BuildError(String, String);

/// One build at a time: two would wait for each other's lock with a confusing message.
static BUILDING: Mutex<()> = Mutex::new(());

/// Cargo, without what the cargo that runs us says of our own package: build scripts (ring's, for one) take
/// that for a change, and everything after them is compiled again, here and once more at the next plain build.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        });
        if ours {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The path of an executable of the workspace, such as `("mooring", "mooring")`, built now if it is not
/// up to date, in the profile that the calling test was built in.
///
/// # Errors
/// [`BuildError`] with what cargo says.
pub fn executable(package: &str, name: &str) -> Result<PathBuf, BuildError> {
    let failed = |why: String| BuildError(name.to_owned(), why);
    let _one = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let this = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    // A test runs as target/PROFILE/deps/NAME, a program as target/PROFILE/NAME.
    let profile = this
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps"))
        .ok_or_else(|| failed(format!("{} is not in a target folder", this.display())))?;
    let profile_name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let output = cargo()
        .args(["build", "--quiet", "--package", package, "--bin", name, "--profile", profile_name])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(profile.join(name))
}

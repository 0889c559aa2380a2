//! The workspace's own executables, for tests that run them as processes.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

/// An executable of the workspace could not be built or found.
#[derive(Debug, thiserror::Error)]
#[error("cannot build {0}: {1}")]
pub struct BuildError(String, String);

/// One build at a time: two would wait for each other's lock with a confusing message.
static BUILDING: Mutex<()> = Mutex::new(());

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
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
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

//! Cargo's own tools that are not part of Rust: built from their crates in our cache, where nothing else sees them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cluster::binaries::cache_folder;
use cluster::built::cargo;

/// The executable `name` of the crate of that name in this version. The first time it is built: a minute of one core or
/// two.
///
/// # Errors
/// It cannot be built.
pub(crate) fn built(name: &str, version: &str) -> Result<PathBuf> {
    let folder = cache_folder()?.join(format!("{name}-{version}"));
    let executable = folder.join("bin").join(name);
    if !executable.is_file() {
        eprintln!("building {name} {version}, once: about a minute");
        let mut install = cargo();
        install
            .args(["install", "--quiet", "--locked", "--debug", "--version", version, "--root"])
            .arg(&folder);
        // What it is built of belongs in no target folder of ours.
        install.arg(name).env_remove("CARGO_TARGET_DIR");
        if !install.status().context("cargo install cannot run")?.success() {
            bail!("cargo install cannot build {name} (above)");
        }
    }
    Ok(executable)
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

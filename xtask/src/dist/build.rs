//! Builds what ships.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cluster::built::cargo;
use cluster::built::statically::{have_target, target};

use super::link;

/// What ships: each executable and its package.
const EXECUTABLES: &[(&str, &str)] = &[("mooring", "mooring"), ("mooring-driver", "driver"), ("csc", "csc")];

/// Builds everything that ships; gives the executables in the order of [`EXECUTABLES`].
pub(crate) fn built() -> Result<Vec<PathBuf>> {
    have_target()?;
    let target = target();
    let folder = target_folder()?.join(&target).join("dist");
    link_anew(&folder.join("deps"))?;
    let mut build = cargo();
    build.args(["build", "--profile", "dist", "--target", &target]);
    let variable = |name: &str| format!("CARGO_TARGET_{}_{name}", target.replace('-', "_").to_uppercase());
    build.env(variable("LINKER"), link::program(&folder)?);
    // Names that tell each instance of a generic function from the others. What the caller sets would win over it.
    build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    build.env(variable("RUSTFLAGS"), "-Csymbol-mangling-version=v0");
    build.args(EXECUTABLES.iter().flat_map(|(name, package)| ["--package", package, "--bin", name]));
    if !build.status().context("cargo build cannot run")?.success() {
        bail!("it does not build (above)");
    }
    Ok(EXECUTABLES.iter().map(|(name, _)| folder.join(name)).collect())
}

/// Takes away the executables that were linked before the list of what ran was written: cargo does not know that they depend
/// on it.
fn link_anew(folder: &Path) -> Result<()> {
    let changed = |file: &Path| file.metadata().and_then(|file| file.modified()).ok();
    let list = changed(&link::list());
    let is_executable = |name: &str| {
        EXECUTABLES.iter().any(|(known, _)| {
            let hash = name.strip_prefix(&known.replace('-', "_")).or_else(|| name.strip_prefix(known));
            hash.and_then(|rest| rest.strip_prefix('-')).is_some_and(|hash| !hash.contains('.'))
        })
    };
    for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_executable(&file.file_name().to_string_lossy()) && changed(&file.path()) < list {
            std::fs::remove_file(file.path()).with_context(|| file.path().display().to_string())?;
        }
    }
    Ok(())
}

/// Where cargo puts what it builds.
pub(super) fn target_folder() -> Result<PathBuf> {
    let this = std::env::current_exe().context("this executable has no path")?;
    // It runs as TARGET/PROFILE/xtask.
    let folder = this.ancestors().nth(2).context("this executable is in no target folder")?;
    Ok(folder.to_owned())
}

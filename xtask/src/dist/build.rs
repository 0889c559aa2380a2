//! Builds what ships.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cluster::built::cargo;
use cluster::built::same::{same_everywhere, variable};
use cluster::built::statically::{have_other, have_target, target};
use cluster::image::{Build, Platform};

use super::link;

/// What ships: each executable and its package.
const EXECUTABLES: &[(&str, &str)] = &[("mooring", "mooring"), ("mooring-driver", "driver"), ("csc", "csc")];

/// Builds everything that ships for this machine; gives the executables in the order of [`EXECUTABLES`].
pub(crate) fn built() -> Result<Vec<PathBuf>> {
    built_here(&target_folder()?)
}

/// Builds what the images of a platform have, in the target folder `into`.
pub(crate) fn built_for(platform: &Platform, into: &Path) -> Result<Build> {
    let executables = if platform.is_here() {
        built_here(into)?
    } else {
        have_other(platform)?;
        let ships: Vec<_> = EXECUTABLES
            .iter()
            .copied()
            .filter(|(name, _)| *name != "mooring-driver" || platform.has_driver())
            .collect();
        build(platform.target, platform.compiler, into, &ships, |build| {
            build.env(format!("CC_{}", platform.target.replace('-', "_")), platform.compiler);
        })?
    };
    let named = |name: &str| executables.iter().find(|file| file.ends_with(name)).cloned();
    let mooring = named("mooring").context("mooring is not built")?;
    Ok(Build { platform: *platform, mooring, driver: named("mooring-driver") })
}

fn built_here(into: &Path) -> Result<Vec<PathBuf>> {
    have_target()?;
    let linker = std::env::var(variable(&target(), "LINKER")).unwrap_or_else(|_| "cc".to_owned());
    build(&target(), &linker, into, EXECUTABLES, |_| {})
}

/// Builds the executables `ships` for `target` in the target folder `into`.
fn build(
    target: &str,
    linker: &str,
    into: &Path,
    ships: &[(&str, &str)],
    more: impl FnOnce(&mut std::process::Command),
) -> Result<Vec<PathBuf>> {
    let folder = into.join(target).join("dist");
    link_anew(&folder.join("deps"))?;
    let mut build = cargo();
    build.args(["build", "--locked", "--profile", "dist", "--target", target, "--target-dir"]).arg(into);
    build.env(variable(target, "LINKER"), link::program(&folder, linker)?);
    let (name, flags) = same_everywhere(target, into);
    build.env(name, flags);
    more(&mut build);
    build.args(ships.iter().flat_map(|(name, package)| ["--package", package, "--bin", name]));
    if !build.status().context("cargo build cannot run")?.success() {
        bail!("it does not build (above)");
    }
    Ok(ships.iter().map(|(name, _)| folder.join(name)).collect())
}

/// How many functions of an executable are in order; none if it was linked as usual.
pub(super) fn in_order(executable: &Path) -> usize {
    let order = beside(executable, link::ORDER).and_then(|file| std::fs::read_to_string(file).ok());
    order.map_or(0, |order| order.lines().count())
}

/// The newest file with this end that the linker left beside what became `executable`.
pub(super) fn beside(executable: &Path, end: &str) -> Option<PathBuf> {
    let name = executable.file_name()?.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for file in std::fs::read_dir(executable.parent()?.join("deps")).into_iter().flatten().flatten() {
        let of = file.file_name().to_string_lossy().into_owned();
        if of.ends_with(end) && is_linked(&of, &name) {
            found.push((file.metadata().and_then(|file| file.modified()).ok(), file.path()));
        }
    }
    found.into_iter().max().map(|(_, newest)| newest)
}

/// Whether a file in cargo's folder is what `executable` is linked into, or stands beside it: its name, with a hash.
fn is_linked(file: &str, executable: &str) -> bool {
    let rest = file.strip_prefix(&executable.replace('-', "_")).or_else(|| file.strip_prefix(executable));
    rest.is_some_and(|rest| rest.starts_with('-'))
}

/// Takes away the executables that were linked before the list of what ran was written: cargo does not know that they depend
/// on it.
fn link_anew(folder: &Path) -> Result<()> {
    let changed = |file: &Path| file.metadata().and_then(|file| file.modified()).ok();
    let list = changed(&link::list());
    let is_executable =
        |file: &str| !file.contains('.') && EXECUTABLES.iter().any(|(name, _)| is_linked(file, name));
    for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_executable(&file.file_name().to_string_lossy()) && changed(&file.path()) < list {
            std::fs::remove_file(file.path()).with_context(|| file.path().display().to_string())?;
        }
    }
    Ok(())
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let this = std::env::current_exe().context("this executable has no path")?;
    // It runs as TARGET/PROFILE/xtask.
    let folder = this.ancestors().nth(2).context("this executable is in no target folder")?;
    Ok(folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_in_cargos_folder_is_known_by_its_name() {
        assert!(
            is_linked("mooring-37b6d6a7c3080b21", "mooring")
                && is_linked("mooring_driver-ae8e.order", "mooring-driver")
        );
        assert!(!is_linked("mooring_driver-ae8e", "mooring") && !is_linked("libmooring-1", "mooring"));
    }
}

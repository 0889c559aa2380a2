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
    let linker = std::env::var(variable("LINKER")).unwrap_or_else(|_| "cc".to_owned());
    build.env(variable("LINKER"), link::program(&folder, &linker)?);
    let (name, flags) = flags(&variable("RUSTFLAGS"), |name| std::env::var(name).ok());
    build.env(name, flags);
    build.args(EXECUTABLES.iter().flat_map(|(name, package)| ["--package", package, "--bin", name]));
    if !build.status().context("cargo build cannot run")?.success() {
        bail!("it does not build (above)");
    }
    Ok(EXECUTABLES.iter().map(|(name, _)| folder.join(name)).collect())
}

/// Flags for names that tell each instance of a generic function from the others, beside what the caller has set: cargo takes the first
/// variable that is there.
fn flags(of_target: &str, set: impl Fn(&str) -> Option<String>) -> (String, String) {
    const NAMES: &str = "-Csymbol-mangling-version=v0";
    for (name, between) in [("CARGO_ENCODED_RUSTFLAGS", "\u{1f}"), ("RUSTFLAGS", " "), (of_target, " ")] {
        if let Some(flags) = set(name).filter(|flags| !flags.is_empty()) {
            return (name.to_owned(), format!("{flags}{between}{NAMES}"));
        }
    }
    (of_target.to_owned(), NAMES.to_owned())
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
pub(super) fn target_folder() -> Result<PathBuf> {
    let this = std::env::current_exe().context("this executable has no path")?;
    // It runs as TARGET/PROFILE/xtask.
    let folder = this.ancestors().nth(2).context("this executable is in no target folder")?;
    Ok(folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_the_caller_sets_stay() {
        let flags_with = |set: &[(&str, &str)]| {
            let of = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, flags)| (*flags).to_owned())
            };
            let (name, flags) = flags("CARGO_TARGET_X_RUSTFLAGS", of);
            format!("{name}={flags}")
        };
        assert_eq!(flags_with(&[]), "CARGO_TARGET_X_RUSTFLAGS=-Csymbol-mangling-version=v0");
        assert_eq!(
            flags_with(&[("RUSTFLAGS", "-Dwarnings"), ("CARGO_TARGET_X_RUSTFLAGS", "-g")]),
            "RUSTFLAGS=-Dwarnings -Csymbol-mangling-version=v0"
        );
        assert_eq!(
            flags_with(&[("CARGO_ENCODED_RUSTFLAGS", "-g")]),
            "CARGO_ENCODED_RUSTFLAGS=-g\u{1f}-Csymbol-mangling-version=v0"
        );
    }

    #[test]
    fn an_executable_in_cargos_folder_is_known_by_its_name() {
        assert!(
            is_linked("mooring-37b6d6a7c3080b21", "mooring")
                && is_linked("mooring_driver-ae8e.order", "mooring-driver")
        );
        assert!(!is_linked("mooring_driver-ae8e", "mooring") && !is_linked("libmooring-1", "mooring"));
    }
}

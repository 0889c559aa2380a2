//! Builds what ships.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cluster::built::cargo;
use cluster::built::statically::{have_other, have_target, target};
use cluster::image::{Build, Platform};

use super::link;
use crate::tool::root;

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

/// Cargo's variable for this target.
fn variable(target: &str, name: &str) -> String {
    format!("CARGO_TARGET_{}_{name}", target.replace('-', "_").to_uppercase())
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
    let (name, flags) =
        flags(&variable(target, "RUSTFLAGS"), &same_flags(into), |name| std::env::var(name).ok());
    build.env(name, flags);
    more(&mut build);
    build.args(ships.iter().flat_map(|(name, package)| ["--package", package, "--bin", name]));
    if !build.status().context("cargo build cannot run")?.success() {
        bail!("it does not build (above)");
    }
    Ok(ships.iter().map(|(name, _)| folder.join(name)).collect())
}

/// Flags with which the same sources become the same executables wherever they are built, static ones: names that tell each instance of
/// a generic function from the others, and no path of this machine.
fn same_flags(target_folder: &Path) -> Vec<String> {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let folders =
        [(cargo, "/cargo"), (Some(root()), "/mooring"), (Some(target_folder.to_owned()), "/target")];
    let mut flags =
        vec!["-Csymbol-mangling-version=v0".to_owned(), "-Ctarget-feature=+crt-static".to_owned()];
    for (folder, name) in folders {
        flags.extend(folder.map(|folder| format!("--remap-path-prefix={}={name}", folder.display())));
    }
    flags
}

/// The flags `ours` beside what the caller has set: cargo takes the first variable that is there. A flag with a space cannot be said
/// in all of them, so a folder whose name has one stays in the executables.
fn flags(of_target: &str, ours: &[String], set: impl Fn(&str) -> Option<String>) -> (String, String) {
    let ours: Vec<&str> = ours.iter().map(String::as_str).filter(|flag| !flag.contains(' ')).collect();
    for (name, between) in [("CARGO_ENCODED_RUSTFLAGS", "\u{1f}"), ("RUSTFLAGS", " "), (of_target, " ")] {
        if let Some(flags) = set(name).filter(|flags| !flags.is_empty()) {
            return (name.to_owned(), [&[flags.as_str()], &ours[..]].concat().join(between));
        }
    }
    (of_target.to_owned(), ours.join(" "))
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
    fn flags_that_the_caller_sets_stay() {
        let flags_with = |set: &[(&str, &str)]| {
            let of = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, flags)| (*flags).to_owned())
            };
            let ours = ["-Cours".to_owned(), "--remap=/a b=c".to_owned()];
            let (name, flags) = flags("CARGO_TARGET_X_RUSTFLAGS", &ours, of);
            format!("{name}={flags}")
        };
        assert_eq!(flags_with(&[]), "CARGO_TARGET_X_RUSTFLAGS=-Cours");
        assert_eq!(
            flags_with(&[("RUSTFLAGS", "-Dwarnings"), ("CARGO_TARGET_X_RUSTFLAGS", "-g")]),
            "RUSTFLAGS=-Dwarnings -Cours"
        );
        assert_eq!(
            flags_with(&[("CARGO_ENCODED_RUSTFLAGS", "-g")]),
            "CARGO_ENCODED_RUSTFLAGS=-g\u{1f}-Cours"
        );
    }

    #[test]
    fn no_path_of_this_machine_is_in_an_executable() {
        let flags = same_flags(Path::new("/somewhere/target"));
        assert!(flags.contains(&"--remap-path-prefix=/somewhere/target=/target".to_owned()), "{flags:?}");
        assert!(flags.contains(&format!("--remap-path-prefix={}=/mooring", root().display())), "{flags:?}");
        assert!(flags.iter().any(|flag| flag.ends_with("=/cargo")), "{flags:?}");
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

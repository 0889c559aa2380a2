//! Other people's checkers: found where they are installed, otherwise set up in our cache, where nothing else sees them.
//!
//! cargo-deny is built from its crate: a minute of one core, once. promtool comes out of Debian's package, which is fetched and
//! unpacked but not installed, in seconds; from its Go module it would take five minutes of each cold run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use cluster::binaries::cache_folder;
use cluster::built::cargo;

use crate::tool::built;

/// The release of cargo-deny that is set up.
const DENY: &str = "0.20.2";

/// Whether `command` runs and succeeds, saying nothing.
fn succeeds_quietly(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The command that runs cargo-deny.
///
/// # Errors
/// It is not installed, and cannot be built.
pub(super) fn deny() -> Result<Command> {
    if succeeds_quietly(cargo().args(["deny", "--version"])) {
        let mut deny = cargo();
        deny.arg("deny");
        return Ok(deny);
    }
    let executable = built("cargo-deny", DENY)?;
    let mut deny = Command::new(executable);
    deny.arg("deny");
    Ok(deny)
}

/// The folder of promtool, to be added to `PATH`; `None` when it is there already.
///
/// # Errors
/// It is not installed, and there is no package of it.
pub(super) fn promtool() -> Result<Option<PathBuf>> {
    if succeeds_quietly(Command::new("promtool").arg("--version")) {
        return Ok(None);
    }
    let cache = cache_folder()?;
    let folder = cache.join("promtool");
    if !folder.join("promtool").is_file() {
        std::fs::create_dir_all(&cache)?;
        // A folder that nobody else uses: two runs may be at it at once.
        let fetched = cache.join(format!("promtool.{}", std::process::id()));
        let result = fetch_promtool(&fetched, &folder);
        let _ = std::fs::remove_dir_all(&fetched);
        result?;
    }
    Ok(Some(folder))
}

/// Fetches Debian's package into `fetched`, and puts promtool alone into `folder`.
fn fetch_promtool(fetched: &Path, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(fetched)?;
    let mut download = Command::new("apt-get");
    download.args(["download", "--quiet", "prometheus"]).current_dir(fetched);
    let mut update = Command::new("apt-get");
    update.args(["update", "--quiet"]);
    // A machine that has never updated its lists knows no package.
    let is_here =
        succeeds_quietly(&mut download) || (succeeds_quietly(&mut update) && succeeds_quietly(&mut download));
    if !is_here {
        bail!("apt-get cannot fetch the package prometheus");
    }
    let packages = std::fs::read_dir(fetched)?.flatten().map(|entry| entry.path());
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let package = packages.into_iter().find(is_package).context("apt-get fetched no package")?;
    let unpacked = fetched.join("unpacked");
    if !succeeds_quietly(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked)) {
        bail!("dpkg-deb cannot unpack {}", package.display());
    }
    std::fs::create_dir_all(folder)?;
    let tool = unpacked.join("usr/bin/promtool");
    std::fs::rename(&tool, folder.join("promtool")).context("the package has no promtool")?;
    Ok(())
}

/// `PATH` with `folders` before what it has.
pub(super) fn path_with(folders: &[PathBuf]) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().cloned().chain(std::env::split_paths(&path));
    std::env::join_paths(all).context("the cache folder's name cannot stand in PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_up_is_found_first() {
        let path = path_with(&[PathBuf::from("/set/up")]).expect("a path");
        let first = std::env::split_paths(&path).next();
        assert_eq!(first.as_deref(), Some(Path::new("/set/up")));
        assert!(std::env::split_paths(&path).count() > 1);
    }
}

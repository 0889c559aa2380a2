//! Other people's checkers: found where they are installed, otherwise set up in our cache, where nothing else sees them.
//!
//! cargo-deny is built from its crate: a minute of one core, once. For promtool see [`cluster::prometheus`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
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

/// `PATH` with `folders` before what it has.
pub(super) fn path_with(folders: &[PathBuf]) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().cloned().chain(std::env::split_paths(&path));
    std::env::join_paths(all).context("the cache folder's name cannot stand in PATH")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_was_set_up_is_found_first() {
        let path = path_with(&[PathBuf::from("/set/up")]).expect("a path");
        let first = std::env::split_paths(&path).next();
        assert_eq!(first.as_deref(), Some(Path::new("/set/up")));
        assert!(std::env::split_paths(&path).count() > 1);
    }
}

//! Mounting in tests without leaving anything behind.

use std::path::{Path, PathBuf};
use std::process::Command;

use cluster::skip::{Lack, left_out};

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "MOORING_IN_OWN_MOUNTS";

/// A test that runs in a mount namespace of its own: `in_own_mounts!(name, body())`. Where that cannot be, it is left out
/// (see [`cluster::skip`]).
#[macro_export]
macro_rules! in_own_mounts {
    ($(#[$attribute:meta])* $name:ident, $body:expr) => {
        $(#[$attribute])*
        #[test]
        fn $name() {
            if $crate::is_in_own_mounts(concat!(module_path!(), "::", stringify!($name))) {
                $body
            }
        }
    };
}

/// What [`in_own_mounts!`] does: runs the test of this path again, from the same executable, in a namespace of its own.
/// True inside; false where the test has run, inside, or has been left out.
///
/// # Panics
/// When the test fails inside, or cannot run where it must.
#[doc(hidden)]
#[must_use]
#[allow(clippy::panic)]
pub fn is_in_own_mounts(path: &str) -> bool {
    // The test harness knows a test by its path within the crate.
    let test = path.split_once("::").map_or(path, |(_, test)| test);
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !can_mount() {
        left_out(test, Lack::Root);
        return false;
    }
    let executable = std::env::current_exe().unwrap_or_default();
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(executable)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .status();
    match status {
        Ok(status) if status.success() => false,
        other => panic!("{test} failed in its mount namespace: {other:?}"),
    }
}

fn can_mount() -> bool {
    let unshare = Command::new("unshare").args(["--mount", "true"]).status();
    rustix::process::geteuid().is_root() && unshare.is_ok_and(|status| status.success())
}

/// Where something is mounted at or below a folder, in this process's namespace.
pub fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let list = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = list.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    targets.filter(|target| target.starts_with(folder)).collect()
}

/// The files below a folder that are behind loop devices, one entry per device. A device that was let go and
/// only waits for somebody who looks at it (udev, `losetup`, another driver) to close it does not count.
pub fn loop_devices_below(folder: &Path) -> Vec<PathBuf> {
    backed_below(folder).into_iter().map(|(_, file)| file).collect()
}

/// The paths of the loop devices whose files are below a folder.
pub(crate) fn devices_of(folder: &Path) -> Vec<PathBuf> {
    backed_below(folder).into_iter().map(|(device, _)| device).collect()
}

fn backed_below(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let devices = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let backed = devices.filter_map(|device| {
        let setting = |name: &str| std::fs::read_to_string(device.path().join("loop").join(name)).ok();
        let file =
            setting("backing_file").filter(|_| setting("autoclear").is_none_or(|set| set.trim() == "0"))?;
        Some((Path::new("/dev").join(device.file_name()), PathBuf::from(file.trim_end())))
    });
    backed.filter(|(_, file)| file.starts_with(folder)).collect()
}

//! Mounting in tests without leaving anything behind.

use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

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
/// True inside; false where the test has run, inside, or has been left out. What was said inside is shown, indented, so
/// that nobody takes the harness inside for the one outside; that a test left something out is heard all the same.
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
    let inside = run_inside(test);
    let Ok((status, said)) = inside else { panic!("{test} cannot run in a mount namespace: {inside:?}") };
    print!("{}", indented(&said));
    assert!(has_passed(status, &said), "{test} failed in its mount namespace: {status}");
    false
}

/// Runs a test of this executable in a namespace of its own: how it ended and all that it said.
fn run_inside(test: &str) -> io::Result<(ExitStatus, String)> {
    // A file, not a pipe: a process that the test leaves behind would hold the pipe open, and this would wait for it.
    let mut said = tempfile::tempfile()?;
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe()?)
        // What a test says is captured, and lost, if it dies; with one thread the harness names the test first, on the
        // line on which the test then speaks.
        .args(["--exact", test, "--nocapture", "--include-ignored", "--test-threads=2"])
        .env(INSIDE, "1")
        .stdout(said.try_clone()?)
        .stderr(said.try_clone()?)
        .status()?;
    let mut bytes = Vec::new();
    said.rewind()?;
    said.read_to_end(&mut bytes)?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whether the one test that was to run has run and passed: a harness that finds no test of the name is content too.
fn has_passed(status: ExitStatus, said: &str) -> bool {
    status.success() && said.lines().any(|line| line.starts_with("test result: ok. 1 passed; 0 failed; "))
}

fn indented(said: &str) -> String {
    said.lines().map(|line| format!("  {line}\n")).collect()
}

fn can_mount() -> bool {
    rustix::process::geteuid().is_root()
        && Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success())
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
pub fn devices_of(folder: &Path) -> Vec<PathBuf> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A test again, in its own mounts; none where that cannot be.
    fn again(test: &str) -> Option<(ExitStatus, String)> {
        if can_mount() {
            return Some(run_inside(test).unwrap());
        }
        left_out(test, Lack::Root);
        None
    }

    fn is_inside() -> bool {
        std::env::var_os(INSIDE).is_some()
    }

    #[test]
    fn a_test_that_kills_its_process_fails_with_its_last_words() {
        const TEST: &str = "namespace::tests::a_test_that_kills_its_process_fails_with_its_last_words";
        if is_inside() {
            println!("last words");
            std::process::abort();
        }
        let Some((status, said)) = again(TEST) else { return };
        assert!(!status.success() && !has_passed(status, &said), "{status}");
        assert!(indented(&said).lines().any(|line| line == "  last words"), "{said}");
    }

    #[test]
    fn a_test_that_exits_early_with_success_has_not_passed() {
        const TEST: &str = "namespace::tests::a_test_that_exits_early_with_success_has_not_passed";
        if is_inside() {
            std::process::exit(0);
        }
        let Some((status, said)) = again(TEST) else { return };
        assert!(status.success() && said.contains("running 1 test") && !has_passed(status, &said), "{said}");
    }

    #[test]
    fn a_test_that_is_not_there_has_not_passed() {
        let Some((status, said)) = again("namespace::tests::nowhere") else { return };
        assert!(status.success() && said.contains("0 passed") && !has_passed(status, &said), "{said}");
    }

    #[test]
    fn no_line_of_a_test_in_its_own_mounts_stands_at_the_margin() {
        const TEST: &str = "namespace::tests::no_line_of_a_test_in_its_own_mounts_stands_at_the_margin";
        if is_inside() {
            println!("skipped: this: that");
            return;
        }
        let Some((status, said)) = again(TEST) else { return };
        assert!(has_passed(status, &said), "{said}");
        let shown = indented(&said);
        assert!(shown.lines().any(|line| line == "  skipped: this: that"), "{shown}");
        assert!(shown.lines().all(|line| line.starts_with("  ")), "{shown}");
    }
}

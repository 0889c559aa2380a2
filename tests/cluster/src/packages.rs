//! Debian's and Ubuntu's packages.

use std::path::Path;
use std::process::{Command, Stdio};

/// Installs packages with apt-get, which needs root. It asks nothing; what goes wrong is seen by what is missing afterwards.
pub(crate) fn install(packages: &[&str]) {
    let install = [&["install", "--yes", "--no-install-recommends"][..], packages].concat();
    let _ = with_lists(&install, Path::new("."));
}

/// Puts a package's file into a folder; whether it could.
pub(crate) fn download(package: &str, folder: &Path) -> bool {
    with_lists(&["download", "--quiet", package], folder)
}

/// Whether apt-get succeeds. A machine that has never updated its lists knows no package.
fn with_lists(arguments: &[&str], folder: &Path) -> bool {
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).current_dir(folder);
        apt.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
        apt.status().is_ok_and(|status| status.success())
    };
    apt(arguments) || (apt(&["update", "--quiet"]) && apt(arguments))
}

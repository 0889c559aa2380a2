//! Debian's and Ubuntu's packages.

use std::process::{Command, Stdio};

/// Installs packages with apt-get, which needs root. It asks nothing; what goes wrong is seen by what is missing afterwards.
pub(crate) fn install(packages: &[&str]) {
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        apt.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let install = [&["install", "--yes", "--no-install-recommends"][..], packages].concat();
    // A machine that has never updated its lists knows no package.
    let _ = apt(&install) || (apt(&["update", "--quiet"]) && apt(&install));
}

//! What a real node needs of the machine, and what of it is missing.

use std::path::{Path, PathBuf};

use crate::built::statically;
use crate::skip::Lack;

/// Debian's and Ubuntu's packages that a real node is made of.
pub const PACKAGES: [&str; 6] =
    ["containerd", "runc", "containernetworking-plugins", "busybox-static", "socat", "iproute2"];

/// The programs of these packages, and of those that every Linux has.
const PROGRAMS: [&str; 9] =
    ["containerd", "ctr", "runc", "busybox", "socat", "ip", "unshare", "nsenter", "losetup"];

/// Where distributions keep the network plugins.
const PLUGIN_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// Bits of the effective capabilities: to mount, and to make network interfaces.
const CAPABILITIES: [u32; 2] = [21, 12];

/// The folder with the network plugins.
pub(super) fn network_plugins() -> Option<&'static Path> {
    PLUGIN_FOLDERS.iter().map(Path::new).find(|folder| folder.join("bridge").exists())
}

/// The executable file of a program; administrators' folders are looked into even if `PATH` lacks them.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// What this machine lacks for a real node; `None` when one can be started.
pub fn lack() -> Option<Lack> {
    if !may_do_everything() {
        return Some(Lack::Root);
    }
    let has_programs = PROGRAMS.iter().all(|name| program(name).is_some());
    if !has_programs || network_plugins().is_none() {
        return Some(Lack::Packages(&PACKAGES));
    }
    (!statically::can_build()).then_some(Lack::Musl)
}

fn may_do_everything() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    rustix::process::geteuid().is_root() && CAPABILITIES.iter().all(|bit| effective & (1 << bit) != 0)
}

/// Installs the packages with apt-get, and what static executables need, where root may; tells whether a real node can be started now.
pub fn install() -> bool {
    if matches!(lack(), Some(Lack::Packages(_))) {
        crate::packages::install(&PACKAGES);
    }
    if lack() == Some(Lack::Musl)
        && let Err(error) = statically::have_target()
    {
        eprintln!("{error}");
    }
    lack().is_none()
}

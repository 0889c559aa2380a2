//! Where Ceph comes from: Debian's and Ubuntu's packages.

use crate::node::program;
use crate::skip::Lack;

/// A monitor, an OSD, the programs, librados and librbd: 64 packages with all that they need, 58 MB to fetch, 229 MB on disk.
pub const PACKAGES: [&str; 5] = ["ceph-mon", "ceph-osd", "ceph-common", "rbd-fuse", "xfsprogs"];

/// One program of each.
const PROGRAMS: [&str; 6] = ["ceph-mon", "ceph-osd", "ceph", "rbd", "rbd-fuse", "mkfs.xfs"];

/// What this machine lacks for a Ceph; `None` when one can be started.
pub fn lack() -> Option<Lack> {
    PROGRAMS.iter().any(|name| program(name).is_none()).then_some(Lack::Packages(&PACKAGES))
}

/// Installs the packages with apt-get, where root may; tells whether a Ceph can be started now. Debian starts nothing.
pub fn install() -> bool {
    if lack().is_some() && rustix::process::geteuid().is_root() {
        crate::packages::install(&PACKAGES);
    }
    lack().is_none()
}

//! A rolling change between the Go csi-attacher and ours, in both directions. Each finishes what the other
//! left half done (docs/upstream/attacher.md, "Attach", "Detach" and "PersistentVolume finalizer"), with
//! upstream's sample role and the same lease.

mod load;
mod seen;
mod states;

use cluster::binaries::Binary;
use cluster::implementation::{IN_TURN, Implementation};
use cluster::stand::Replica;

use crate::site::Site;

/// A csi-attacher of either, with room for many, and no comparison with the driver's list but the one at the start.
fn attacher(whose: Implementation, site: &Site, name: &str, flags: &[&str]) -> Replica {
    let flags =
        [&IN_TURN[..], &["--worker-threads=30", "--timeout=60s", "--reconcile-sync=1h"], flags].concat();
    whose.start(&site.stand, Binary::CsiAttacher, name, &flags)
}

//! A rolling change between the Go csi-attacher and ours, in both directions. Each finishes what the other
//! left half done (docs/upstream/attacher.md, "Attach", "Detach" and "PersistentVolume finalizer"), with
//! upstream's sample role and the same lease.

mod load;
mod seen;
mod states;

use crate::site::Site;
use cluster::stand::Replica;

/// Who attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Implementation {
    Go,
    Ours,
}

/// Short leases, room for many, and no comparison with the driver's list but the one at the start.
const FLAGS: [&str; 9] = [
    "--leader-election",
    "--leader-election-lease-duration=6s",
    "--leader-election-renew-deadline=4s",
    "--leader-election-retry-period=1s",
    "--kube-api-qps=100",
    "--kube-api-burst=200",
    "--worker-threads=30",
    "--timeout=60s",
    "--reconcile-sync=1h",
];

impl Implementation {
    fn start(self, site: &Site, name: &str, flags: &[&str]) -> Replica {
        let flags = [&FLAGS[..], flags].concat();
        match self {
            Implementation::Go => site.stand.go_attacher(name, &flags),
            Implementation::Ours => site.stand.replica("csi-attacher", name, &flags),
        }
    }
}

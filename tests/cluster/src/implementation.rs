//! The two implementations of a sidecar, for tests that run one beside or after the other.

use crate::binaries::Binary;
use crate::stand::{Replica, Stand};

/// Whose sidecar runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implementation {
    /// Upstream's.
    Go,
    /// Ours.
    Ours,
}

/// Flags for sidecars that follow each other: short leases, and room for many requests.
pub const IN_TURN: [&str; 6] = [
    "--leader-election",
    "--leader-election-lease-duration=6s",
    "--leader-election-renew-deadline=4s",
    "--leader-election-retry-period=1s",
    "--kube-api-qps=100",
    "--kube-api-burst=200",
];

impl Implementation {
    /// Starts its sidecar of this kind, on a host of its own name (see [`Stand::replica`]).
    pub fn start(self, stand: &Stand, sidecar: Binary, name: &str, flags: &[&str]) -> Replica {
        match self {
            Self::Go => stand.go_sidecar(sidecar, name, flags),
            Self::Ours => stand.replica(sidecar.name(), name, flags),
        }
    }
}

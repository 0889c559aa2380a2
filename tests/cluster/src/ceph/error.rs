//! Why there is no Ceph.

use crate::process::SpawnError;

/// There is no Ceph to test on.
#[derive(Debug, thiserror::Error)]
pub enum CephError {
    /// A file of its folder cannot be used, or a program cannot be run.
    #[error("cannot prepare Ceph: {0}")]
    Prepare(#[from] std::io::Error),
    /// A program could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A program failed.
    #[error("{name} {what}; its last lines:\n{log}")]
    Part {
        /// Which.
        name: String,
        /// What it did, or did not do.
        what: String,
        /// The end of its output.
        log: String,
    },
}

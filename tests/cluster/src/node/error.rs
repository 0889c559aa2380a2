//! Why there is no real node.

use std::io;
use std::path::Path;

use crate::binaries::BinariesError;
use crate::error::StartError;
use crate::process::{SpawnError, last_lines};
use crate::wait::Late;

/// There is no real node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The kubelet is missing and cannot be built.
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    /// A file or folder of the node cannot be used.
    #[error("cannot prepare the node: {0}")]
    Prepare(#[from] io::Error),
    /// A program could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A program failed, or a process ended.
    #[error("{name} {what}; its last lines:\n{log}")]
    Part {
        /// Which.
        name: String,
        /// What it did, or did not do.
        what: String,
        /// The end of its output.
        log: String,
    },
    /// Namespaces, network, containerd or kubelet do not start: that may be the machine's fault. All else is ours.
    #[error("the node does not start: {0}")]
    DoesNotBoot(Box<NodeError>),
    /// The node is not ready in time.
    #[error("{late}; the kubelet's last lines:\n{log}")]
    Late {
        /// What was waited for.
        late: Late,
        /// The end of the kubelet's output.
        log: String,
    },
    /// No client could be made.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl NodeError {
    pub(super) fn failed(name: &str, what: &str, log: &Path) -> NodeError {
        NodeError::Part { name: name.to_owned(), what: what.to_owned(), log: last_lines(log, 15) }
    }
}

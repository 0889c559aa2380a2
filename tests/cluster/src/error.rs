//! Why there is no control plane.

use crate::binaries::BinariesError;
use crate::process::SpawnError;

/// The control plane, or something in it, could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A binary is missing and cannot be built.
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    /// A file of the control plane's folder cannot be written, or no port is free.
    #[error("cannot prepare the control plane: {0}")]
    Prepare(#[from] std::io::Error),
    /// A key or certificate cannot be made.
    #[error("cannot make certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    /// A process could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A process ended, or did not answer in time.
    #[error("{name} {what}; its last lines:\n{log}")]
    Component {
        /// Which process.
        name: String,
        /// What it did, or did not do.
        what: String,
        /// The end of its output.
        log: String,
    },
    /// Our own kubeconfig was refused.
    #[error("cannot use the kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server refused something.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

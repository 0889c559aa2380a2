//! Why a command does not come to its end.

use kubernetes::client::ClientError;
use thiserror::Error;

use crate::hold::HoldError;
use crate::journal::JournalError;

/// Why there is no plan, or why it was not carried out.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// The cluster cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The API server refuses, or does not answer.
    #[error("cannot read the cluster: {0}")]
    Read(String),
    /// An object cannot be shown.
    #[error("cannot show PersistentVolume {0}: {1}")]
    Shown(String, serde_json::Error),
    /// There is no in-tree volume of the name.
    #[error("{0} is no in-tree PersistentVolume of a plugin that a CSI driver has replaced")]
    NotFound(String),
    /// The undo file does not know the volume.
    #[error("{0} is no PersistentVolume that was converted with this undo file")]
    NotConverted(String),
    /// The undo file cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Claims cannot be kept from being called Lost.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// A volume cannot be created anew: the next one might not be either.
    #[error("PersistentVolume {0} is deleted and not created anew; nothing more is begun with")]
    Away(String),
    /// The API server refuses the new objects of several volumes, after it has said that it would take them.
    #[error(
        "the API server refuses the new objects, though it says in dry runs that it would take them; nothing more is begun with"
    )]
    Restored,
    /// kube-controller-manager seems to be down.
    #[error("kube-controller-manager binds no volumes: see that it runs, then run this command again")]
    NobodyBinds,
    /// The API server has fallen silent.
    #[error(
        "the API server does not answer any more, or no longer accepts the credentials; the same command goes on from here"
    )]
    NoAnswer,
}

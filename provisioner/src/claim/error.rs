//! Why a claim got no volume.

use csi::access::AccessError;
use csi::grpc_text;
use kubernetes::secret::SecretError;
use kubernetes::secret::{FsTypeError, ReferenceError, UnknownParameter};
use thiserror::Error;
use tonic::Status;

use super::outcome::{State, after_error, is_infeasible};

/// Why one attempt to provision failed; the text is what the claim's event says.
#[derive(Debug, Error)]
pub enum ProvisionError {
    /// The driver lacks a capability that the claim needs.
    #[error("CSI driver does not support {0}")]
    NotSupported(&'static str),
    /// The claim needs what this release does not have.
    #[error("{0} is not available in this release of the provisioner")]
    NotAvailable(&'static str),
    /// The claim has a label selector.
    #[error("claim Selector is not supported: remove spec.selector from the claim")]
    Selector,
    /// The claim has no uid.
    #[error("the claim has no uid to make a volume name from")]
    NoName,
    /// The class has a reserved parameter that nobody knows.
    #[error(transparent)]
    Parameter(#[from] UnknownParameter),
    /// The class names two file systems.
    #[error(transparent)]
    FsType(#[from] FsTypeError),
    /// The request is no quantity.
    #[error("spec.resources.requests.storage {0:?} of the claim is not a quantity")]
    Request(String),
    /// An access mode is unknown.
    #[error("spec.accessModes: {0}")]
    AccessMode(#[from] AccessError),
    /// A secret reference in the class's parameters cannot be resolved.
    #[error(transparent)]
    SecretReference(#[from] ReferenceError),
    /// The provision secret cannot be read.
    #[error("failed to get secret {name}: {reason}")]
    Secret {
        /// Namespace and name.
        name: String,
        /// Why.
        reason: SecretError,
    },
    /// The driver refused or did not answer.
    #[error("{}", grpc_text(.0))]
    Driver(Status),
    /// The driver made a volume that is too small; it was asked to delete it.
    #[error(
        "created volume capacity {created} less than requested capacity {asked}{}",
        .cleanup.as_ref().map(|status| format!("; deleting it failed: {}", grpc_text(status))).unwrap_or_default()
    )]
    TooSmall {
        /// Bytes asked for.
        asked: i64,
        /// Bytes made.
        created: i64,
        /// How the deletion failed, if it did.
        cleanup: Option<Status>,
    },
    /// The driver answered without a volume or without its id.
    #[error("the CSI driver answered CreateVolume without {0}")]
    Malformed(&'static str),
    /// A volume object of the claim's name belongs to somebody else.
    #[error(
        "a PersistentVolume {0} exists already and is not this claim's: delete it, or re-create the claim"
    )]
    NameTaken(String),
}

impl ProvisionError {
    /// Where the claim stands; `topology` and `node` as for [`after_error`].
    pub fn state(&self, topology: bool, node: bool) -> State {
        match self {
            Self::NotSupported(_)
            | Self::NotAvailable(_)
            | Self::Selector
            | Self::NoName
            | Self::Parameter(_)
            | Self::FsType(_)
            | Self::Request(_)
            | Self::AccessMode(_)
            | Self::NameTaken(_) => State::Finished,
            Self::SecretReference(_) | Self::Secret { .. } => State::NoChange,
            Self::Driver(status) => after_error(status, topology, node),
            // There may be a volume of our name: it is asked for again until it is right or refused.
            Self::TooSmall { .. } | Self::Malformed(_) => State::InBackground,
        }
    }

    /// Whether retries are to be slow.
    pub fn is_infeasible(&self) -> bool {
        matches!(self, Self::Driver(status) if is_infeasible(status))
    }
}

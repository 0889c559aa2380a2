//! Why an attempt to provision a claim failed.

use csi::access::AccessError;
use csi::grpc_text;
use kubernetes::api;
use kubernetes::object::Key;
use kubernetes::secret::{FsTypeError, ReferenceError, UnknownParameter};
use kubernetes::secret::{SecretError, SecretRef};
use thiserror::Error;
use tonic::Status;
use translation::TranslationError;

use crate::migration::InTreeError;
use crate::topology::TopologyError;

use super::outcome::{State, after_error, is_infeasible};
use super::request::SourceError;

/// Why one attempt failed. The text goes into the claim's event.
///
/// `Differs:` some texts say more than upstream's: which parameter of the class, which object in which namespace, what to do.
/// What the driver and the API server say is told in their words.
#[derive(Debug, Error)]
pub(crate) enum ProvisionError {
    /// The driver lacks a capability that the claim needs.
    #[error("CSI driver does not support {0}")]
    NotSupported(&'static str),
    /// The claim has a label selector.
    #[error("claim Selector is not supported: remove spec.selector from the claim")]
    Selector,
    /// The claim has no uid.
    #[error("the claim has no uid to make a volume name from")]
    NoName,
    /// The class has an unknown parameter with the reserved prefix.
    #[error(transparent)]
    Parameter(#[from] UnknownParameter),
    /// The class names two file systems.
    #[error(transparent)]
    FsType(#[from] FsTypeError),
    /// The requested size is not a quantity.
    #[error("spec.resources.requests.storage {0:?} of the claim is not a quantity")]
    Request(String),
    /// An access mode is unknown.
    #[error("spec.accessModes: {0}")]
    AccessMode(#[from] AccessError),
    /// A secret reference in the class's parameters cannot be resolved.
    #[error(transparent)]
    SecretReference(#[from] ReferenceError),
    /// The claim's VolumeAttributesClass does not exist.
    #[error("volumeattributesclasses.storage.k8s.io \"{0}\" not found")]
    AttributesMissing(String),
    /// The claim's VolumeAttributesClass is for another driver.
    #[error("VolumeAttributesClass {name} is {named}'s, not {driver}'s: name another in the claim")]
    AttributesForeign {
        /// Its name.
        name: String,
        /// Its driver.
        named: String,
        /// Ours.
        driver: String,
    },
    /// The claim's VolumeAttributesClass cannot be read.
    #[error("cannot read VolumeAttributesClass {name}: {reason}")]
    AttributesUnreadable {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The claim may not be filled from its source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The claim cannot be placed.
    #[error("{}{}", of_placing(.0), .0)]
    Topology(#[from] TopologyError),
    /// The provision secret cannot be read.
    #[error("error getting secret {} in namespace {}: {}", .secret.name, .secret.namespace, of_secret(.reason))]
    Secret {
        /// Which one.
        secret: SecretRef,
        /// Why.
        reason: SecretError,
    },
    /// The request cannot be written down before it is sent.
    #[error("cannot write down the request before it is sent: {0}")]
    Intent(String),
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
    /// The driver made a volume without the content that was asked for; it was asked to delete it.
    #[error(
        "the CSI driver made an empty volume: it does not say that it has used the content source{}",
        .cleanup.as_ref().map(|status| format!("; deleting it failed: {}", grpc_text(status))).unwrap_or_default()
    )]
    NotFilled {
        /// How the deletion failed, if it did.
        cleanup: Option<Status>,
    },
    /// The claim may no longer have what the driver has filled the volume from; the driver was asked to delete it.
    #[error(
        "{cause}; {}",
        .cleanup.as_ref().map(|status| format!("deleting the volume that was made failed: {}", grpc_text(status)))
            .unwrap_or_else(|| "the volume that was made is deleted, and the claim is tried anew".to_owned())
    )]
    Withdrawn {
        /// Why it may not.
        cause: SourceError,
        /// How the deletion failed, if it did.
        cleanup: Option<Status>,
    },
    /// Whether the claim may still have its source cannot be told.
    #[error("cannot read the ReferenceGrants of the namespace {namespace}: {reason}")]
    Grants {
        /// The source's.
        namespace: String,
        /// Why.
        reason: String,
    },
    /// The class is an in-tree plugin's and cannot be translated.
    #[error("failed to translate storage class: {0}")]
    Class(#[from] TranslationError),
    /// The driver made a volume that cannot be stored as an in-tree one; it was asked to delete it.
    #[error(
        "created volume cannot be translated to one of the in-tree plugin: {cause}{}",
        .cleanup.as_ref().map(|status| format!("; deleting it failed: {}", grpc_text(status))).unwrap_or_default()
    )]
    InTree {
        /// Why.
        cause: InTreeError,
        /// How the deletion failed, if it did.
        cleanup: Option<Status>,
    },
    /// The driver answered without a volume or without its id.
    #[error("the CSI driver answered CreateVolume without {0}")]
    Malformed(&'static str),
    /// A PersistentVolume of the claim's volume name belongs to something else.
    #[error("PersistentVolume {name} already exists and {}", of_holder(.holder.as_ref()))]
    NameTaken {
        /// Its name.
        name: String,
        /// The claim that it is for, if it is for one.
        holder: Option<Key>,
    },
    /// Another claim's volume of the same name is being made.
    #[error(
        "the volume name {0} is being used for another claim: raise --volume-name-uuid-length, or re-create the claim"
    )]
    NameInUse(String),
    /// The driver answered with a volume that a PersistentVolume has already.
    #[error(
        "the CSI driver answered CreateVolume with volume {handle}, which PersistentVolume {holder} has: raise \
         --volume-name-uuid-length, or re-create the claim"
    )]
    VolumeTaken {
        /// The volume's id at the driver.
        handle: String,
        /// The PersistentVolume that has it.
        holder: String,
    },
    /// The volume was made for a claim that is another node's by now.
    #[error("the claim has its volume on another node, or will: the one that was made here is not needed")]
    GivenAway,
    /// Whether the name is free cannot be told.
    #[error("cannot read PersistentVolume {name}: {reason}")]
    Lookup {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// Whether the volume has a PersistentVolume cannot be told.
    #[error("cannot tell whether volume {handle} has a PersistentVolume already: {reason}")]
    Holder {
        /// The volume's id at the driver.
        handle: String,
        /// Why.
        reason: String,
    },
    /// The API server will not store the PersistentVolume, however often it is asked.
    #[error("the API server refuses PersistentVolume {name}: {reason}")]
    Refused {
        /// Its name.
        name: String,
        /// What it says.
        reason: String,
    },
}

impl ProvisionError {
    /// The state that the error leaves the claim in. For `topology` and `node` see [`after_error`].
    ///
    /// `Differs:` when we delete an unusable volume, its request ends. Upstream sends the request again; if the claim is gone, it
    /// does so for ever.
    pub(crate) fn state(&self, topology: bool, node: bool) -> State {
        match self {
            Self::NotSupported(_)
            | Self::Selector
            | Self::NoName
            | Self::Parameter(_)
            | Self::FsType(_)
            | Self::Request(_)
            | Self::AccessMode(_)
            | Self::AttributesForeign { .. }
            | Self::NameTaken { .. }
            | Self::NameInUse(_)
            | Self::VolumeTaken { .. }
            | Self::GivenAway
            | Self::Class(_)
            // The volume is deleted again: nothing is left of the request.
            | Self::TooSmall { cleanup: None, .. }
            | Self::NotFilled { cleanup: None }
            | Self::Withdrawn { cleanup: None, .. }
            | Self::InTree { cleanup: None, .. }
            | Self::Refused { .. } => State::Finished,
            Self::Source(error) if error.is_final() => State::Finished,
            Self::Topology(error) if error.node_is_gone().is_some() => State::Reschedule,
            Self::Source(_)
            | Self::AttributesMissing(_)
            | Self::AttributesUnreadable { .. }
            | Self::Topology(_)
            | Self::SecretReference(_)
            | Self::Secret { .. }
            | Self::Intent(_)
            | Self::Lookup { .. } => State::NoChange,
            Self::Driver(status) => after_error(status, topology, node),
            // The driver may have a volume of our name: ask again until it is right or refused.
            Self::TooSmall { cleanup: Some(_), .. }
            | Self::NotFilled { cleanup: Some(_) }
            | Self::Withdrawn { cleanup: Some(_), .. }
            | Self::Grants { .. }
            | Self::Holder { .. }
            | Self::Malformed(_)
            | Self::InTree { cleanup: Some(_), .. } => State::InBackground,
        }
    }

    /// The selected node, if it seems to be gone.
    pub(crate) fn gone_node(&self) -> Option<&str> {
        match self {
            Self::Topology(error) => error.node_is_gone(),
            _ => None,
        }
    }

    /// The Secret that is not there or may not be read, if that is all that is wrong. In a namespace that was deleted both
    /// the Secret and the right to read it are gone.
    pub(crate) fn missing_secret(&self) -> Option<&SecretRef> {
        match self {
            Self::Secret { secret, reason: SecretError::NotFound { .. } } => Some(secret),
            Self::Secret { secret, reason: SecretError::Api(error) } if api::is(error, 403) => Some(secret),
            _ => None,
        }
    }

    /// Whether the claim is not ours to provision.
    pub(crate) fn is_for_populator(&self) -> bool {
        matches!(self, Self::Source(SourceError::ForPopulator(_)))
    }

    /// Whether it says only that others have worked at the same object at the same time: nothing is wrong.
    pub(crate) fn is_collision(&self) -> bool {
        matches!(self, Self::Source(SourceError::Changing(_)))
    }

    /// Whether to retry slowly.
    pub(crate) fn is_infeasible(&self) -> bool {
        matches!(self, Self::Driver(status) if is_infeasible(status))
    }
}

/// Whose a volume is, and what to do. Nobody is told to remove another claim's.
fn of_holder(holder: Option<&Key>) -> String {
    match holder {
        Some(claim) => {
            format!("belongs to claim {claim}: raise --volume-name-uuid-length, or re-create this claim")
        }
        None => "does not belong to this claim: delete it, or re-create the claim".to_owned(),
    }
}

/// As the API server says it.
fn of_secret(reason: &SecretError) -> String {
    match reason {
        SecretError::NotFound { name, .. } => format!("secrets \"{name}\" not found"),
        other => other.to_string(),
    }
}

/// What upstream's text begins with. It has none if the scheduler must choose another node.
fn of_placing(error: &TopologyError) -> &'static str {
    match error.node_is_gone() {
        Some(_) => "",
        None => "error generating accessibility requirements: ",
    }
}

//! Why an attach or a detach failed. The texts go into the status of the attachment.

use base::queue::Outcome;
use csi::access::AccessError;
use csi::code::OPEN_CALL_RETRY;
use csi::{ErrorClass, attach_class, grpc_text};
use kubernetes::api;
use kubernetes::object::Key;
use kubernetes::secret::{SecretError, SecretRef};
use kubernetes::waiting;
use thiserror::Error;
use tonic::{Code, Status};
use translation::TranslationError;

/// What an attachment may wait for, beside a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Awaited {
    /// A volume of this name.
    Volume,
    /// A volume of this name that is not being deleted.
    LiveVolume,
    /// The CSINode of this name, with the driver.
    Node,
}

/// The object whose appearance may end a failure.
pub(crate) type On = waiting::On<Awaited>;

fn on(what: Awaited, name: &str) -> On {
    On::Object(what, Key::cluster(name))
}

/// The source of an attachment cannot be used.
#[derive(Debug, Error)]
pub(crate) enum SourceError {
    /// Both kinds of source are set.
    #[error(
        "both spec.source.persistentVolumeName and spec.source.inlineVolumeSpec are set: only one may be"
    )]
    Both,
    /// No source is set.
    #[error("neither spec.source.persistentVolumeName nor spec.source.inlineVolumeSpec is set")]
    Neither,
    /// The inline volume has no CSI source.
    #[error("spec.source.inlineVolumeSpec has no csi source")]
    InlineNotCsi,
    /// There is no such volume.
    #[error("persistentvolume \"{0}\" not found")]
    VolumeNotFound(Box<str>),
    /// The volume could not be read.
    #[error("could not read PersistentVolume \"{volume}\": {}", api::text(.cause))]
    Read {
        /// Its name.
        volume: Box<str>,
        /// Why.
        cause: api::Error,
    },
    /// The volume is neither a CSI volume nor one that a CSI driver has taken over.
    #[error("PersistentVolume \"{0}\" has no csi source, and no in-tree source that a CSI driver serves")]
    NotCsi(Box<str>),
    /// The volume belongs to another driver.
    #[error(
        "the volume belongs to CSI driver {driver}, but spec.attacher of the VolumeAttachment names another driver"
    )]
    Foreign {
        /// Whose it is.
        driver: Box<str>,
    },
    /// The in-tree volume cannot be translated.
    #[error("failed to translate in tree pv to CSI: {0}")]
    Translation(#[from] TranslationError),
}

/// The node has no id at the driver.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NodeError {
    /// There is no such CSINode.
    #[error("csinode.storage.k8s.io \"{0}\" not found")]
    NotFound(Box<str>),
    /// The driver does not run on the node.
    #[error("CSINode {node} does not contain driver {driver}")]
    NoDriver {
        /// The node.
        node: Box<str>,
        /// The driver.
        driver: Box<str>,
    },
}

/// Why an attempt to attach failed.
#[derive(Debug, Error)]
pub(crate) enum AttachError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The volume is being deleted.
    #[error("PersistentVolume \"{0}\" is marked for deletion")]
    VolumeDeleting(Box<str>),
    /// The volume's finalizer was not written.
    #[error("could not add PersistentVolume finalizer: {}", api::text(.0))]
    Protect(api::Error),
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The volume's access modes have no CSI equivalent.
    #[error("spec.accessModes of the volume: {0}")]
    AccessModes(#[from] AccessError),
    /// The secret.
    #[error("failed to load secret \"{name}\": {cause}")]
    Secret {
        /// Namespace and name.
        name: String,
        /// Why.
        cause: SecretError,
    },
    /// The attachment's finalizer and annotations were not written.
    #[error("could not save VolumeAttachment: {}", api::text(.0))]
    Save(api::Error),
    /// The driver refused or did not answer.
    #[error("{}", grpc_text(.0))]
    Driver(Status),
    /// The volume is published, but the status was not written. The driver is called again.
    #[error("could not mark as attached: {}", api::text(.0))]
    Mark(api::Error),
}

/// Why an attempt to detach failed.
#[derive(Debug, Error)]
pub(crate) enum DetachError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The volume is gone, and the attachment has no note of it.
    #[error(
        "persistentvolume \"{volume}\" not found, and the VolumeAttachment lacks annotation mooring.dev/volume-handle: \
         restore the PersistentVolume, or set the annotation to the volume's id, or detach the volume by hand and \
         remove finalizer {finalizer} from the VolumeAttachment"
    )]
    NothingKnown {
        /// The volume's name.
        volume: Box<str>,
        /// Our finalizer.
        finalizer: Box<str>,
    },
    /// Neither the CSINode nor the attachment has the node's id.
    #[error(
        "{cause}, and the VolumeAttachment lacks annotation csi.alpha.kubernetes.io/node-id: \
         let the driver register on the node again, or set the annotation to the node's id at the driver"
    )]
    Node {
        /// What is wrong with the CSINode.
        cause: NodeError,
    },
    /// The secret.
    #[error("failed to load secret \"{name}\": {cause}")]
    Secret {
        /// Namespace and name.
        name: String,
        /// Why.
        cause: SecretError,
    },
    /// The driver refused or did not answer.
    #[error("{}", grpc_text(.0))]
    Driver(Status),
    /// The volume is unpublished, but that was not written. The driver is called again.
    #[error("could not mark as detached: {}", api::text(.0))]
    Mark(api::Error),
}

impl SourceError {
    fn waits_on(&self) -> Option<On> {
        match self {
            Self::VolumeNotFound(name) => Some(on(Awaited::Volume, name)),
            Self::Both
            | Self::Neither
            | Self::InlineNotCsi
            | Self::Read { .. }
            | Self::NotCsi(_)
            | Self::Foreign { .. }
            | Self::Translation(_) => None,
        }
    }
}

impl NodeError {
    fn waits_on(&self) -> On {
        match self {
            Self::NotFound(node) | Self::NoDriver { node, .. } => on(Awaited::Node, node),
        }
    }
}

/// We poll for a Secret that is missing. We do not poll for one that exists but cannot be read or used: we
/// would have to read its content again and again. That one waits for the back-off, as upstream does.
fn secret_waits_on(cause: &SecretError) -> Option<On> {
    match cause {
        SecretError::NotFound { namespace, name } => {
            Some(On::Secret(SecretRef { namespace: namespace.clone(), name: name.clone() }))
        }
        SecretError::Api(_) | SecretError::NotText(_) => None,
    }
}

/// When to call the driver again: soon if the call may be in progress, after the full back-off if it was refused. A driver
/// without room (RESOURCE_EXHAUSTED) may have begun. But asking soon makes no room, so we wait for the full back-off too.
///
/// `Differs:` upstream classes the codes and discards the result (docs/upstream/attacher.md, "gRPC codes").
fn after_call(status: &Status) -> Outcome {
    match attach_class(status) {
        ErrorClass::InProgress if status.code() != Code::ResourceExhausted => {
            Outcome::RetryWithin(OPEN_CALL_RETRY)
        }
        ErrorClass::InProgress | ErrorClass::Final => Outcome::Retry,
    }
}

impl AttachError {
    /// The object whose change is a reason to try again at once.
    pub(crate) fn waits_on(&self) -> Option<On> {
        match self {
            Self::Source(error) => error.waits_on(),
            Self::VolumeDeleting(volume) => Some(on(Awaited::LiveVolume, volume)),
            Self::Node(error) => Some(error.waits_on()),
            Self::Secret { cause, .. } => secret_waits_on(cause),
            Self::Protect(_) | Self::AccessModes(_) | Self::Save(_) | Self::Driver(_) | Self::Mark(_) => None,
        }
    }

    /// When to try again.
    pub(crate) fn outcome(&self) -> Outcome {
        self.status().map_or(Outcome::Retry, after_call)
    }

    /// The gRPC code, if the driver gave one.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status().map(|status| status.code() as i32)
    }

    fn status(&self) -> Option<&Status> {
        if let Self::Driver(status) = self { Some(status) } else { None }
    }

    /// Whether the error goes into the status. If the volume is published, it does not.
    pub(crate) fn is_reported(&self) -> bool {
        !matches!(self, Self::Mark(_))
    }
}

impl DetachError {
    /// The object whose change is a reason to try again at once.
    pub(crate) fn waits_on(&self) -> Option<On> {
        match self {
            Self::Source(error) => error.waits_on(),
            Self::NothingKnown { volume, .. } => Some(on(Awaited::Volume, volume)),
            Self::Node { cause } => Some(cause.waits_on()),
            Self::Secret { cause, .. } => secret_waits_on(cause),
            Self::Driver(_) | Self::Mark(_) => None,
        }
    }

    /// When to try again.
    pub(crate) fn outcome(&self) -> Outcome {
        if let Self::Driver(status) = self { after_call(status) } else { Outcome::Retry }
    }

    /// Whether the error goes into the status. `bound` says that our finalizer is on the attachment. Without
    /// it the volume is detached, and nobody would ever remove the error.
    pub(crate) fn is_reported(&self, bound: bool) -> bool {
        bound || !matches!(self, Self::Mark(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::secret::NotText;

    #[test]
    fn open_calls_are_repeated_sooner_than_refused_ones() {
        let open = Outcome::RetryWithin(OPEN_CALL_RETRY);
        for number in 1..=16 {
            let code = Code::from_i32(number);
            let expected = match code {
                Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::Aborted => open,
                _ => Outcome::Retry,
            };
            assert_eq!(AttachError::Driver(Status::new(code, "")).outcome(), expected, "{code:?}");
            assert_eq!(DetachError::Driver(Status::new(code, "")).outcome(), expected, "{code:?}");
        }
    }

    #[test]
    fn only_a_missing_secret_is_waited_for() {
        let both = |cause: fn() -> SecretError| {
            let name = || "ns/key".to_owned();
            let attach = AttachError::Secret { name: name(), cause: cause() };
            let detach = DetachError::Secret { name: name(), cause: cause() };
            assert_eq!((attach.outcome(), detach.outcome()), (Outcome::Retry, Outcome::Retry));
            assert_eq!(attach.waits_on(), detach.waits_on());
            attach.waits_on()
        };
        let place = SecretRef { namespace: "ns".to_owned(), name: "key".to_owned() };
        let missing = || SecretError::NotFound { namespace: "ns".into(), name: "key".into() };
        assert_eq!(both(missing), Some(On::Secret(place)));
        assert_eq!(both(|| SecretError::NotText(NotText("key".to_owned()))), None);
        assert_eq!(both(|| SecretError::Api(api::Error::Service("refused".into()))), None);
    }

    #[test]
    fn only_the_drivers_answers_have_a_code() {
        let full = AttachError::Driver(Status::resource_exhausted("full"));
        assert_eq!(full.code(), Some(8));
        assert_eq!(full.to_string(), "rpc error: code = ResourceExhausted desc = full");
        assert_eq!(AttachError::from(SourceError::Both).code(), None);
    }

    #[test]
    fn what_is_missing_is_waited_for() {
        let volume = || SourceError::VolumeNotFound("pv".into());
        let node = || NodeError::NoDriver { node: "n".into(), driver: "d".into() };
        assert_eq!(AttachError::from(volume()).waits_on(), Some(on(Awaited::Volume, "pv")));
        assert_eq!(AttachError::from(node()).waits_on(), Some(on(Awaited::Node, "n")));
        assert_eq!(
            AttachError::from(NodeError::NotFound("n".into())).waits_on(),
            Some(on(Awaited::Node, "n"))
        );
        assert_eq!(DetachError::Node { cause: node() }.waits_on(), Some(on(Awaited::Node, "n")));
        let nothing = DetachError::NothingKnown { volume: "pv".into(), finalizer: "f".into() };
        assert_eq!(nothing.waits_on(), Some(on(Awaited::Volume, "pv")));
        let deleting = AttachError::VolumeDeleting("pv".into());
        assert_eq!(deleting.waits_on(), Some(on(Awaited::LiveVolume, "pv")));
        assert_eq!(AttachError::Driver(Status::not_found("")).waits_on(), None);
    }
}

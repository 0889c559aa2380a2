//! Why an RPC is refused, and which gRPC code says so.

use std::io;

use csi::v1;
use rustix::io::Errno;
use tonic::{Code, Status};

/// The reason an RPC failed. One place maps each to its code ([`Refusal::code`]); the message names the
/// field or object.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A required field is empty.
    #[error("{0} is missing in the request")]
    Missing(&'static str),
    /// A field holds what it must not.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The feature is switched off, or was never there.
    #[error("{0} is not supported by this driver as it is configured")]
    Unsupported(&'static str),
    /// The RPC is switched off.
    #[error("{0} is switched off in this driver")]
    Unimplemented(&'static str),
    /// This driver has no such RPC.
    #[error("{0} is not served by this driver")]
    NotServed(&'static str),
    /// No such object.
    #[error("{kind} {id:?} does not exist")]
    Unknown {
        /// `volume`, `snapshot`, `node`, ...
        kind: &'static str,
        /// What the caller asked for.
        id: String,
    },
    /// The name or target is taken by something else.
    #[error("{0}")]
    Clash(String),
    /// Another operation on the same object is under way.
    #[error("an operation on {0} is already under way: try again later")]
    Busy(String),
    /// Something that ends by itself stands in the way.
    #[error("{0}: try again later")]
    Held(String),
    /// Recorded, and its content is not in its place.
    #[error("the content of {0:?} is not in its place: try again later")]
    Away(String),
    /// As many slow operations of a kind as may be are under way.
    #[error("{limit} {what} are under way already: try again later")]
    Crowded {
        /// How many.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// A page token this driver did not give.
    #[error("starting_token {0:?} is not one of this driver's: list again without it")]
    BadToken(String),
    /// The object is in a state that forbids it.
    #[error("{0}")]
    WrongState(String),
    /// As [`Refusal::WrongState`], where the Go driver answers INTERNAL and its tests rely on it.
    #[error("{0}")]
    OutOfOrder(String),
    /// No room, or no room in the place asked for.
    #[error("{0}")]
    Full(String),
    /// A size that cannot be.
    #[error("{0}")]
    Size(String),
    /// The snapshot cannot be used yet.
    #[error("snapshot {0:?} is not ready yet: try again later")]
    NotReady(String),
    /// The storage does not answer. What was asked for may have been done.
    #[error("the storage does not answer: {what}: {source}: try again later")]
    Outage {
        /// What was tried.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// The storage does not take the secrets.
    #[error("{what}: {source}: check the user, its key and what it may do")]
    Denied {
        /// What was tried.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The system refused when a part was done already. The caller must not take it for undone.
    #[error("{what}: {source}: not undone, try again")]
    Unfinished {
        /// What was tried.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl Refusal {
    /// The code that the specification wants for the reason. A full disk is RESOURCE_EXHAUSTED, other
    /// refusals of the system are INTERNAL: callers take that for final. Where something was done, the code is
    /// UNAVAILABLE, after which they neither forget the request nor take it for failed.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing(_) | Self::Invalid { .. } | Self::Unsupported(_) => Code::InvalidArgument,
            Self::Unimplemented(_) | Self::NotServed(_) => Code::Unimplemented,
            Self::Unknown { .. } => Code::NotFound,
            Self::Clash(_) => Code::AlreadyExists,
            Self::Busy(_) | Self::Held(_) | Self::Away(_) | Self::Crowded { .. } | Self::BadToken(_) => {
                Code::Aborted
            }
            Self::WrongState(_) => Code::FailedPrecondition,
            Self::OutOfOrder(_) => Code::Internal,
            Self::Full(_) => Code::ResourceExhausted,
            Self::Size(_) => Code::OutOfRange,
            Self::NotReady(_) | Self::Unfinished { .. } | Self::Outage { .. } => Code::Unavailable,
            Self::Denied { .. } => Code::Unauthenticated,
            Self::System { source, .. } if is_full(source) => Code::ResourceExhausted,
            Self::System { .. } => Code::Internal,
        }
    }

    /// A bad field.
    pub fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }

    /// An unknown volume.
    pub fn no_volume(id: &str) -> Self {
        Self::Unknown { kind: "volume", id: id.to_owned() }
    }

    /// An unknown snapshot.
    pub fn no_snapshot(id: &str) -> Self {
        Self::Unknown { kind: "snapshot", id: id.to_owned() }
    }

    /// What [`Result::map_err`] wants: the system refused `what`.
    pub fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::System { what, source: source.into() }
    }
}

/// Whether there is no space (or quota, or inode) left.
pub fn is_full(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| code == Errno::NOSPC.raw_os_error() || code == Errno::DQUOT.raw_os_error())
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

/// The access type of a capability, refused where it is missing or both kinds are meant.
pub fn access_type(capability: &v1::VolumeCapability) -> Result<&v1::volume_capability::AccessType, Refusal> {
    capability
        .access_type
        .as_ref()
        .ok_or_else(|| Refusal::invalid("volume_capability", "neither block nor mount is set"))
}

//! What goes wrong, and the exit code it gives.

use thiserror::Error;
use tonic::Status;

/// Why a command ended early.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// What the user typed, or the environment, cannot be used.
    #[error("{0}")]
    Usage(String),
    /// A request or reply breaks the specification; only with validation on.
    #[error("{0}")]
    Invalid(String),
    /// The driver refused, or did not answer.
    #[error("{}", .0.message())]
    Call(Status),
}

impl Failure {
    /// The exit code: the gRPC code of a call, else 1.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Invalid(_) => 1,
            Self::Call(status) => u8::try_from(status.code() as i32).unwrap_or(1).max(1),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Call(status)
    }
}

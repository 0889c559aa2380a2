//! What a gRPC status means to a caller: its name and text as in Go, and whether it is final.

use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Longest pause after an answer that leaves the operation open: it may succeed at any moment.
pub const OPEN_CALL_RETRY: Duration = Duration::from_secs(30);

/// Whether an operation may still be running in the driver after its call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The driver answered and nothing is left running: the operation did not happen.
    Final,
    /// There is no final answer: the operation may be running or done. The caller must repeat it (or undo it)
    /// before it may assume anything.
    InProgress,
}

/// Classes a failed call: CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE and ABORTED leave the operation
/// open, all other codes are final if the driver gave them.
///
/// Differs: the Go sidecars take some failures of the transport for the driver's answer: a stream that was reset
/// (INTERNAL), a reply that is too large (RESOURCE_EXHAUSTED) or cannot be decoded (INTERNAL).
///
/// Provisioner, resizer and snapshotter use exactly this set; the attacher's is [`attach_class`].
pub fn class(status: &Status) -> ErrorClass {
    if !was_answered(status) {
        return ErrorClass::InProgress;
    }
    match status.code() {
        Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::Aborted => {
            ErrorClass::InProgress
        }
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => ErrorClass::Final,
    }
}

/// Classes a failed attach or detach. Unlike for [`class`], RESOURCE_EXHAUSTED may leave it in progress too
/// (docs/upstream/attacher.md, "gRPC codes").
pub fn attach_class(status: &Status) -> ErrorClass {
    match status.code() {
        Code::ResourceExhausted => ErrorClass::InProgress,
        _ => class(status),
    }
}

/// Marks the status of a call that never left this process.
const NOT_SENT: &str = "mooring-not-sent";

/// The status of a call that never left this process: UNAVAILABLE, with the cause.
pub fn not_sent(cause: impl Into<String>) -> Status {
    let mut status = Status::unavailable(cause);
    status.metadata_mut().insert(NOT_SENT, MetadataValue::from_static("true"));
    status
}

/// Whether the call may have reached the driver. One that did not has changed nothing; of earlier calls it says nothing.
pub fn was_sent(status: &Status) -> bool {
    !status.metadata().contains_key(NOT_SENT)
}

/// Marks the status of a call that was sent, and that the driver did not answer.
const NOT_ANSWERED: &str = "mooring-not-answered";

/// Marks this status as no answer of the driver's.
pub(crate) fn not_answered(mut status: Status) -> Status {
    status.metadata_mut().insert(NOT_ANSWERED, MetadataValue::from_static("true"));
    status
}

/// Whether the driver itself gave this status. Otherwise the driver may have done what it was asked for, whatever the code.
pub fn was_answered(status: &Status) -> bool {
    !status.metadata().contains_key(NOT_ANSWERED)
}

/// The code's name as Go prints it and as metrics carry it in `grpc_status_code`, such as
/// `DeadlineExceeded` (Go writes `Canceled` with one l).
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// A status as Go's `err.Error()` gives it and as events carry it:
/// `rpc error: code = NotFound desc = no such volume`.
pub fn grpc_text(status: &Status) -> String {
    format!("rpc error: code = {} desc = {}", code_name(status.code()), status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Code> {
        (0..=16).map(Code::from_i32)
    }

    #[test]
    fn only_four_codes_leave_an_operation_open() {
        let open: Vec<_> =
            all().filter(|code| class(&Status::new(*code, "")) == ErrorClass::InProgress).collect();
        assert_eq!(open, [Code::Cancelled, Code::DeadlineExceeded, Code::Aborted, Code::Unavailable]);
    }

    #[test]
    fn attaching_adds_resource_exhausted() {
        let more: Vec<_> = all()
            .filter(|code| {
                let status = Status::new(*code, "");
                class(&status) != attach_class(&status)
            })
            .collect();
        assert_eq!(more, [Code::ResourceExhausted]);
    }

    #[test]
    fn names_are_go_names() {
        let names: Vec<_> = all().map(code_name).collect();
        assert_eq!(
            names.join(" "),
            "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists \
             PermissionDenied ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented \
             Internal Unavailable DataLoss Unauthenticated"
        );
    }

    #[test]
    fn text_is_what_go_prints() {
        let status = Status::resource_exhausted("pool is full");
        assert_eq!(grpc_text(&status), "rpc error: code = ResourceExhausted desc = pool is full");
    }
}

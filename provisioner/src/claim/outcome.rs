//! Decides what a failed attempt leaves behind, and what happens next (docs/upstream/provisioner.md,
//! "Outcome").

use csi::{was_answered, was_sent};
use tonic::{Code, Status};

/// The state of a claim after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The driver runs nothing for the claim and keeps nothing of it.
    Finished,
    /// The driver may still be working. The claim stays in memory until a final answer, even if it is
    /// deleted.
    InBackground,
    /// As it was before the attempt.
    NoChange,
    /// The selected node has no room: the scheduler must choose again.
    Reschedule,
}

/// The state after CreateVolume failed. `topology` says whether topology is used, `node` whether a node was
/// selected.
pub(crate) fn after_error(status: &Status, topology: bool, node: bool) -> State {
    if !was_sent(status) {
        // Nothing was made by it. An earlier call may still be under way, as before.
        return State::NoChange;
    }
    if !was_answered(status) {
        return State::InBackground;
    }
    match status.code() {
        Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::Aborted => State::InBackground,
        Code::ResourceExhausted if topology && node => State::Reschedule,
        Code::ResourceExhausted
        | Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => State::Finished,
    }
}

/// Whether the request itself is refused, so that trying again soon cannot help.
pub(crate) fn is_infeasible(status: &Status) -> bool {
    status.code() == Code::InvalidArgument
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upstream's TestProvisionErrorHandling: 16 codes, with and without topology, with and without a node.
    #[test]
    fn each_code_leaves_its_state() {
        for code in (1..=16).map(Code::from) {
            for (topology, node) in [(false, false), (false, true), (true, false), (true, true)] {
                let expected = match code {
                    Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::Aborted => {
                        State::InBackground
                    }
                    Code::ResourceExhausted if topology && node => State::Reschedule,
                    _ => State::Finished,
                };
                assert_eq!(after_error(&Status::new(code, "x"), topology, node), expected, "{code:?}");
            }
        }
    }

    #[test]
    fn call_that_was_not_sent_changes_nothing() {
        assert_eq!(after_error(&csi::not_sent("connection refused"), true, true), State::NoChange);
        assert_eq!(after_error(&Status::unavailable("connection lost"), true, true), State::InBackground);
    }

    #[test]
    fn only_invalid_argument_is_infeasible() {
        for code in (1..=16).map(Code::from) {
            assert_eq!(is_infeasible(&Status::new(code, "x")), code == Code::InvalidArgument, "{code:?}");
        }
    }
}

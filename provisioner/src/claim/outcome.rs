//! What a failed attempt leaves behind, and what happens next (provisioner.md §10).

use tonic::{Code, Status};

/// Where the provisioning of a claim stands after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing runs at the driver and nothing is left there.
    Finished,
    /// The driver may still be at it: the claim is kept in memory until a final answer, even if deleted.
    InBackground,
    /// As it was before the attempt.
    NoChange,
    /// The selected node cannot be served: the scheduler is to choose again.
    Reschedule,
}

/// The state after CreateVolume failed. `topology`: volumes have places; `node`: a node was selected.
pub fn after_error(status: &Status, topology: bool, node: bool) -> State {
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

/// Whether trying again soon cannot help: the request itself is refused.
pub fn is_infeasible(status: &Status) -> bool {
    status.code() == Code::InvalidArgument
}

#[cfg(test)]
mod tests {
    use super::*;

    /// provisioner-cases.md §E: 16 codes, with and without topology, with and without a node.
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
    fn only_invalid_argument_is_infeasible() {
        for code in (1..=16).map(Code::from) {
            assert_eq!(is_infeasible(&Status::new(code, "x")), code == Code::InvalidArgument, "{code:?}");
        }
    }
}

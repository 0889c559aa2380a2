//! Why a growth failed, and what follows.

use std::time::Duration;

use base::quantity::{Quantity, QuantityError};
use base::queue::Outcome;
use csi::access::AccessError;
use csi::code::OPEN_CALL_RETRY;
use csi::{ErrorClass, attach_class, grpc_text, was_sent};
use kubernetes::api;
use kubernetes::secret::{SecretError, SecretRef};
use thiserror::Error;
use tonic::{Code, Status};

use crate::caches::VolumeError;

/// Why an attempt failed. The text goes into an event and, if the driver's answer was final, into a condition.
#[derive(Debug, Error)]
pub(crate) enum GrowthError {
    /// The claim was not marked. The driver was not called.
    #[error("marking pvc \"{claim}\" as resizing failed: {}", api::text(.cause))]
    Mark {
        /// The claim.
        claim: String,
        /// Why.
        cause: api::Error,
    },
    /// The driver said before that the volume is in use, and it is. The driver was not called.
    #[error(
        "Unable to expand {claim} because CSI driver {driver} only supports offline expansion and volume is currently in-use"
    )]
    InUse {
        /// The claim.
        claim: String,
        /// The driver.
        driver: Box<str>,
    },
    /// The volume cannot be given to the driver.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The volume's access modes have no CSI equivalent.
    #[error("failed to get capabilities of volume {volume} with {cause}")]
    AccessModes {
        /// The volume.
        volume: Box<str>,
        /// Why.
        cause: AccessError,
    },
    /// The size has no number of bytes.
    #[error("{0}")]
    Size(#[from] QuantityError),
    /// The secret.
    #[error("error getting secret {} in namespace {}: {cause}", place.name, place.namespace)]
    Secret {
        /// Which.
        place: SecretRef,
        /// Why.
        cause: SecretError,
    },
    /// The driver refused or did not answer.
    #[error("{}", grpc_text(.0))]
    Driver(Status),
    /// The driver says that the volume is smaller than what was required.
    ///
    /// `Differs:` upstream believes the driver, gives volume and claim the smaller size, and calls again at once, for ever.
    #[error(
        "the CSI driver answered that the volume has {answered} bytes, but {required} were required: a driver that rounds must round up"
    )]
    TooSmall {
        /// What the driver answered.
        answered: i64,
        /// What was asked for.
        required: Quantity,
    },
    /// The volume has grown, but that was not written to the PersistentVolume.
    #[error("error updating pv \"{volume}\" by resizer: {}", api::text(.cause))]
    SaveVolume {
        /// Its name.
        volume: Box<str>,
        /// Why.
        cause: api::Error,
    },
    /// The volume has grown, but that was not written to the claim.
    #[error("mark PVC \"{claim}\" as {as_what} failed: {}", api::text(.cause))]
    SaveClaim {
        /// The claim.
        claim: String,
        /// What has happened to it.
        as_what: &'static str,
        /// Why.
        cause: api::Error,
    },
}

/// What a failure says about the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It cannot do it: trying again soon does not help.
    Infeasible,
    /// It has refused, and is not working on it.
    Refused,
    /// It may be at it.
    MayRun,
    /// It was not asked, or has done it.
    Unasked,
}

impl GrowthError {
    /// What the failure says about the driver (docs/upstream/resizer.md, "Outcomes").
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Driver(status) if !was_sent(status) => Verdict::Unasked,
            Self::Driver(status) => match (attach_class(status), status.code()) {
                (ErrorClass::InProgress, _) => Verdict::MayRun,
                (ErrorClass::Final, Code::InvalidArgument | Code::OutOfRange | Code::NotFound) => {
                    Verdict::Infeasible
                }
                (ErrorClass::Final, _) => Verdict::Refused,
            },
            // The driver has answered, so nothing is under way.
            Self::TooSmall { .. } => Verdict::Refused,
            Self::Mark { .. }
            | Self::InUse { .. }
            | Self::Volume(_)
            | Self::AccessModes { .. }
            | Self::Size(_)
            | Self::Secret { .. }
            | Self::SaveVolume { .. }
            | Self::SaveClaim { .. } => Verdict::Unasked,
        }
    }

    /// When to try again; `slow` is the pause after what is infeasible.
    ///
    /// `Differs:` upstream tries an infeasible size twice in quick succession, because its own write ends the pause. And it
    /// waits up to `--retry-interval-max` for a call that may be in progress, or for a driver that is away. Here it is 30 s.
    pub(crate) fn outcome(&self, slow: Duration) -> Outcome {
        match (self, self.verdict()) {
            (Self::InUse { .. }, _) | (_, Verdict::Infeasible) => Outcome::After(slow),
            (Self::Driver(status), Verdict::MayRun) if status.code() != Code::ResourceExhausted => {
                Outcome::RetryWithin(OPEN_CALL_RETRY)
            }
            // The driver is away: it may be back at any moment.
            (Self::Driver(_), Verdict::Unasked) => Outcome::RetryWithin(OPEN_CALL_RETRY),
            (_, Verdict::MayRun | Verdict::Refused | Verdict::Unasked) => Outcome::Retry,
        }
    }

    /// Whether the driver says that it cannot expand the volume while it is in use.
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self, Self::Driver(status) if status.code() == Code::FailedPrecondition)
    }

    /// The text of the event.
    pub(crate) fn event(&self, volume: &str, driver: &str) -> String {
        match self {
            Self::InUse { .. } | Self::SaveVolume { .. } | Self::SaveClaim { .. } => self.to_string(),
            error => format!("resize volume \"{volume}\" by resizer \"{driver}\" failed: {error}"),
        }
    }

    /// Whether the claim gets an event. It gets none if writing the mark failed, which is the API server's problem, or if the
    /// claim has changed meanwhile.
    pub(crate) fn is_told(&self) -> bool {
        match self {
            Self::Mark { .. } => false,
            Self::SaveClaim { cause, .. } => !api::is(cause, 409),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_secs(300);

    #[test]
    fn each_code_has_its_verdict_and_pause() {
        for number in 1..=16 {
            let code = Code::from_i32(number);
            let (verdict, outcome) = match code {
                Code::InvalidArgument | Code::OutOfRange | Code::NotFound => {
                    (Verdict::Infeasible, Outcome::After(SLOW))
                }
                Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::Aborted => {
                    (Verdict::MayRun, Outcome::RetryWithin(OPEN_CALL_RETRY))
                }
                Code::ResourceExhausted => (Verdict::MayRun, Outcome::Retry),
                _ => (Verdict::Refused, Outcome::Retry),
            };
            let error = GrowthError::Driver(Status::new(code, ""));
            assert_eq!((error.verdict(), error.outcome(SLOW)), (verdict, outcome), "{code:?}");
            assert_eq!(error.is_in_use(), code == Code::FailedPrecondition, "{code:?}");
        }
    }

    #[test]
    fn call_that_was_not_sent_changes_nothing() {
        let error = GrowthError::Driver(csi::not_sent("away"));
        assert_eq!(
            (error.verdict(), error.outcome(SLOW)),
            (Verdict::Unasked, Outcome::RetryWithin(OPEN_CALL_RETRY))
        );
    }

    #[test]
    fn failures_of_our_own_say_nothing_about_the_driver() {
        let refused = || api::Error::Service("refused".into());
        for (error, told) in [
            (GrowthError::Mark { claim: "c".to_owned(), cause: refused() }, false),
            (GrowthError::AccessModes { volume: "pv".into(), cause: AccessError::None }, true),
            (GrowthError::Volume(VolumeError::NoHandle), true),
            (GrowthError::SaveVolume { volume: "pv".into(), cause: refused() }, true),
            (
                GrowthError::SaveClaim {
                    claim: "c".to_owned(),
                    as_what: "resize finished",
                    cause: refused(),
                },
                true,
            ),
        ] {
            assert_eq!((error.verdict(), error.outcome(SLOW)), (Verdict::Unasked, Outcome::Retry), "{error}");
            assert_eq!(error.is_told(), told, "{error}");
        }
        let in_use = GrowthError::InUse { claim: "ns/c".to_owned(), driver: "d".into() };
        assert_eq!((in_use.verdict(), in_use.outcome(SLOW)), (Verdict::Unasked, Outcome::After(SLOW)));
        assert_eq!(
            in_use.event("pv", "d"),
            "Unable to expand ns/c because CSI driver d only supports offline expansion and volume is currently in-use"
        );
        assert_eq!(
            GrowthError::Driver(Status::internal("no")).event("pv", "d"),
            "resize volume \"pv\" by resizer \"d\" failed: rpc error: code = Internal desc = no"
        );
    }
}

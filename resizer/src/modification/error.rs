//! Why a modification failed, and what follows.

use std::time::Duration;

use base::queue::Outcome;
use csi::code::OPEN_CALL_RETRY;
use csi::{ErrorClass, attach_class, grpc_text, was_sent};
use kubernetes::api;
use kubernetes::object::Key;
use kubernetes::secret::{SecretError, SecretRef};
use kubernetes::waiting;
use thiserror::Error;
use tonic::{Code, Status};

/// What a claim may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Awaited {
    /// A class of this name, of this driver.
    Class,
}

/// Why an attempt failed. The text goes into an event.
#[derive(Debug, Error)]
pub(super) enum ModifyError {
    /// There is no such class.
    #[error("VAC \"{0}\" does not exist.")]
    NoClass(Box<str>),
    /// The class is another driver's.
    ///
    /// `Differs:` upstream calls its driver with the parameters of a class for another driver.
    #[error("VAC \"{class}\" is for CSI driver {driver}, not for that of the volume.")]
    Foreign {
        /// The class.
        class: Box<str>,
        /// Whose it is.
        driver: Box<str>,
    },
    /// The claim was not marked. The driver was not called.
    #[error("mark PVC \"{claim}\" as modify volume failed, errored with: {}", api::text(.cause))]
    Mark {
        /// The claim.
        claim: String,
        /// Why.
        cause: api::Error,
    },
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
    /// The volume is modified, but that was not written to the PersistentVolume.
    #[error("update pv.Spec.VolumeAttributesClassName for PVC \"{claim}\" failed, errored with: {}", api::text(.cause))]
    SaveVolume {
        /// The claim.
        claim: String,
        /// Why.
        cause: api::Error,
    },
    /// The volume is modified, but that was not written to the claim.
    #[error("mark PVC \"{claim}\" as ModifyVolumeCompleted failed, errored with: {}", api::text(.cause))]
    SaveClaim {
        /// The claim.
        claim: String,
        /// Why.
        cause: api::Error,
    },
}

impl ModifyError {
    /// The driver's answer, if it was asked. No answer is one too: the driver may be at it.
    ///
    /// `Differs:` if the driver is away and the call was not sent, upstream writes into the status that it is still modifying.
    pub(super) fn answer(&self) -> Option<&Status> {
        if let Self::Driver(status) = self { Some(status).filter(|status| was_sent(status)) } else { None }
    }

    /// Whether the claim gets an event: not for what is the API server's matter.
    ///
    /// `Differs:` upstream tells nobody that a secret is missing.
    pub(super) fn is_told(&self) -> bool {
        !matches!(self, Self::Mark { .. } | Self::SaveVolume { .. } | Self::SaveClaim { .. })
    }

    /// The object whose appearance is a reason to try again.
    ///
    /// `Differs:` upstream does not notice a class that appears after the claim has named it.
    pub(super) fn waits_on(&self) -> Option<waiting::On<Awaited>> {
        match self {
            Self::NoClass(class) | Self::Foreign { class, .. } => {
                Some(waiting::On::Object(Awaited::Class, Key::cluster(class)))
            }
            Self::Mark { .. }
            | Self::Secret { .. }
            | Self::Driver(_)
            | Self::SaveVolume { .. }
            | Self::SaveClaim { .. } => None,
        }
    }

    /// When to try again; `slow` is the pause after what is infeasible.
    ///
    /// `Differs:` upstream waits up to `--retry-interval-max` for a call that may be in progress. Here it is 30 s.
    pub(super) fn outcome(&self, slow: Duration) -> Outcome {
        match self {
            Self::NoClass(_) | Self::Foreign { .. } => Outcome::Done,
            Self::Driver(status) if is_infeasible(status) => Outcome::After(slow),
            Self::Driver(status) if is_open(status) && status.code() != Code::ResourceExhausted => {
                Outcome::RetryWithin(OPEN_CALL_RETRY)
            }
            Self::Driver(_)
            | Self::Mark { .. }
            | Self::Secret { .. }
            | Self::SaveVolume { .. }
            | Self::SaveClaim { .. } => Outcome::Retry,
        }
    }
}

/// Whether the driver may be at it.
pub(super) fn is_open(status: &Status) -> bool {
    attach_class(status) == ErrorClass::InProgress
}

/// Whether the driver cannot do it. Unlike for growing, only INVALID_ARGUMENT says so.
pub(super) fn is_infeasible(status: &Status) -> bool {
    !is_open(status) && status.code() == Code::InvalidArgument
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_pause() {
        let slow = Duration::from_secs(300);
        for number in 1..=16 {
            let code = Code::from_i32(number);
            let expected = match code {
                Code::InvalidArgument => Outcome::After(slow),
                Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::Aborted => {
                    Outcome::RetryWithin(OPEN_CALL_RETRY)
                }
                _ => Outcome::Retry,
            };
            let error = ModifyError::Driver(Status::new(code, ""));
            assert_eq!((error.outcome(slow), error.is_told()), (expected, true), "{code:?}");
        }
        assert!(is_open(&Status::resource_exhausted("")) && !is_open(&Status::not_found("")));
    }

    #[test]
    fn claim_waits_for_a_class_that_can_be_used() {
        let slow = Duration::from_secs(300);
        let foreign = ModifyError::Foreign { class: "gold".into(), driver: "other".into() };
        for error in [ModifyError::NoClass("gold".into()), foreign] {
            let on = waiting::On::Object(Awaited::Class, Key::cluster("gold"));
            assert_eq!((error.waits_on(), error.outcome(slow)), (Some(on), Outcome::Done), "{error}");
        }
        assert_eq!(ModifyError::Driver(Status::internal("")).waits_on(), None);
    }
}

//! Kubernetes access modes in CSI's terms.
//!
//! Two tables: a PersistentVolume's modes together give one CSI mode ([`of_volume`], for
//! publishing); a claim's modes give one each ([`of_claim_mode`], for provisioning). Both depend on
//! whether the driver has the SINGLE_NODE_MULTI_WRITER controller capability. Source:
//! docs/upstream/conventions.md, "Access modes"; docs/upstream/provisioner.md, "Request".

use crate::v1::volume_capability::access_mode::Mode;

/// Why modes have no CSI equivalent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Kubernetes knows four modes; this is none.
    #[error("access mode {0:?} is not one of ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod")]
    Unknown(String),
    /// No mode at all.
    #[error("there are no access modes")]
    None,
    /// ReadWriteOncePod with another.
    #[error("ReadWriteOncePod cannot be combined with other access modes")]
    PodWithOthers,
    /// ReadOnlyMany with ReadWriteOnce, without ReadWriteMany.
    #[error("ReadOnlyMany and ReadWriteOnce cannot be combined: CSI has no mode for both")]
    ReadOnlyManyWithOnce,
}

const ONCE: &str = "ReadWriteOnce";
const READ_ONLY_MANY: &str = "ReadOnlyMany";
const MANY: &str = "ReadWriteMany";
const ONCE_POD: &str = "ReadWriteOncePod";

/// The CSI mode that a PersistentVolume's modes amount to; duplicates do not matter.
///
/// # Errors
/// [`AccessError`] for combinations CSI cannot say. An unknown mode is an error even beside known
/// ones (Differs: upstream ignores it then; the API server admits none).
pub fn of_volume<S: AsRef<str>>(modes: &[S], multi_writer: bool) -> Result<Mode, AccessError> {
    let modes = || modes.iter().map(AsRef::as_ref);
    let known = [ONCE, READ_ONLY_MANY, MANY, ONCE_POD];
    if let Some(unknown) = modes().find(|mode| !known.contains(mode)) {
        return Err(AccessError::Unknown(unknown.to_owned()));
    }
    let has = |mode| modes().any(|m| m == mode);
    match (has(ONCE_POD), has(MANY), has(READ_ONLY_MANY), has(ONCE)) {
        (true, false, false, false) => Ok(once_pod(multi_writer)),
        (true, ..) => Err(AccessError::PodWithOthers),
        (_, true, ..) => Ok(Mode::MultiNodeMultiWriter),
        (_, _, true, true) => Err(AccessError::ReadOnlyManyWithOnce),
        (_, _, true, false) => Ok(Mode::MultiNodeReaderOnly),
        (_, _, false, true) => Ok(once(multi_writer)),
        (false, false, false, false) => Err(AccessError::None),
    }
}

/// The CSI mode for one of a claim's modes.
///
/// # Errors
/// [`AccessError::Unknown`].
pub fn of_claim_mode(mode: &str, multi_writer: bool) -> Result<Mode, AccessError> {
    match mode {
        ONCE => Ok(once(multi_writer)),
        ONCE_POD => Ok(once_pod(multi_writer)),
        MANY => Ok(Mode::MultiNodeMultiWriter),
        READ_ONLY_MANY => Ok(Mode::MultiNodeReaderOnly),
        unknown => Err(AccessError::Unknown(unknown.to_owned())),
    }
}

fn once(multi_writer: bool) -> Mode {
    if multi_writer { Mode::SingleNodeMultiWriter } else { Mode::SingleNodeWriter }
}

fn once_pod(multi_writer: bool) -> Mode {
    if multi_writer { Mode::SingleNodeSingleWriter } else { Mode::SingleNodeWriter }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volumes_modes_amount_to_one() {
        for (modes, without, with) in [
            (&[ONCE_POD][..], Mode::SingleNodeWriter, Mode::SingleNodeSingleWriter),
            (&[MANY], Mode::MultiNodeMultiWriter, Mode::MultiNodeMultiWriter),
            (&[MANY, ONCE], Mode::MultiNodeMultiWriter, Mode::MultiNodeMultiWriter),
            (&[READ_ONLY_MANY, MANY], Mode::MultiNodeMultiWriter, Mode::MultiNodeMultiWriter),
            (&[ONCE, READ_ONLY_MANY, MANY], Mode::MultiNodeMultiWriter, Mode::MultiNodeMultiWriter),
            (&[READ_ONLY_MANY], Mode::MultiNodeReaderOnly, Mode::MultiNodeReaderOnly),
            (&[ONCE], Mode::SingleNodeWriter, Mode::SingleNodeMultiWriter),
            (&[ONCE, ONCE], Mode::SingleNodeWriter, Mode::SingleNodeMultiWriter),
            (&[ONCE_POD, ONCE_POD], Mode::SingleNodeWriter, Mode::SingleNodeSingleWriter),
        ] {
            assert_eq!(of_volume(modes, false), Ok(without), "{modes:?}");
            assert_eq!(of_volume(modes, true), Ok(with), "{modes:?}");
        }
    }

    #[test]
    fn combinations_that_csi_cannot_say_are_errors() {
        for (modes, want) in [
            (&[][..], AccessError::None),
            (&[ONCE_POD, ONCE], AccessError::PodWithOthers),
            (&[ONCE_POD, MANY], AccessError::PodWithOthers),
            (&[READ_ONLY_MANY, ONCE_POD], AccessError::PodWithOthers),
            (&[READ_ONLY_MANY, ONCE], AccessError::ReadOnlyManyWithOnce),
            (&["ReadWriteSometimes"], AccessError::Unknown("ReadWriteSometimes".to_owned())),
        ] {
            for multi_writer in [false, true] {
                assert_eq!(of_volume(modes, multi_writer), Err(want.clone()), "{modes:?}");
            }
        }
    }

    #[test]
    fn a_claims_modes_give_one_each() {
        for (mode, without, with) in [
            (ONCE, Mode::SingleNodeWriter, Mode::SingleNodeMultiWriter),
            (ONCE_POD, Mode::SingleNodeWriter, Mode::SingleNodeSingleWriter),
            (MANY, Mode::MultiNodeMultiWriter, Mode::MultiNodeMultiWriter),
            (READ_ONLY_MANY, Mode::MultiNodeReaderOnly, Mode::MultiNodeReaderOnly),
        ] {
            assert_eq!(of_claim_mode(mode, false), Ok(without));
            assert_eq!(of_claim_mode(mode, true), Ok(with));
        }
        assert_eq!(of_claim_mode("x", true), Err(AccessError::Unknown("x".to_owned())));
    }
}

//! What was read of a source, and what is asked of both kinds.

use base::quantity::Quantity;
use kubernetes::object::{Snapshot, SnapshotContent, SourceClaim, Volume, WireGrant};
use kubernetes::waiting::{Kind, Seen};
use serde_json::Value;

use super::error::SourceError;

/// What was read of the source: what the claim names, and what that names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The VolumeSnapshot.
    pub(crate) snapshot: Option<Snapshot>,
    /// The same as it was read, to be written back.
    pub(crate) live_snapshot: Option<Value>,
    /// The VolumeSnapshotContent that it names.
    pub(crate) content: Option<SnapshotContent>,
    /// The claim.
    pub(crate) claim: Option<SourceClaim>,
    /// Whether somebody else may have sent a request for the claim that is to be filled: a clone may be half made.
    pub(crate) may_be_half_made: bool,
    /// The PersistentVolume that it names.
    pub(crate) volume: Option<Volume>,
    /// The ReferenceGrants of the source's namespace, if that is another.
    pub(crate) grants: Vec<WireGrant>,
    /// What was looked at. If the claim may not be filled yet, a change of this may help.
    pub(crate) seen: Vec<Seen>,
}

impl Found {
    /// What was looked at and may mend this error when it changes.
    pub(crate) fn seen_for(&self, error: &SourceError) -> Vec<Seen> {
        let may_mend = |seen: &&Seen| match seen.kind {
            Kind::Grant => matches!(error, SourceError::NotGranted(_)),
            Kind::Snapshot => error.names(&format!("VolumeSnapshot {}", seen.key)),
            Kind::Content => {
                // The mode is that of the volume that the snapshot was cut from; the content says it.
                error.names(&format!("VolumeSnapshotContent {}", seen.key))
                    || matches!(error, SourceError::Mode { .. })
            }
            Kind::Claim => error.names(&format!("PersistentVolumeClaim {}", seen.key)),
            Kind::Volume => error.names(&format!("PersistentVolume {}", seen.key)),
            Kind::Secret | Kind::AttributesClass | Kind::AttributesClassBeta => false,
        };
        self.seen.iter().filter(may_mend).cloned().collect()
    }
}

/// The request must be for as much as the source has.
pub(super) fn check_size(bytes: i64, source: &str, size: &str) -> Result<(), SourceError> {
    match Quantity::parse(size).and_then(|quantity| quantity.value()) {
        Ok(least) if bytes >= least => Ok(()),
        Ok(least) => Err(SourceError::TooLarge { object: source.to_owned(), least, asked: bytes }),
        Err(_) => Err(SourceError::Size { object: source.to_owned(), size: size.to_owned() }),
    }
}

//! What the volume is filled with, and whether the claim may have that (docs/upstream/provisioner.md, "Content sources").
//!
//! One pure function for each kind decides from what was read: [`snapshot::restore`] and [`clone::clone_of`]. An object that
//! somebody can write in their own namespace proves nothing: the object at the other end must name it too, by its uid. For a
//! source in another namespace a third one, [`grant::may_refer`], comes first: a ReferenceGrant there must allow it.

mod asked;
mod clone;
mod error;
mod found;
mod grant;
mod snapshot;
#[cfg(test)]
mod tests;

use csi::v1::{self, volume_content_source::Type};
use kubernetes::object::Claim;

pub(crate) use self::asked::{Asked, asked, fills_from, named};
pub(crate) use self::error::SourceError;
pub(crate) use self::found::Found;
pub(crate) use self::grant::may_refer;

use super::super::error::ProvisionError;
use crate::config::Config;

/// The driver must be able to fill a volume from this.
pub(super) fn check_driver(config: &Config, asked: Option<&Asked>) -> Result<(), ProvisionError> {
    use ProvisionError::NotSupported;
    match asked {
        Some(Asked::Snapshot(_)) if !config.can.snapshots => {
            Err(NotSupported("restoring a snapshot: CREATE_DELETE_SNAPSHOT missing"))
        }
        Some(Asked::Claim(_)) if !config.can.clones => {
            Err(NotSupported("cloning a volume: CLONE_VOLUME missing"))
        }
        Some(Asked::Snapshot(_) | Asked::Claim(_) | Asked::Other(..)) | None => Ok(()),
    }
}

/// A source of a kind that CSI does not know, in a namespace that the claim names, is a populator's if the claim may have it:
/// then nothing else about the claim is ours to judge.
pub(super) fn check_kind(claim: &Claim, asked: Option<&Asked>, found: &Found) -> Result<(), SourceError> {
    match asked {
        Some(asked @ Asked::Other(..)) if may_refer(claim, asked, &found.grants) => {
            Err(SourceError::ForPopulator(asked.text()))
        }
        Some(asked @ Asked::Other(..)) => Err(SourceError::NotGranted(asked.text())),
        Some(Asked::Snapshot(_) | Asked::Claim(_)) | None => Ok(()),
    }
}

/// The content source of a request for `bytes`; `None` for an empty volume.
///
/// # Errors
/// There is no such source, or the claim may not have it.
pub(super) fn content_source(
    config: &Config,
    claim: &Claim,
    bytes: i64,
    asked: Option<&Asked>,
    found: &Found,
) -> Result<Option<v1::VolumeContentSource>, SourceError> {
    let r#type = match asked {
        None => return Ok(None),
        // Before anything else: what is in another namespace is not even talked about.
        Some(asked) if !may_refer(claim, asked, &found.grants) => {
            return Err(SourceError::NotGranted(asked.text()));
        }
        Some(asked @ Asked::Other(..)) => return Err(SourceError::ForPopulator(asked.text())),
        Some(Asked::Snapshot(key)) => {
            let snapshot_id = snapshot::restore(config, claim, bytes, key, found)?;
            Type::Snapshot(v1::volume_content_source::SnapshotSource { snapshot_id })
        }
        Some(Asked::Claim(key)) => {
            let volume_id = clone::clone_of(config, claim, bytes, key, found)?;
            Type::Volume(v1::volume_content_source::VolumeSource { volume_id })
        }
    };
    Ok(Some(v1::VolumeContentSource { r#type: Some(r#type) }))
}

//! What the volume is filled with, and whether the claim may have that (docs/upstream/provisioner.md, "Content sources").
//!
//! One pure function for each kind decides from what was read: [`snapshot::restore`] and [`clone::clone_of`]. An object that
//! somebody can write in their own namespace proves nothing: the object at the other end must name it too, by its uid.

mod clone;
mod error;
mod found;
mod snapshot;
#[cfg(test)]
mod tests;

use csi::v1::{self, volume_content_source::Type};
use kubernetes::object::Claim;

pub(crate) use self::error::SourceError;
pub(crate) use self::found::Found;

use super::super::eligible::{names_namespace, source};
use super::super::error::ProvisionError;
use crate::config::Config;

/// The API group of snapshots.
const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

/// What a claim is to be filled from: an object of its own namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    /// The VolumeSnapshot of this name.
    Snapshot(&'a str),
    /// The claim of this name.
    Claim(&'a str),
}

/// What the claim names; `None` for an empty volume.
///
/// # Errors
/// It names something that no volume can be filled from, or another namespace.
pub(crate) fn asked(claim: &Claim) -> Result<Option<Asked<'_>>, ProvisionError> {
    if names_namespace(claim) {
        return Err(ProvisionError::NotAvailable(
            "filling a volume from another namespace (spec.dataSourceRef.namespace)",
        ));
    }
    let Some(source) = source(claim) else { return Ok(None) };
    let (kind, group) = (&*source.kind, source.api_group.as_deref().unwrap_or_default());
    let asked = match kind {
        "VolumeSnapshot" if group == SNAPSHOTS => Asked::Snapshot(&source.name),
        // As upstream, whatever the group is.
        "PersistentVolumeClaim" => Asked::Claim(&source.name),
        _ => return Err(SourceError::Kind { kind: kind.to_owned(), group: group.to_owned() }.into()),
    };
    if source.name.is_empty() {
        return Err(SourceError::NoName.into());
    }
    Ok(Some(asked))
}

/// The driver must be able to fill a volume from this.
pub(super) fn check_driver(config: &Config, asked: Option<Asked<'_>>) -> Result<(), ProvisionError> {
    use ProvisionError::NotSupported;
    match asked {
        Some(Asked::Snapshot(_)) if !config.can.snapshots => {
            Err(NotSupported("restoring a snapshot: CREATE_DELETE_SNAPSHOT missing"))
        }
        Some(Asked::Claim(_)) if !config.can.clones => {
            Err(NotSupported("cloning a volume: CLONE_VOLUME missing"))
        }
        Some(_) | None => Ok(()),
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
    asked: Option<Asked<'_>>,
    found: &Found,
) -> Result<Option<v1::VolumeContentSource>, SourceError> {
    let r#type = match asked {
        None => return Ok(None),
        Some(Asked::Snapshot(name)) => {
            let snapshot_id = snapshot::restore(config, claim, bytes, name, found)?;
            Type::Snapshot(v1::volume_content_source::SnapshotSource { snapshot_id })
        }
        Some(Asked::Claim(name)) => {
            let volume_id = clone::clone_of(config, claim, bytes, name, found)?;
            Type::Volume(v1::volume_content_source::VolumeSource { volume_id })
        }
    };
    Ok(Some(v1::VolumeContentSource { r#type: Some(r#type) }))
}

//! What the volume is filled with (docs/upstream/provisioner.md, "Content sources").

use csi::v1;
use kubernetes::object::Claim;

use super::super::eligible::names_namespace;
use super::super::error::ProvisionError;

/// The content source; `None` for an empty volume.
///
/// # Errors
/// The claim names a source: this release fills no volume.
pub(super) fn content_source(claim: &Claim) -> Result<Option<v1::VolumeContentSource>, ProvisionError> {
    use ProvisionError::NotAvailable;
    if names_namespace(claim) {
        return Err(NotAvailable("filling a volume from another namespace (spec.dataSourceRef.namespace)"));
    }
    if claim.data_source.is_some() || claim.data_source_ref.is_some() {
        return Err(NotAvailable("filling a volume from spec.dataSource"));
    }
    Ok(None)
}

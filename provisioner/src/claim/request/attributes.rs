//! The parameters of the claim's VolumeAttributesClass.

use std::collections::BTreeMap;

use kubernetes::object::Claim;

use super::super::error::ProvisionError;
use crate::config::Config;

/// The mutable parameters; empty when the claim names no VolumeAttributesClass.
///
/// # Errors
/// The claim names one: this release does not read it.
pub(super) fn mutable_parameters(
    config: &Config,
    claim: &Claim,
) -> Result<BTreeMap<String, String>, ProvisionError> {
    if config.names_attributes(claim) {
        return Err(ProvisionError::NotAvailable("spec.volumeAttributesClassName"));
    }
    Ok(BTreeMap::new())
}

//! Which parameters of the class the driver gets: all but the reserved ones, and the metadata if it is asked for.

use std::collections::BTreeMap;

use kubernetes::object::{Claim, Class};
use kubernetes::secret::strip_reserved;

use super::super::error::ProvisionError;
use crate::config::Config;

/// The driver's parameters.
///
/// # Errors
/// A reserved parameter is unknown.
pub(super) fn parameters(
    config: &Config,
    claim: &Claim,
    class: &Class,
    name: &str,
) -> Result<BTreeMap<String, String>, ProvisionError> {
    let mut parameters = strip_reserved(&class.parameters)?;
    if config.extra_metadata {
        parameters.extend(metadata(claim, name));
    }
    Ok(parameters)
}

fn metadata(claim: &Claim, name: &str) -> [(String, String); 3] {
    [
        ("csi.storage.k8s.io/pvc/name".to_owned(), claim.meta.name().to_owned()),
        ("csi.storage.k8s.io/pvc/namespace".to_owned(), claim.meta.namespace().to_owned()),
        ("csi.storage.k8s.io/pv/name".to_owned(), name.to_owned()),
    ]
}

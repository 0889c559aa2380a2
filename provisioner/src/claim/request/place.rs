//! Where the volume is to be (docs/upstream/provisioner.md, "Topology").

use kubernetes::object::{Claim, Class};

use super::super::error::ProvisionError;
use crate::config::Config;
use crate::topology::{Asked, Known, Placement, allowed_terms, placement};

/// The terms that the driver is to choose from; `None` when it is told none.
///
/// # Errors
/// The claim cannot be placed.
pub(super) fn place(
    config: &Config,
    claim: &Claim,
    class: &Class,
    known: &Known,
) -> Result<Option<Placement>, ProvisionError> {
    if !config.uses_topology() {
        return Ok(None);
    }
    let allowed = allowed_terms(class);
    let asked = Asked {
        claim: claim.meta.name(),
        allowed: &allowed,
        strict: config.strict_topology,
        immediate: config.immediate_topology,
    };
    Ok(placement(&asked, known)?)
}

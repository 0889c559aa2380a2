//! Where the volume is to be (docs/upstream/provisioner.md, "Topology").

use csi::topology::AllowedTerm;
use kubernetes::object::{AllowedValues, Claim, Class, TopologyTerm};

use super::super::error::ProvisionError;
use crate::config::Config;
use crate::topology::{Asked, Known, Placement, placement};

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
    let allowed: Vec<AllowedTerm> = class.allowed_topologies.iter().map(allowed_term).collect();
    let asked = Asked {
        claim: claim.meta.name(),
        allowed: &allowed,
        strict: config.strict_topology,
        immediate: config.immediate_topology,
    };
    Ok(placement(&asked, known)?)
}

fn allowed_term(term: &TopologyTerm) -> AllowedTerm {
    let values = |allowed: &AllowedValues| allowed.values.iter().map(ToString::to_string).collect();
    term.0.iter().map(|allowed| (allowed.key.to_string(), values(allowed))).collect()
}

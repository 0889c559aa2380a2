//! Where volumes may be and should be (docs/upstream/provisioner.md, "Topology").
//!
//! Glossary:
//! - *topology key*: a label of Nodes that the driver has registered in a CSINode;
//! - *term*: a key and a value for each of some keys, all of which must hold ([`csi::topology::Term`]);
//! - *segment*: the term of a node for the keys registered there;
//! - *requisite* and *preferred*: the terms that CreateVolume sends, in two orders.
//!
//! Decisions are plain: [`Cluster`] holds what the nodes registered, [`placement`] turns it into the terms of one claim.
//! [`Nodes`] reads the caches.

mod cluster;
mod nodes;
mod requirement;

use csi::topology::AllowedTerm;
use kubernetes::object::{AllowedValues, Class, TopologyTerm};
pub(crate) use nodes::Nodes;

pub(crate) use requirement::{Asked, Known, Placement, TopologyError, placement};

/// `allowedTopologies` of the class.
pub(crate) fn allowed_terms(class: &Class) -> Vec<AllowedTerm> {
    let values = |allowed: &AllowedValues| allowed.values.iter().map(ToString::to_string).collect();
    let term = |term: &TopologyTerm| {
        term.0.iter().map(|allowed| (allowed.key.to_string(), values(allowed))).collect()
    };
    class.allowed_topologies.iter().map(term).collect()
}

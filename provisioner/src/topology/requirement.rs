//! The terms that CreateVolume gets for a claim.

use std::sync::Arc;

use csi::topology::{AllowedTerm, Term, first_by_name, first_on_node, flatten, rotated, sorted_distinct};
use csi::v1;
use thiserror::Error;

use super::cluster::{Cluster, KeySet, key_set};

/// Terms that an event names; a large cluster has thousands.
const SHOWN: usize = 10;

/// The node that the scheduler has selected for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selected {
    name: Box<str>,
    keys: KeySet,
    segment: Term,
}

impl Selected {
    /// The node of this name, where the driver has registered `keys`. `label` gives a label of the Node, if there is a Node.
    ///
    /// # Errors
    /// The driver has registered no keys there, or the Node or one of its labels is missing.
    pub(crate) fn new<'v>(
        name: &str,
        keys: &[Arc<str>],
        label: Option<impl Fn(&str) -> Option<&'v str>>,
    ) -> Result<Self, TopologyError> {
        let node = || name.to_owned();
        if keys.is_empty() {
            return Err(TopologyError::NoKeys { node: node() });
        }
        let label = label.ok_or_else(|| TopologyError::NoNode { node: node() })?;
        let keys = key_set(keys);
        let segment = Term::of_labels(keys.iter().map(|key| &**key), label);
        match segment {
            Ok(segment) => Ok(Self { name: name.into(), keys: keys.clone(), segment }),
            Err(missing) => {
                Err(TopologyError::NoLabel { node: node(), missing: missing.to_owned(), keys: list(&keys) })
            }
        }
    }
}

/// What is known of the nodes when a request is made.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The selected node, if one is selected.
    pub(crate) selected: Option<Result<Selected, TopologyError>>,
    /// All nodes.
    pub(crate) cluster: Arc<Cluster>,
}

/// What a claim asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The claim's name.
    pub(crate) claim: &'a str,
    /// `allowedTopologies` of its class.
    pub(crate) allowed: &'a [AllowedTerm],
    /// `--strict-topology`.
    pub(crate) strict: bool,
    /// `--immediate-topology`.
    pub(crate) immediate: bool,
}

/// The terms of one claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The requisite terms, sorted and distinct.
    terms: Arc<[Term]>,
    /// Which of them the preferred ones begin with.
    first: usize,
}

impl Placement {
    /// These terms; the preferred ones begin with the one of this number. `None` if there is none.
    pub(crate) fn of(terms: Arc<[Term]>, first: usize) -> Option<Self> {
        (first < terms.len()).then_some(Self { terms, first })
    }

    /// The requisite terms.
    pub(crate) fn terms(&self) -> &Arc<[Term]> {
        &self.terms
    }

    /// Which of them the preferred ones begin with.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// As CreateVolume sends them.
    pub(crate) fn requirement(&self) -> v1::TopologyRequirement {
        let topology = |term: &Term| v1::Topology { segments: term.segments() };
        v1::TopologyRequirement {
            requisite: self.terms.iter().map(topology).collect(),
            preferred: rotated(&self.terms, self.first).iter().map(topology).collect(),
        }
    }
}

/// Why a claim has no terms.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum TopologyError {
    /// The selected node has no CSINode: it is gone, and the scheduler must choose again.
    #[error("failed to get selected CSINode {node}: csinode.storage.k8s.io \"{node}\" not found")]
    NoCsiNode {
        /// Its name.
        node: String,
    },
    /// The driver is not on the selected node, or has no topology there.
    #[error("no topology key found for node {node}: the CSI driver is not registered there, or not yet")]
    NoKeys {
        /// Its name.
        node: String,
    },
    /// The selected node has a CSINode and no Node.
    #[error("error getting selected node \"{node}\": node \"{node}\" not found")]
    NoNode {
        /// Its name.
        node: String,
    },
    /// The selected Node lacks a label.
    #[error(
        "topology labels from selected node {node} does not match topology keys from CSINode [{keys}]: label {missing} is \
         missing"
    )]
    NoLabel {
        /// Its name.
        node: String,
        /// The label.
        missing: String,
        /// The keys registered there.
        keys: String,
    },
    /// The class does not allow the selected node.
    #[error("selected node {node} topology {segment} is not in allowed topologies: {terms}")]
    NotAllowed {
        /// Its name.
        node: String,
        /// Its segment.
        segment: Term,
        /// The allowed terms.
        terms: String,
    },
    /// None of the requisite terms holds on the selected node.
    #[error("topology {segment} from selected node {node} is not in requisite: {terms}")]
    NotRequisite {
        /// Its name.
        node: String,
        /// Its segment.
        segment: Term,
        /// The requisite terms.
        terms: String,
    },
    /// The driver has registered keys nowhere.
    #[error("no available topology found: the CSI driver has registered topology keys on no node")]
    NothingRegistered,
    /// No node has its keys as labels.
    #[error("topologyKeys {keys} were not found on any nodes")]
    NoNodeMatches {
        /// The sets of keys.
        keys: String,
    },
}

impl TopologyError {
    /// Whether the scheduler must choose another node.
    pub(crate) fn node_is_gone(&self) -> Option<&str> {
        match self {
            Self::NoCsiNode { node } => Some(node),
            Self::NoKeys { .. }
            | Self::NoNode { .. }
            | Self::NoLabel { .. }
            | Self::NotAllowed { .. }
            | Self::NotRequisite { .. }
            | Self::NothingRegistered
            | Self::NoNodeMatches { .. } => None,
        }
    }
}

/// The terms of a claim; `None` when every place will do.
///
/// # Errors
/// [`TopologyError`]
pub(crate) fn placement(asked: &Asked<'_>, known: &Known) -> Result<Option<Placement>, TopologyError> {
    let selected = known.selected.as_ref().map(Result::as_ref).transpose().map_err(Clone::clone)?;
    if let Some(node) = selected.filter(|_| asked.strict) {
        return strict(asked.allowed, node).map(Some);
    }
    let terms: Arc<[Term]> = match (asked.allowed, selected) {
        ([], Some(node)) => registered(known.cluster.of_keys(&node.keys), || list(&node.keys))?,
        ([], None) if !asked.immediate => return Ok(None),
        ([], None) => anywhere(&known.cluster)?,
        (allowed, _) => sorted_distinct(flatten(allowed)).into(),
    };
    if terms.is_empty() {
        // The class has allowed topologies that name nothing.
        return Ok(None);
    }
    let first = match selected {
        None => first_by_name(&terms, asked.claim),
        Some(node) => first_on_node(&terms, &node.segment).ok_or_else(|| TopologyError::NotRequisite {
            node: node.name.to_string(),
            segment: node.segment.clone(),
            terms: shown(&terms),
        })?,
    };
    Ok(Some(Placement { terms, first }))
}

/// The selected node's segment, if the class allows it.
fn strict(allowed: &[AllowedTerm], node: &Selected) -> Result<Placement, TopologyError> {
    let terms = flatten(allowed);
    if allowed.is_empty() || first_on_node(&terms, &node.segment).is_some() {
        return Ok(Placement { terms: [node.segment.clone()].into(), first: 0 });
    }
    let (name, segment) = (node.name.to_string(), node.segment.clone());
    Err(TopologyError::NotAllowed { node: name, segment, terms: shown(&terms) })
}

fn anywhere(cluster: &Cluster) -> Result<Arc<[Term]>, TopologyError> {
    let sets = cluster.key_sets();
    if sets.is_empty() {
        return Err(TopologyError::NothingRegistered);
    }
    let keys = || sets.iter().map(|keys| format!("[{}]", list(keys))).collect::<Vec<_>>().join(" ");
    registered(cluster.everywhere(), keys)
}

fn registered(terms: Arc<[Term]>, keys: impl FnOnce() -> String) -> Result<Arc<[Term]>, TopologyError> {
    if terms.is_empty() { Err(TopologyError::NoNodeMatches { keys: keys() }) } else { Ok(terms) }
}

fn list(keys: &[Arc<str>]) -> String {
    keys.join(" ")
}

/// The first few terms.
fn shown(terms: &[Term]) -> String {
    let mut texts: Vec<String> = terms.iter().take(SHOWN).map(|term| format!("[{term}]")).collect();
    if terms.len() > SHOWN {
        texts.push(format!("and {} more", terms.len() - SHOWN));
    }
    texts.join(" ")
}

#[cfg(test)]
mod tests;

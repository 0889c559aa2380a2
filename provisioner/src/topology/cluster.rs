//! What the driver has registered on the nodes of the cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use csi::topology::{Term, sorted_distinct};

/// The topology keys of a node, sorted, each once.
pub(crate) type KeySet = Arc<[Arc<str>]>;

/// A node where the driver runs.
#[derive(Debug, Clone)]
struct Registered {
    /// What it registered; may be empty.
    keys: KeySet,
    /// Key and value for each of them that the Node has as a label. `None` when there is no Node.
    labels: Option<BTreeMap<Arc<str>, Arc<str>>>,
}

impl Registered {
    /// The term for `keys`, if the driver registered them all here and the Node has them as labels.
    fn term(&self, keys: &[Arc<str>]) -> Option<Term> {
        let labels = self.labels.as_ref()?;
        let registered = keys.iter().all(|key| self.keys.binary_search(key).is_ok());
        let label = |key: &str| labels.get(key).map(|value| &**value);
        registered.then(|| Term::of_labels(keys.iter().map(|key| &**key), label).ok())?
    }
}

/// The nodes where the driver runs, as they are at one moment. What follows from them is worked out once.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    nodes: Vec<Registered>,
    /// The terms of every key set together.
    everywhere: OnceLock<Arc<[Term]>>,
    by_keys: Mutex<HashMap<KeySet, Arc<[Term]>>>,
}

impl Cluster {
    /// The cluster with these nodes: the keys that the driver registered there, and how to look up a label of the Node, if
    /// there is a Node.
    pub(crate) fn new<'a, L: Fn(&str) -> Option<Arc<str>>>(
        nodes: impl IntoIterator<Item = (&'a [Arc<str>], Option<L>)>,
    ) -> Self {
        let registered = |(keys, label): (&[Arc<str>], Option<L>)| {
            let labels = label.map(|label| {
                keys.iter().filter_map(|key| Some((key.clone(), label(key)?))).collect::<BTreeMap<_, _>>()
            });
            Registered { keys: key_set(keys), labels }
        };
        Self { nodes: nodes.into_iter().map(registered).collect(), ..Self::default() }
    }

    /// The distinct sets of keys that are registered anywhere, in order; the empty set is none.
    pub(crate) fn key_sets(&self) -> BTreeSet<&KeySet> {
        self.nodes.iter().map(|node| &node.keys).filter(|keys| !keys.is_empty()).collect()
    }

    /// The terms for these keys of all nodes where the driver registered at least them, sorted and distinct. A node without
    /// one of the labels counts nowhere.
    pub(crate) fn of_keys(&self, keys: &[Arc<str>]) -> Arc<[Term]> {
        let keys = key_set(keys);
        let mut known = self.by_keys.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(keys.clone()).or_insert_with(|| sorted_distinct(self.terms(&keys)).into()).clone()
    }

    /// For each registered set of keys the terms of all nodes that registered at least it, sorted and distinct.
    pub(crate) fn everywhere(&self) -> Arc<[Term]> {
        let all = || self.key_sets().into_iter().flat_map(|keys| self.terms(keys)).collect();
        self.everywhere.get_or_init(|| sorted_distinct(all()).into()).clone()
    }

    /// The distinct segments of nodes: each for the keys registered there. One that is empty stands for all nodes.
    pub(crate) fn segments(&self) -> BTreeSet<Term> {
        self.nodes.iter().filter_map(|node| node.term(&node.keys)).collect()
    }

    fn terms(&self, keys: &[Arc<str>]) -> Vec<Term> {
        self.nodes.iter().filter_map(|node| node.term(keys)).collect()
    }
}

/// The keys in order, each once.
pub(crate) fn key_set(keys: &[Arc<str>]) -> KeySet {
    let distinct: BTreeSet<&Arc<str>> = keys.iter().collect();
    distinct.into_iter().cloned().collect()
}

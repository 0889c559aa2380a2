//! The caches of Nodes and CSINodes.

use std::sync::{Arc, Mutex, PoisonError};

use kubernetes::object::{CsiNode, Key, Node};
use kubernetes::store::{Change, Store};

use super::cluster::Cluster;
use super::requirement::{Known, Selected, TopologyError};

/// Reads the caches of Nodes and CSINodes; clones share what was worked out.
#[derive(Clone)]
pub(crate) struct Nodes {
    nodes: Arc<Store<Node>>,
    csi_nodes: Arc<Store<CsiNode>>,
    /// `None` after a change that matters to topology.
    cluster: Arc<Mutex<Option<Arc<Cluster>>>>,
}

impl Nodes {
    /// Follows the caches.
    pub(crate) fn follow(nodes: Arc<Store<Node>>, csi_nodes: Arc<Store<CsiNode>>) -> Self {
        let cluster = Arc::<Mutex<Option<Arc<Cluster>>>>::default();
        let outdated = cluster.clone();
        let following = Self { nodes, csi_nodes, cluster };
        following.on_change(move |_| *outdated.lock().unwrap_or_else(PoisonError::into_inner) = None);
        following
    }

    /// Calls `told` with the name of each node whose labels or registered keys change. Heartbeats are no change.
    pub(crate) fn on_change(&self, told: impl Fn(&str) + Clone + Send + Sync + 'static) {
        let tell = told.clone();
        self.nodes.subscribe(move |change| match change {
            Change::Updated { old, new } if old.labels == new.labels => {}
            Change::Updated { new: node, .. }
            | Change::Added(node)
            | Change::Removed(node)
            | Change::Left(node) => tell(node.meta.name()),
        });
        self.csi_nodes.subscribe(move |change| match change {
            Change::Updated { old, new } if keys(old) == keys(new) => {}
            Change::Updated { new: node, .. }
            | Change::Added(node)
            | Change::Removed(node)
            | Change::Left(node) => told(node.meta.name()),
        });
    }

    /// The cluster as it is now.
    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        // Held while the caches are read: a change meanwhile outdates the result only afterwards.
        let mut known = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert_with(|| Arc::new(self.read())).clone()
    }

    fn read(&self) -> Cluster {
        let all = self.csi_nodes.list();
        let node = |csi_node: &CsiNode| self.nodes.get(&Key::cluster(csi_node.meta.name()));
        Cluster::new(all.iter().filter_map(|csi_node| {
            let label = node(csi_node).map(|node| move |key: &str| node.labels.get(key).cloned());
            Some((keys(csi_node)?, label))
        }))
    }

    /// What is known for a claim with this selected node, if it has one.
    pub(crate) fn known(&self, selected: Option<&str>) -> Known {
        let selected = selected.map(|node| self.selected(node));
        Known { selected, cluster: self.cluster() }
    }

    fn selected(&self, name: &str) -> Result<Selected, TopologyError> {
        let key = Key::cluster(name);
        let Some(csi_node) = self.csi_nodes.get(&key) else {
            return Err(TopologyError::NoCsiNode { node: name.to_owned() });
        };
        let node = self.nodes.get(&key);
        let label = node.as_ref().map(|node| |label: &str| node.labels.get(label).map(|value| &**value));
        Selected::new(name, keys(&csi_node).unwrap_or_default(), label)
    }
}

/// The keys that the driver registered, if it runs on the node.
fn keys(node: &CsiNode) -> Option<&[Arc<str>]> {
    node.driver.as_ref().map(|driver| &*driver.topology_keys)
}

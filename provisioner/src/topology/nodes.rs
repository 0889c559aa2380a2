//! The caches of Nodes and CSINodes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kubernetes::object::{CsiNode, Key, Node};
use kubernetes::store::{Change, Store};

use super::cluster::Cluster;
use super::requirement::{Known, Selected, TopologyError};
use crate::node::NodeSettings;

/// What is known of the nodes. Clones share it.
#[derive(Clone)]
pub(crate) enum Nodes {
    /// All nodes, from the caches of Nodes and CSINodes.
    Watched(Watched),
    /// The provisioner's own node alone: it asks nobody else.
    Own {
        /// The node's name.
        name: Box<str>,
        /// Its labels: those that are topology keys.
        labels: Arc<BTreeMap<Arc<str>, Arc<str>>>,
        /// The cluster of this node.
        cluster: Arc<Cluster>,
    },
}

impl Nodes {
    /// Follows the caches.
    pub(crate) fn follow(nodes: Arc<Store<Node>>, csi_nodes: Arc<Store<CsiNode>>) -> Self {
        Self::Watched(Watched::follow(nodes, csi_nodes))
    }

    /// The node of a provisioner that runs there.
    pub(crate) fn own(node: &NodeSettings) -> Self {
        let pair = |(key, value): (&String, &String)| (Arc::from(key.as_str()), Arc::from(value.as_str()));
        let labels: BTreeMap<Arc<str>, Arc<str>> = node.segments.iter().map(pair).collect();
        let keys: Vec<Arc<str>> = labels.keys().cloned().collect();
        let label = |key: &str| labels.get(key).cloned();
        let cluster = Arc::new(Cluster::new([(&*keys, Some(label))]));
        Self::Own { name: node.name.clone(), labels: labels.into(), cluster }
    }

    /// Calls `told` with the name of each node whose segment may have changed.
    pub(crate) fn on_change(&self, told: impl Fn(&str) + Clone + Send + Sync + 'static) {
        match self {
            Self::Watched(watched) => watched.on_change(told),
            Self::Own { .. } => {}
        }
    }

    /// The cluster as it is now.
    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        match self {
            Self::Watched(watched) => watched.cluster(),
            Self::Own { cluster, .. } => cluster.clone(),
        }
    }

    /// What is known for a claim with this selected node, if it has one.
    pub(crate) fn known(&self, selected: Option<&str>) -> Known {
        let selected = selected.map(|node| match self {
            Self::Watched(watched) => watched.selected(node),
            Self::Own { name, labels, .. } if **name == *node => {
                let keys: Vec<Arc<str>> = labels.keys().cloned().collect();
                Selected::new(node, &keys, Some(|key: &str| labels.get(key).map(|value| &**value)))
            }
            Self::Own { .. } => Err(TopologyError::NoCsiNode { node: node.to_owned() }),
        });
        Known { selected, cluster: self.cluster() }
    }
}

/// Reads the caches of Nodes and CSINodes.
#[derive(Clone)]
pub(crate) struct Watched {
    nodes: Arc<Store<Node>>,
    csi_nodes: Arc<Store<CsiNode>>,
    /// `None` after a change that matters to topology.
    cluster: Arc<Mutex<Option<Arc<Cluster>>>>,
}

impl Watched {
    /// Follows the caches.
    fn follow(nodes: Arc<Store<Node>>, csi_nodes: Arc<Store<CsiNode>>) -> Self {
        let cluster = Arc::<Mutex<Option<Arc<Cluster>>>>::default();
        let outdated = cluster.clone();
        let following = Self { nodes, csi_nodes, cluster };
        following.on_change(move |_| *outdated.lock().unwrap_or_else(PoisonError::into_inner) = None);
        following
    }

    /// Calls `told` with the name of each node whose registered keys change, or a label that is one of them. Other labels are
    /// changed often, by others.
    fn on_change(&self, told: impl Fn(&str) + Clone + Send + Sync + 'static) {
        let (tell, csi_nodes) = (told.clone(), self.csi_nodes.clone());
        self.nodes.subscribe(move |change| {
            let (old, new) = match change {
                Change::Updated { old, new } => (Some(old), new),
                Change::Added(node) | Change::Removed(node) | Change::Left(node) => (None, node),
            };
            let Some(csi_node) = csi_nodes.get(&new.meta.key) else { return };
            let differs = |keys: &[Arc<str>]| {
                old.is_none_or(|old| keys.iter().any(|key| old.labels.get(key) != new.labels.get(key)))
            };
            if keys(&csi_node).is_some_and(differs) {
                tell(new.meta.name());
            }
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
    fn cluster(&self) -> Arc<Cluster> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{DRIVER, scope};
    use kubernetes::object::Object;
    use kubernetes::store::{Writer, cache};
    use serde_json::{Value, json};

    fn object<T: Object>(version: u64, rest: Value) -> T::Wire {
        let mut object =
            json!({"metadata": {"name": "n", "uid": "u", "resourceVersion": version.to_string()}});
        if let (Some(labels), Some(metadata)) = (rest.get("labels"), object.get_mut("metadata")) {
            metadata["labels"] = labels.clone();
        }
        object["spec"] = rest.get("spec").cloned().unwrap_or_default();
        serde_json::from_value(object).unwrap()
    }

    fn label(writer: &Writer<Node>, version: u64, labels: Value) {
        writer.apply(object::<Node>(version, json!({"labels": labels})));
    }

    fn register(writer: &Writer<CsiNode>, version: u64, keys: &[&str]) {
        let drivers = json!([{"name": DRIVER, "nodeID": "n", "topologyKeys": keys}]);
        writer.apply(object::<CsiNode>(version, json!({"spec": {"drivers": drivers}})));
    }

    #[test]
    fn a_change_is_told_if_it_is_one_of_topology() {
        let (node, nodes) = cache::<Node>(Arc::new(scope()));
        let (csi_node, csi_nodes) = cache::<CsiNode>(Arc::new(scope()));
        let following = Nodes::follow(nodes, csi_nodes);
        let told = Arc::<Mutex<Vec<String>>>::default();
        let tell = told.clone();
        following.on_change(move |name| tell.lock().unwrap().push(name.to_owned()));
        let seen = || {
            let terms = following.cluster().segments().iter().map(ToString::to_string).collect::<Vec<_>>();
            (std::mem::take(&mut *told.lock().unwrap()).len(), terms.join(" "))
        };
        label(&node, 1, json!({"zone": "a", "rack": "1"}));
        assert_eq!(seen(), (0, String::new()), "the driver is not there");
        assert!(following.known(Some("n")).selected.is_some_and(|selected| selected.is_err()));
        register(&csi_node, 2, &["zone"]);
        assert_eq!(seen(), (1, "zone=a".to_owned()));
        assert!(following.known(Some("n")).selected.is_some_and(|selected| selected.is_ok()));
        label(&node, 3, json!({"zone": "a", "rack": "2"}));
        register(&csi_node, 4, &["zone"]);
        assert_eq!(seen(), (0, "zone=a".to_owned()), "nobody asks for that label, and the keys are the same");
        label(&node, 5, json!({"zone": "b", "rack": "2"}));
        assert_eq!(seen(), (1, "zone=b".to_owned()));
        register(&csi_node, 6, &["rack"]);
        assert_eq!(seen(), (1, "rack=2".to_owned()));
        node.remove(&Key::cluster("n"), &"u".into());
        assert_eq!(seen().0, 1);
    }

    #[test]
    fn a_provisioner_on_a_node_knows_that_node_alone() {
        let settings = NodeSettings {
            name: "mine".into(),
            segments: [("zone".to_owned(), "a".to_owned())].into(),
            immediate: true,
            base_delay: std::time::Duration::ZERO,
            max_delay: std::time::Duration::ZERO,
        };
        let own = Nodes::own(&settings);
        let is_found = |name| own.known(Some(name)).selected.map(|selected| selected.is_ok());
        assert_eq!((is_found("mine"), is_found("other")), (Some(true), Some(false)));
        assert!(own.known(None).selected.is_none());
        let segments: Vec<String> =
            own.known(None).cluster.segments().iter().map(ToString::to_string).collect();
        assert_eq!(segments, ["zone=a"]);
    }
}

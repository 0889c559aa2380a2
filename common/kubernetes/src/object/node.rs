//! Nodes, of which only the labels are read.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::wire::wire;
use super::word::{Words, word, words};
use super::{Meta, Object, Scope};

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Identity: the node's name.
    pub meta: Meta,
    /// All labels. Which of them are topology keys the CSINodes say, and those may come later.
    pub labels: Labels,
}

/// Labels in the order of their keys. Most nodes of a cluster have the same keys, so these are kept once; most values are
/// those of other nodes too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    keys: Words,
    values: Box<[Arc<str>]>,
}

impl Labels {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Arc<str>> {
        let index = self.keys.binary_search_by(|known| (**known).cmp(key)).ok()?;
        self.values.get(index)
    }
}

/// A Node as the API server sends it; of its metadata only, if that was asked for.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WireNode {
    #[serde(default, deserialize_with = "super::meta::with_labels")]
    metadata: ObjectMeta,
}

wire!(WireNode, "", "v1", "Node", "nodes", ClusterResourceScope);

impl Object for Node {
    type Wire = WireNode;

    /// The status of a node is large and often written.
    const METADATA_ONLY: bool = true;

    fn slim(wire: WireNode, _: &Scope) -> Option<Self> {
        let mut metadata = wire.metadata;
        let labels = metadata.labels.take().unwrap_or_default();
        Some(Self {
            meta: Meta::new(metadata, |_| false),
            labels: Labels {
                keys: words(labels.keys().map(String::as_str)),
                values: labels.values().map(|value| word(value)).collect(),
            },
        })
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str) -> Node {
        let labels = json!({"zone": "z1", "kubernetes.io/hostname": name});
        let wire =
            json!({"metadata": {"name": name, "labels": labels, "managedFields": [{"manager": "kubelet"}]}});
        Node::slim(serde_json::from_value(wire).unwrap(), &Scope::default()).expect("every node is kept")
    }

    #[test]
    fn nodes_share_keys_and_most_values() {
        let (a, b) = (node("a"), node("b"));
        assert_eq!(a.labels.get("kubernetes.io/hostname").map(|value| &**value), Some("a"));
        assert_eq!(a.labels.get("rack"), None);
        assert!(Arc::ptr_eq(&a.labels.keys, &b.labels.keys));
        assert!(Arc::ptr_eq(a.labels.get("zone").unwrap(), b.labels.get("zone").unwrap()));
        assert_ne!(a.labels, b.labels);
    }
}

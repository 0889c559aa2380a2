//! CSINodes: which drivers run on a node, and what they call it.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::wire::wire;
use super::word::{Words, word, words};
use super::{Meta, Object, Scope};

/// A node, as far as this driver knows it.
#[derive(Debug, Clone)]
pub struct CsiNode {
    /// Identity: the node's name.
    pub meta: Meta,
    /// Our entry in `spec.drivers`; `None` when the driver does not run there.
    pub driver: Option<DriverOnNode>,
}

/// One entry of `spec.drivers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverOnNode {
    /// The node's id at the driver.
    pub node_id: Arc<str>,
    /// Labels of the Node that make its topology segment; the list is that of most nodes, and kept once.
    pub topology_keys: Words,
}

/// A CSINode as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WireCsiNode {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Spec {
    drivers: Option<Vec<WireDriver>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireDriver {
    name: Box<str>,
    #[serde(rename = "nodeID")]
    node_id: Box<str>,
    topology_keys: Option<Vec<Box<str>>>,
}

wire!(WireCsiNode, "storage.k8s.io", "v1", "CSINode", "csinodes", ClusterResourceScope);

impl Object for CsiNode {
    type Wire = WireCsiNode;

    /// Keeps every node, with our driver's entry only: "no such node" and "no driver there" differ.
    fn slim(wire: WireCsiNode, scope: &Scope) -> Option<Self> {
        let drivers = wire.spec.drivers.unwrap_or_default();
        let ours = drivers.into_iter().find(|entry| entry.name == scope.driver);
        let mut metadata = wire.metadata;
        metadata.finalizers = None;
        Some(Self {
            meta: Meta::new(metadata, |_| false),
            driver: ours.map(|entry| DriverOnNode {
                node_id: word(&entry.node_id),
                topology_keys: words(entry.topology_keys.iter().flatten().map(|key| &**key)),
            }),
        })
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

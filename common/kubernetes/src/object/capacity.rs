//! CSIStorageCapacities: how much room a class has in a topology segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::quantity::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::segment::of_labels;
use super::wire::wire;
use super::word::word;
use super::{Meta, Object, Scope, Uid};

/// The label that names the driver.
pub const DRIVER_NAME: &str = "csi.storage.k8s.io/drivername";
/// The label that names who made the object.
pub const MANAGED_BY: &str = "csi.storage.k8s.io/managed-by";

/// A CSIStorageCapacity.
#[derive(Debug, Clone)]
pub struct Capacity {
    /// Identity.
    pub meta: Meta,
    /// The label [`DRIVER_NAME`]; empty if there is none.
    pub driver: Arc<str>,
    /// The label [`MANAGED_BY`]; empty if there is none.
    pub managed_by: Arc<str>,
    /// `storageClassName`.
    pub class: Arc<str>,
    /// `nodeTopology` as text: `key=value,key=value`, sorted by key. `None` if it is absent or more than plain labels.
    pub segment: Option<Arc<str>>,
    /// `capacity` in bytes.
    pub bytes: Option<i64>,
    /// `maximumVolumeSize` in bytes.
    pub maximum: Option<i64>,
    /// uid of each owner.
    pub owners: Box<[Uid]>,
}

/// A CSIStorageCapacity as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireCapacity {
    #[serde(default, deserialize_with = "super::meta::with_labels")]
    metadata: ObjectMeta,
    #[serde(default)]
    storage_class_name: Box<str>,
    node_topology: Option<Selector>,
    capacity: Option<Box<str>>,
    maximum_volume_size: Option<Box<str>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<IgnoredAny>,
}

wire!(
    WireCapacity,
    "storage.k8s.io",
    "v1",
    "CSIStorageCapacity",
    "csistoragecapacities",
    NamespaceResourceScope
);

impl Object for Capacity {
    type Wire = WireCapacity;

    /// Keeps every object that is watched: the labels are selected by the API server.
    fn slim(wire: WireCapacity, _: &Scope) -> Option<Self> {
        let mut metadata = wire.metadata;
        let labels = metadata.labels.take().unwrap_or_default();
        let owners = metadata.owner_references.take().unwrap_or_default();
        let label = |key: &str| word(labels.get(key).map_or("", String::as_str));
        let bytes =
            |text: Option<Box<str>>| Quantity::parse(&text?).and_then(|quantity| quantity.value()).ok();
        let plain = wire.node_topology.filter(|selector| selector.match_expressions.is_empty());
        Some(Self {
            driver: label(DRIVER_NAME),
            managed_by: label(MANAGED_BY),
            class: word(&wire.storage_class_name),
            segment: plain.map(|selector| of_labels(&selector.match_labels)),
            bytes: bytes(wire.capacity),
            maximum: bytes(wire.maximum_volume_size),
            owners: owners.iter().map(|owner| owner.uid.as_str().into()).collect(),
            meta: Meta::new(metadata, |_| false),
        })
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

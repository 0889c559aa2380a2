//! VolumeAttributesClasses. Version v1, and v1beta1 where a cluster serves only that, say the same.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::wire::wire;
use super::{Meta, Object, Scope};

/// A VolumeAttributesClass. Of another driver's class only the driver is kept.
#[derive(Debug, Clone)]
pub struct AttributesClass {
    /// Identity.
    pub meta: Meta,
    /// `driverName`.
    pub driver: Box<str>,
    /// `parameters`; empty for another driver's.
    pub parameters: BTreeMap<String, String>,
}

/// A VolumeAttributesClass as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireAttributesClass {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    driver_name: Box<str>,
    #[serde(default)]
    parameters: Option<BTreeMap<String, String>>,
}

wire!(
    WireAttributesClass,
    "storage.k8s.io",
    "v1",
    "VolumeAttributesClass",
    "volumeattributesclasses",
    ClusterResourceScope
);

impl Object for AttributesClass {
    type Wire = WireAttributesClass;

    fn slim(wire: WireAttributesClass, scope: &Scope) -> Option<Self> {
        let mut metadata = wire.metadata;
        metadata.finalizers = None;
        let parameters = wire.parameters.filter(|_| wire.driver_name == scope.driver).unwrap_or_default();
        Some(Self { meta: Meta::new(metadata, |_| false), driver: wire.driver_name, parameters })
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

//! VolumeAttributesClasses. Version v1, and v1beta1 where a cluster serves only that, say the same. The provisioner reads them one
//! at a time; the resizer caches them.

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

/// The API version in which the cluster serves VolumeAttributesClasses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributesVersion {
    /// storage.k8s.io/v1.
    V1,
    /// storage.k8s.io/v1beta1.
    Beta,
}

impl AttributesVersion {
    /// As in the API server's paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::Beta => "v1beta1",
        }
    }
}

/// A VolumeAttributesClass as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireAttributesClass {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    /// `driverName`: whose parameters these are.
    #[serde(default)]
    pub driver_name: Box<str>,
    /// `parameters`.
    pub parameters: Option<BTreeMap<String, String>>,
}

/// The same, from an API server that serves the kind as v1beta1 only (Kubernetes 1.31 to 1.33).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct WireAttributesClassBeta(pub WireAttributesClass);

wire!(
    WireAttributesClass,
    "storage.k8s.io",
    "v1",
    "VolumeAttributesClass",
    "volumeattributesclasses",
    ClusterResourceScope
);

impl k8s_openapi::Resource for WireAttributesClassBeta {
    const API_VERSION: &'static str = "storage.k8s.io/v1beta1";
    const GROUP: &'static str = "storage.k8s.io";
    const KIND: &'static str = "VolumeAttributesClass";
    const VERSION: &'static str = "v1beta1";
    const URL_PATH_SEGMENT: &'static str = "volumeattributesclasses";
    type Scope = k8s_openapi::ClusterResourceScope;
}

impl k8s_openapi::Metadata for WireAttributesClassBeta {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

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

//! PersistentVolumeClaims.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::wire::wire;
use super::{Meta, Object, Scope};

/// The annotation that names who must provision a claim.
pub const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// Its beta spelling, read when the other is absent.
pub const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// Set when the claim's in-tree plugin is served by a CSI driver.
pub const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
/// The annotation of kubectl apply: as large as the object, and never read here.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A claim that waits for a volume of this driver.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Identity, with all annotations: secret templates may name any.
    pub meta: Meta,
    /// `spec.accessModes`, in order.
    pub access_modes: Box<[Box<str>]>,
    /// `spec.storageClassName`, or the beta annotation, which wins. Empty when neither is set.
    pub class: Box<str>,
    /// `spec.volumeMode`; `None` when the claim does not say.
    pub volume_mode: Option<Box<str>>,
    /// `spec.resources.requests.storage` as written.
    pub request: Box<str>,
    /// Whether `spec.selector` is set, even if empty.
    pub has_selector: bool,
    /// `spec.dataSource`.
    pub data_source: Option<Box<DataSource>>,
    /// `spec.dataSourceRef`.
    pub data_source_ref: Option<Box<DataSource>>,
    /// `spec.volumeAttributesClassName`; empty when not set.
    pub attributes_class: Box<str>,
}

/// What a claim is to be filled from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataSource {
    /// API group; `None` and empty both mean the core group.
    pub api_group: Option<String>,
    /// Kind, such as `VolumeSnapshot`.
    #[serde(default)]
    pub kind: String,
    /// Name of the source.
    #[serde(default)]
    pub name: String,
    /// Namespace of the source, if not the claim's; only in `dataSourceRef`.
    pub namespace: Option<String>,
}

impl Claim {
    /// Who must provision the claim: the annotation, or its beta spelling when the first is absent.
    pub fn provisioner(&self) -> Option<&str> {
        let annotations = &self.meta.annotations;
        annotations.get(PROVISIONER).or_else(|| annotations.get(PROVISIONER_BETA))
    }
}

/// A claim as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WireClaim {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    access_modes: Vec<Box<str>>,
    storage_class_name: Option<Box<str>>,
    volume_mode: Option<Box<str>>,
    volume_name: Box<str>,
    volume_attributes_class_name: Option<Box<str>>,
    resources: Resources,
    selector: Option<serde::de::IgnoredAny>,
    data_source: Option<Box<DataSource>>,
    data_source_ref: Option<Box<DataSource>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, Box<str>>,
}

wire!(WireClaim, "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", NamespaceResourceScope);

impl Object for Claim {
    type Wire = WireClaim;

    /// Keeps claims that have no volume yet and that name us; a bound claim is nothing to wait for.
    fn slim(wire: WireClaim, scope: &Scope) -> Option<Self> {
        if !wire.spec.volume_name.is_empty() {
            return None;
        }
        let mut spec = wire.spec;
        let beta_class = wire
            .metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get("volume.beta.kubernetes.io/storage-class").cloned());
        let claim = Self {
            meta: Meta::new(wire.metadata, |key| key != LAST_APPLIED),
            access_modes: spec.access_modes.into(),
            class: beta_class.map(Into::into).or(spec.storage_class_name).unwrap_or_default(),
            volume_mode: spec.volume_mode,
            request: spec.resources.requests.remove("storage").unwrap_or_default(),
            has_selector: spec.selector.is_some(),
            data_source: spec.data_source,
            data_source_ref: spec.data_source_ref,
            attributes_class: spec.volume_attributes_class_name.unwrap_or_default(),
        };
        let named = [claim.provisioner(), claim.meta.annotations.get(MIGRATED_TO)];
        let ours = named.into_iter().flatten().any(|name| scope.is_ours(name));
        ours.then_some(claim)
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

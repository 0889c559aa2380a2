//! PersistentVolumeClaims.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::claim_status::{ClaimStatus, WireStatus};
use super::wire::wire;
use super::word::word;
use super::{Keep, Key, Meta, Object, Scope};

/// The annotation that names who must provision a claim.
pub const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// Its beta spelling, read when the other is absent.
pub const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// Set when the claim's in-tree plugin is served by a CSI driver.
pub const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
/// Names the CSI driver that must resize the claim's in-tree volume.
pub const STORAGE_RESIZER: &str = "volume.kubernetes.io/storage-resizer";
/// `true` when the last expansion needed nothing from the node.
pub const NODE_EXPANSION_NOT_REQUIRED: &str = "volume.kubernetes.io/node-expansion-not-required";
/// Names the class of a claim or a volume, and wins over `spec.storageClassName`.
pub const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
/// The finalizer of a claim whose volume is cloned.
pub const CLONING_PROTECTION: &str = "provisioner.storage.kubernetes.io/cloning-protection";
/// The annotation of kubectl apply. It is as large as the object, and we never read it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A claim.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Identity. With all annotations if somebody here provisions and the claim waits for a volume, or is cloned: secret templates
    /// may name any.
    pub meta: Meta,
    /// `spec.accessModes`, in order. Empty where not all annotations are kept, as are class, mode and sources.
    pub access_modes: Box<[Box<str>]>,
    /// `spec.storageClassName`, or the beta annotation, which wins. Empty when neither is set.
    pub class: Box<str>,
    /// `spec.volumeName`; empty while the claim waits for a volume.
    pub volume: Arc<str>,
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
    /// What resizing reads of the status; `None` if nobody here resizes, or if the claim has no volume.
    pub status: Option<Box<ClaimStatus>>,
}

/// The data source of a claim.
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

    /// Whether the claim says that our driver, which replaces an in-tree plugin, must resize its volume.
    pub fn names_resizer(&self, scope: &Scope) -> bool {
        scope.in_tree.is_some() && self.meta.annotations.get(STORAGE_RESIZER) == Some(&*scope.driver)
    }

    /// Whether the claim waits for a volume and names this driver, or the plugin that it replaces.
    pub fn waits_for(&self, scope: &Scope) -> bool {
        let named = [self.provisioner(), self.meta.annotations.get(MIGRATED_TO)];
        self.volume.is_empty() && named.into_iter().flatten().any(|name| scope.is_ours(name))
    }
}

/// A claim as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WireClaim {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: WireStatus,
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

impl WireClaim {
    /// Whether the claim names a volume.
    pub fn has_volume(&self) -> bool {
        !self.spec.volume_name.is_empty()
    }
}

wire!(WireClaim, "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", NamespaceResourceScope);

impl Object for Claim {
    type Wire = WireClaim;

    /// Keeps claims that wait for a volume of our driver. Keeps claims that have a volume only if somebody here resizes:
    /// a claim does not say whose its volume is. Keeps those that are cloned if somebody here provisions.
    fn slim(wire: WireClaim, scope: &Scope) -> Option<Self> {
        let (provisions, resizes) = (scope.keep.has(Keep::PROVISION), scope.keep.has(Keep::RESIZE));
        let waits = wire.spec.volume_name.is_empty();
        let finalizers = wire.metadata.finalizers.iter().flatten();
        let cloned = provisions && finalizers.into_iter().any(|name| name == CLONING_PROTECTION);
        if !(if waits { provisions } else { resizes || cloned }) {
            return None;
        }
        // What a volume is made from: of a claim that has its volume, resizing reads none of it.
        let whole = provisions && (waits || cloned);
        let mut spec = wire.spec;
        if !whole {
            spec = Spec {
                volume_name: spec.volume_name,
                volume_attributes_class_name: spec.volume_attributes_class_name,
                resources: spec.resources,
                ..Spec::default()
            };
        }
        let keep = |key: &str| match whole {
            true => key != LAST_APPLIED,
            false => matches!(key, STORAGE_RESIZER | NODE_EXPANSION_NOT_REQUIRED),
        };
        let beta_class = wire
            .metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(CLASS_BETA).cloned())
            .filter(|_| whole);
        let claim = Self {
            meta: Meta::new(wire.metadata, keep),
            access_modes: spec.access_modes.into(),
            class: beta_class.map(Into::into).or(spec.storage_class_name).unwrap_or_default(),
            // The cached volume of this name has the same text.
            volume: word(&spec.volume_name),
            volume_mode: spec.volume_mode,
            request: spec.resources.requests.remove("storage").unwrap_or_default(),
            has_selector: spec.selector.is_some(),
            data_source: spec.data_source,
            data_source_ref: spec.data_source_ref,
            attributes_class: spec.volume_attributes_class_name.unwrap_or_default(),
            status: (resizes && !waits).then(|| Box::new(ClaimStatus::from(wire.status))),
        };
        (!waits || cloned || claim.waits_for(scope)).then_some(claim)
    }

    /// A claim that has a volume is kept for resizing, and only if the volume is ours.
    fn needs(&self, scope: &Scope) -> Option<Key> {
        let cloned = scope.keep.has(Keep::PROVISION) && self.meta.has_finalizer(CLONING_PROTECTION);
        let kept = self.volume.is_empty() || cloned || self.names_resizer(scope);
        (!kept).then(|| Key::cluster(&self.volume))
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn kept(keep: Keep, spec: Value) -> bool {
        let metadata = json!({"name": "c", "namespace": "ns", "annotations": {PROVISIONER: "d"}});
        let wire = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        Claim::slim(wire, &Scope { driver: "d".into(), keep, ..Scope::default() }).is_some()
    }

    #[test]
    fn bound_claim_that_is_cloned_is_kept_for_provisioning() {
        for (finalizer, keep, expected) in [
            (CLONING_PROTECTION, Keep::PROVISION, true),
            (CLONING_PROTECTION, Keep::ATTACH, false),
            ("kubernetes.io/pvc-protection", Keep::PROVISION, false),
        ] {
            let object =
                json!({"metadata": {"name": "c", "finalizers": [finalizer]}, "spec": {"volumeName": "pv"}});
            let scope = Scope { driver: "d".into(), keep, ..Scope::default() };
            let kept = Claim::slim(serde_json::from_value(object).unwrap(), &scope);
            assert_eq!(kept.is_some(), expected, "{finalizer} {keep:?}");
        }
    }

    #[test]
    fn bound_claim_needs_its_volume_unless_it_is_cloned_or_names_us() {
        let (both, resize) = (Keep::PROVISION.and(Keep::RESIZE), Keep::RESIZE);
        let named = json!({"annotations": {STORAGE_RESIZER: "d"}});
        let cloned = json!({"finalizers": [CLONING_PROTECTION]});
        for (keep, metadata, volume, in_tree, needed) in [
            (both, json!({}), "pv", None, Some("pv")),
            (resize, named.clone(), "pv", None, Some("pv")),
            (resize, named, "pv", Some("kubernetes.io/d"), None),
            (both, cloned.clone(), "pv", None, None),
            (resize, cloned, "pv", None, Some("pv")),
            (both, json!({"annotations": {PROVISIONER: "d"}}), "", None, None),
        ] {
            let scope = Scope { driver: "d".into(), keep, in_tree: in_tree.map(Into::into) };
            let object = json!({"metadata": metadata, "spec": {"volumeName": volume}});
            let claim = Claim::slim(serde_json::from_value(object).unwrap(), &scope).expect("kept");
            assert_eq!(claim.needs(&scope).as_ref().map(Key::name), needed, "{keep:?} {claim:?}");
        }
    }

    #[test]
    fn bound_claims_are_kept_when_somebody_resizes() {
        let both = Keep::PROVISION.and(Keep::RESIZE);
        for (keep, waiting, bound) in [
            (Keep::PROVISION, true, false),
            (Keep::RESIZE, false, true),
            (both, true, true),
            (Keep::ATTACH, false, false),
        ] {
            assert_eq!(kept(keep, json!({})), waiting, "{keep:?}");
            assert_eq!(kept(keep, json!({"volumeName": "pv"})), bound, "{keep:?}");
        }
    }
}

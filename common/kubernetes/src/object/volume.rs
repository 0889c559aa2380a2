//! PersistentVolumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, VolumeNodeAffinity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer, Serialize};

use super::claim::{CLASS_BETA, MIGRATED_TO};
use super::segment::of_affinity;
use super::wire::wire;
use super::word::{Words, word, words};
use super::{Keep, Key, Meta, Object, Pairs, Scope, Uid};
use base::name::sanitize_driver_name;

/// The annotation that names who made a volume.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Name of the secret that DeleteVolume needs; empty when it needs none.
pub const DELETION_SECRET_NAME: &str = "volume.kubernetes.io/provisioner-deletion-secret-name";
/// Namespace of the secret that DeleteVolume needs.
pub const DELETION_SECRET_NAMESPACE: &str = "volume.kubernetes.io/provisioner-deletion-secret-namespace";

/// The size that the claim had before the node had to expand the volume. The claim gets it back if it is bound anew.
pub const PRE_RESIZE_CAPACITY: &str = "volume.alpha.kubernetes.io/pre-resize-capacity";
/// Name of the secret that ControllerModifyVolume needs.
pub const MODIFY_SECRET_NAME: &str = "volume.kubernetes.io/controller-modify-secret-name";
/// Namespace of the secret that ControllerModifyVolume needs.
pub const MODIFY_SECRET_NAMESPACE: &str = "volume.kubernetes.io/controller-modify-secret-namespace";

/// The beginning of an attacher's finalizer; the driver's sanitised name follows.
pub const ATTACHER_FINALIZER: &str = "external-attacher/";

/// What happens to a volume whose claim is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReclaimPolicy {
    /// The volume is deleted.
    Delete,
    /// The volume is kept.
    Retain,
    /// Scrubbed and used again; long deprecated.
    Recycle,
}

/// `status.phase` of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum VolumePhase {
    /// Not yet processed.
    #[default]
    #[serde(alias = "")]
    Pending,
    /// Free.
    Available,
    /// A claim has it.
    Bound,
    /// Its claim is gone.
    Released,
    /// Its reclamation failed.
    Failed,
}

/// A volume of this driver.
#[derive(Debug, Clone)]
pub struct Volume {
    /// Identity, with the annotations named in this module.
    pub meta: Meta,
    /// `status.phase`.
    pub phase: VolumePhase,
    /// `spec.persistentVolumeReclaimPolicy`; the API server's default for a volume without one is Retain.
    pub reclaim: ReclaimPolicy,
    /// The beta annotation, or `spec.storageClassName`; empty when not set, or if nobody here provisions.
    pub class: Arc<str>,
    /// `spec.claimRef`; `None` if nobody here provisions or resizes.
    pub claim: Option<Box<ClaimRef>>,
    /// What resizing reads beside it; `None` if nobody here resizes.
    pub size: Option<Box<VolumeSize>>,
    /// The topology segments that it is in, as text ([`is_in`](super::is_in)); `None` if it is everywhere, or nobody here asks
    /// for the place.
    pub segments: Option<Box<Words>>,
    /// The source and how it is used.
    pub spec: VolumeSpec,
}

/// What resizing reads of a volume.
#[derive(Debug, Clone)]
pub struct VolumeSize {
    /// `spec.capacity.storage` as written.
    pub capacity: Arc<str>,
    /// `spec.volumeAttributesClassName`; empty when not set.
    pub attributes_class: Arc<str>,
}

/// The part of a volume's spec that says how it is used; inline in some attachments.
#[derive(Debug, Clone)]
pub struct VolumeSpec {
    /// `spec.csi`; `None` for in-tree sources.
    pub csi: Option<Box<CsiSource>>,
    /// `spec.accessModes`; empty unless somebody here attaches or resizes.
    pub access_modes: Words,
    /// Whether `spec.volumeMode` is Block.
    pub block: bool,
    /// `spec.mountOptions`; empty unless somebody here attaches or resizes.
    pub mount_options: Words,
}

/// `spec.csi` of a volume.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiSource {
    /// The driver's name.
    #[serde(deserialize_with = "super::word::read")]
    pub driver: Arc<str>,
    /// The volume's id at the driver.
    pub volume_handle: Box<str>,
    /// Whether the volume is to be published read-only.
    pub read_only: bool,
    /// File system; empty when not set.
    #[serde(deserialize_with = "super::word::read")]
    pub fs_type: Arc<str>,
    /// `volume_context`; `None` unless somebody here attaches.
    pub volume_attributes: Option<Pairs>,
    /// The secret for ControllerPublishVolume, as `namespace/name`; `None` unless somebody here attaches.
    #[serde(rename = "controllerPublishSecretRef", deserialize_with = "read_place")]
    pub publish_secret: Option<Arc<str>>,
    /// The secret for ControllerExpandVolume, likewise; `None` unless somebody here resizes. Boxed, because those who
    /// attach pay for it as well.
    #[serde(rename = "controllerExpandSecretRef", deserialize_with = "read_boxed_place")]
    #[allow(clippy::box_collection, clippy::redundant_allocation, reason = "one word in place of two")]
    pub expand_secret: Option<Box<Arc<str>>>,
}

/// Reads where a secret is.
fn read_place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Place {
        name: Box<str>,
        namespace: Box<str>,
    }
    let place = Option::<Place>::deserialize(deserializer)?;
    Ok(place.map(|Place { name, namespace }| word(&format!("{namespace}/{name}"))))
}

#[allow(clippy::redundant_allocation, reason = "one word in place of two")]
fn read_boxed_place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Arc<str>>>, D::Error> {
    Ok(read_place(deserializer)?.map(Box::new))
}

/// The claim that has a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClaimRef {
    /// The claim's namespace.
    #[serde(deserialize_with = "super::word::read")]
    pub namespace: Arc<str>,
    /// The claim's name.
    pub name: Box<str>,
    /// The claim's uid; empty in a volume that waits for a claim of that name.
    pub uid: Uid,
}

/// A volume as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WireVolume {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: WireVolumeSpec,
    #[serde(default)]
    status: Status,
}

/// A volume's spec as the API server sends it; also the inline spec of a VolumeAttachment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireVolumeSpec {
    access_modes: Vec<Box<str>>,
    capacity: BTreeMap<Box<str>, Box<str>>,
    csi: Option<Box<CsiSource>>,
    claim_ref: Option<Box<ClaimRef>>,
    mount_options: Vec<Box<str>>,
    node_affinity: Option<VolumeNodeAffinity>,
    persistent_volume_reclaim_policy: Option<ReclaimPolicy>,
    storage_class_name: Box<str>,
    volume_attributes_class_name: Option<Box<str>>,
    volume_mode: Option<Box<str>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: VolumePhase,
}

wire!(WireVolume, "", "v1", "PersistentVolume", "persistentvolumes", ClusterResourceScope);

impl Object for Volume {
    type Wire = WireVolume;

    /// Keeps the volumes that our driver made, that are migrated to it, whose CSI driver it is, or that an attacher
    /// must free of its finalizer.
    fn slim(wire: WireVolume, scope: &Scope) -> Option<Self> {
        let annotations = wire.metadata.annotations.as_ref();
        let named =
            |key: &str| annotations.and_then(|map| map.get(key)).is_some_and(|name| scope.is_ours(name));
        let is_ours = named(PROVISIONED_BY)
            || named(MIGRATED_TO)
            || wire.spec.csi.as_ref().is_some_and(|csi| *csi.driver == *scope.driver)
            || (scope.keep.has(Keep::ATTACH) && has_attacher_finalizer(&wire.metadata, &scope.driver));
        is_ours.then(|| Self::from_wire(wire, scope))
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// The finalizers that attachers put on.
pub(super) fn attachers(finalizers: Option<Vec<String>>) -> Option<Vec<String>> {
    let mut finalizers = finalizers?;
    finalizers.retain(|name| name.starts_with(ATTACHER_FINALIZER));
    Some(finalizers)
}

fn has_attacher_finalizer(metadata: &ObjectMeta, driver: &str) -> bool {
    let ours = |name: &String| {
        name.strip_prefix(ATTACHER_FINALIZER).is_some_and(|name| name == sanitize_driver_name(driver))
    };
    metadata.finalizers.iter().flatten().any(ours)
}

impl Volume {
    /// Cuts any driver's volume to the fields that we keep.
    pub fn from_wire(wire: WireVolume, scope: &Scope) -> Self {
        let WireVolume { mut metadata, mut spec, status } = wire;
        let (deletes, resizes) = (scope.keep.has(Keep::PROVISION), scope.keep.has(Keep::RESIZE));
        // Volumes of the oldest clusters have their class there alone.
        if let Some(class) = metadata.annotations.as_mut().and_then(|all| all.remove(CLASS_BETA)) {
            spec.storage_class_name = class.into();
        }
        if !deletes {
            // An attacher keeps as many volumes as a provisioner, but nothing of what only deletion needs.
            metadata.finalizers = attachers(metadata.finalizers);
            spec.storage_class_name = Box::default();
        }
        if !deletes && !resizes {
            spec.claim_ref = None;
        }
        let size = resizes.then(|| {
            Box::new(VolumeSize {
                capacity: word(spec.capacity.get("storage").map_or("", |text| text)),
                attributes_class: word(spec.volume_attributes_class_name.as_deref().unwrap_or_default()),
            })
        });
        let keep = |key: &str| match key {
            MIGRATED_TO => true,
            PROVISIONED_BY | DELETION_SECRET_NAME | DELETION_SECRET_NAMESPACE => deletes,
            PRE_RESIZE_CAPACITY | MODIFY_SECRET_NAME | MODIFY_SECRET_NAMESPACE => resizes,
            _ => false,
        };
        let mut meta = Meta::new(metadata, keep);
        meta.annotations = meta.annotations.common();
        if scope.keep.has(Keep::ATTACH) || resizes {
            // Its attachments and its claim name it.
            meta.key = Key::common(meta.name());
        }
        Self {
            meta,
            phase: status.phase,
            reclaim: spec.persistent_volume_reclaim_policy.unwrap_or(ReclaimPolicy::Retain),
            class: word(&spec.storage_class_name),
            claim: spec.claim_ref.take(),
            size,
            segments: spec
                .node_affinity
                .take()
                .filter(|_| scope.keep.has(Keep::PLACE))
                .and_then(|all| of_affinity(&all))
                .map(Into::into),
            spec: VolumeSpec::from_wire(spec, scope),
        }
    }

    /// From the API library's type, such as a translated volume. `None` if it is no volume as the API server has them.
    pub fn from_library(volume: &PersistentVolume, scope: &Scope) -> Option<Self> {
        let wire = serde_json::from_value(serde_json::to_value(volume).ok()?).ok()?;
        Some(Self::from_wire(wire, scope))
    }
}

impl VolumeSpec {
    /// Cuts a spec to the fields that we keep.
    pub fn from_wire(spec: WireVolumeSpec, scope: &Scope) -> Self {
        let mut csi = spec.csi;
        let (publishes, resizes) = (scope.keep.has(Keep::ATTACH), scope.keep.has(Keep::RESIZE));
        if let Some(csi) = csi.as_mut().filter(|_| !publishes) {
            csi.volume_attributes = None;
            csi.publish_secret = None;
        }
        if let Some(csi) = &mut csi {
            csi.volume_attributes = csi.volume_attributes.take().map(Pairs::common);
        }
        if let Some(csi) = csi.as_mut().filter(|_| !resizes) {
            csi.expand_secret = None;
        }
        let calls = publishes || resizes;
        let kept = |list: &[Box<str>]| words(list.iter().filter(|_| calls).map(|text| &**text));
        Self {
            csi,
            access_modes: kept(&spec.access_modes),
            block: spec.volume_mode.as_deref() == Some("Block"),
            mount_options: kept(&spec.mount_options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Volumes that Kubernetes 1.5 made.
    #[test]
    fn the_class_in_the_annotation_wins_over_that_of_the_spec() {
        let scope = Scope { driver: "d".into(), in_tree: None, keep: Keep::PROVISION };
        for (annotations, spec, expected) in [
            (json!({CLASS_BETA: "old"}), json!({}), "old"),
            (json!({CLASS_BETA: "old"}), json!({"storageClassName": "new"}), "old"),
            (json!({}), json!({"storageClassName": "new"}), "new"),
            (json!({}), json!({}), ""),
        ] {
            let volume = json!({"metadata": {"name": "pv", "annotations": annotations}, "spec": spec});
            let volume = Volume::from_wire(serde_json::from_value(volume).unwrap(), &scope);
            assert_eq!(&*volume.class, expected);
            assert!(volume.meta.annotations.get(CLASS_BETA).is_none(), "it is kept once");
        }
    }
}

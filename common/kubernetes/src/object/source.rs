//! What a new volume can be filled from: VolumeSnapshots with their contents, and other claims. The provisioner reads them one
//! at a time, when a claim names them. It caches the snapshots that it holds.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::claim::CLASS_BETA;
use super::wire::wire;
use super::{Meta, Object, Scope, Uid};

/// The annotation with which an administrator lets volumes of another mode be made from a snapshot.
pub const ALLOW_MODE_CHANGE: &str = "snapshot.storage.kubernetes.io/allow-volume-mode-change";

/// The finalizer of a snapshot from which a volume is being made.
pub const SNAPSHOT_PROTECTION: &str = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection";

/// A VolumeSnapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Identity, with all finalizers.
    pub meta: Meta,
    /// `status.boundVolumeSnapshotContentName`; empty when not set.
    pub content: Box<str>,
    /// Whether `status.readyToUse` is true.
    pub ready: bool,
    /// `status.restoreSize` as written.
    pub restore_size: Option<Box<str>>,
}

/// A VolumeSnapshot that bears the finalizer [`SNAPSHOT_PROTECTION`]. Of others nothing is kept.
#[derive(Debug, Clone)]
pub struct HeldSnapshot {
    /// Identity, with all finalizers.
    pub meta: Meta,
}

/// A VolumeSnapshotContent.
#[derive(Debug, Clone)]
pub struct SnapshotContent {
    /// Identity, with the annotation [`ALLOW_MODE_CHANGE`].
    pub meta: Meta,
    /// `spec.driver`.
    pub driver: Box<str>,
    /// `spec.volumeSnapshotRef`.
    pub snapshot: SnapshotRef,
    /// `spec.sourceVolumeMode`.
    pub source_mode: Option<Box<str>>,
    /// `status.snapshotHandle`; empty when not set.
    pub handle: Box<str>,
}

/// The snapshot that a content is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SnapshotRef {
    /// The snapshot's namespace.
    pub namespace: Box<str>,
    /// The snapshot's name.
    pub name: Box<str>,
    /// The snapshot's uid; empty in a content that waits for a snapshot of that name.
    pub uid: Uid,
}

/// A claim whose volume is to be cloned.
#[derive(Debug, Clone)]
pub struct SourceClaim {
    /// Identity, with all finalizers.
    pub meta: Meta,
    /// `spec.storageClassName`, or the beta annotation; `None` when neither is set.
    pub class: Option<Box<str>>,
    /// `spec.volumeMode`.
    pub volume_mode: Option<Box<str>>,
    /// `spec.volumeName`; empty when not set.
    pub volume: Box<str>,
    /// `spec.resources.requests.storage` as written; empty when not set.
    pub request: Box<str>,
    /// Whether `status.phase` is Bound.
    pub bound: bool,
}

/// A VolumeSnapshot as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WireSnapshot {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    status: Option<SnapshotStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotStatus {
    bound_volume_snapshot_content_name: Option<Box<str>>,
    ready_to_use: Option<bool>,
    #[serde(default, deserialize_with = "quantity")]
    restore_size: Option<Box<str>>,
}

/// A VolumeSnapshotContent as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WireSnapshotContent {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ContentSpec,
    status: Option<ContentStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContentSpec {
    driver: Box<str>,
    volume_snapshot_ref: SnapshotRef,
    source_volume_mode: Option<Box<str>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContentStatus {
    snapshot_handle: Option<Box<str>>,
}

/// The claim of a clone's source as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct WireSourceClaim {
    #[serde(default, deserialize_with = "super::meta::without_managed_fields")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: SourceSpec,
    status: Option<SourceStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SourceSpec {
    storage_class_name: Option<Box<str>>,
    volume_mode: Option<Box<str>>,
    volume_name: Box<str>,
    resources: Resources,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, Box<str>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct SourceStatus {
    phase: Option<Box<str>>,
}

/// Custom resources may hold a quantity as a number.
fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<str>>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text.into()),
        other => Some(other.to_string().into()),
    })
}

wire!(
    WireSnapshot,
    "snapshot.storage.k8s.io",
    "v1",
    "VolumeSnapshot",
    "volumesnapshots",
    NamespaceResourceScope
);
wire!(
    WireSnapshotContent,
    "snapshot.storage.k8s.io",
    "v1",
    "VolumeSnapshotContent",
    "volumesnapshotcontents",
    ClusterResourceScope
);
wire!(WireSourceClaim, "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", NamespaceResourceScope);

impl From<WireSnapshot> for Snapshot {
    fn from(wire: WireSnapshot) -> Self {
        let status = wire.status.unwrap_or_default();
        Self {
            meta: Meta::new(wire.metadata, |_| false),
            content: status.bound_volume_snapshot_content_name.unwrap_or_default(),
            ready: status.ready_to_use.unwrap_or_default(),
            restore_size: status.restore_size,
        }
    }
}

impl Object for HeldSnapshot {
    type Wire = WireSnapshot;

    const METADATA_ONLY: bool = true;

    fn slim(wire: WireSnapshot, _: &Scope) -> Option<Self> {
        let finalizers = wire.metadata.finalizers.iter().flatten();
        let is_held = finalizers.into_iter().any(|name| name == SNAPSHOT_PROTECTION);
        is_held.then(|| Self { meta: Meta::new(wire.metadata, |_| false) })
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }
}

impl From<WireSnapshotContent> for SnapshotContent {
    fn from(wire: WireSnapshotContent) -> Self {
        Self {
            meta: Meta::new(wire.metadata, |key| key == ALLOW_MODE_CHANGE),
            driver: wire.spec.driver,
            snapshot: wire.spec.volume_snapshot_ref,
            source_mode: wire.spec.source_volume_mode,
            handle: wire.status.and_then(|status| status.snapshot_handle).unwrap_or_default(),
        }
    }
}

impl From<WireSourceClaim> for SourceClaim {
    fn from(wire: WireSourceClaim) -> Self {
        let mut spec = wire.spec;
        let meta = Meta::new(wire.metadata, |key| key == CLASS_BETA);
        let beta = meta.annotations.get(CLASS_BETA).map(Into::into);
        Self {
            class: beta.or(spec.storage_class_name),
            volume_mode: spec.volume_mode,
            volume: spec.volume_name,
            request: spec.resources.requests.remove("storage").unwrap_or_default(),
            bound: wire.status.and_then(|status| status.phase).as_deref() == Some("Bound"),
            meta,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn restore_size_is_read_as_text_or_number() {
        for (size, expected) in [(json!("1Gi"), Some("1Gi")), (json!(7), Some("7")), (json!(null), None)] {
            let object = json!({"metadata": {"name": "s"}, "status": {"restoreSize": size}});
            let snapshot = Snapshot::from(serde_json::from_value::<WireSnapshot>(object).unwrap());
            assert_eq!(
                (snapshot.restore_size.as_deref(), snapshot.ready, &*snapshot.content),
                (expected, false, "")
            );
        }
    }

    #[test]
    fn class_of_a_source_is_named_by_either_key() {
        for (annotations, class, expected) in [
            (json!({}), json!(null), None),
            (json!({}), json!(""), Some("")),
            (json!({CLASS_BETA: "old"}), json!("new"), Some("old")),
        ] {
            let object =
                json!({"metadata": {"annotations": annotations}, "spec": {"storageClassName": class}});
            let claim = SourceClaim::from(serde_json::from_value::<WireSourceClaim>(object).unwrap());
            assert_eq!(claim.class.as_deref(), expected);
        }
    }
}

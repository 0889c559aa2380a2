//! What an in-tree plugin's file offers: its names, what it recognises, and the translations of its objects.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeSpec, Volume};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::error::TranslationError;

/// The nine operations of an in-tree plugin (docs/upstream/migration.md). They read nothing and write nothing: what
/// is translated is given and returned.
pub(crate) trait InTreePlugin {
    /// The plugin's name, as StorageClasses and annotations spell it.
    fn name(&self) -> &'static str;

    /// The CSI driver that replaces it.
    fn driver(&self) -> &'static str;

    /// Whether the volume has the plugin's source.
    fn supports(&self, spec: &PersistentVolumeSpec) -> bool;

    /// Whether the volume of a pod has the plugin's source.
    fn supports_inline(&self, volume: &Volume) -> bool;

    /// The class as the driver understands it.
    fn class(&self, class: StorageClass) -> Result<StorageClass, TranslationError>;

    /// The volume of a pod as a PersistentVolume with a CSI source. Only azure-file looks at the pod's namespace.
    fn inline(&self, volume: &Volume, pod_namespace: &str) -> Result<PersistentVolume, TranslationError>;

    /// The volume with a CSI source in place of the plugin's.
    fn to_csi(&self, volume: PersistentVolume) -> Result<PersistentVolume, TranslationError>;

    /// The volume with the plugin's source in place of the CSI source.
    fn to_in_tree(&self, volume: PersistentVolume) -> Result<PersistentVolume, TranslationError>;

    /// The handle completed with what the node's id tells. All plugins but gce-pd return it as it is.
    fn repaired_handle(&self, handle: &str, _node_id: &str) -> Result<String, TranslationError> {
        Ok(handle.to_owned())
    }
}

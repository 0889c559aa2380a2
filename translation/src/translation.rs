//! What a translation promises, and the one of the plugins here.

use k8s_openapi::api::core::v1::{PersistentVolume, Volume};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::error::TranslationError;
use crate::in_tree::InTreePlugin;
use crate::plugin::Plugin;

/// Turns in-tree classes and volumes into those of the CSI driver that replaces their plugin, and volumes back.
/// Objects are taken by value and returned: nothing is copied that does not change.
pub trait Translation: Send + Sync {
    /// The class as the driver of `plugin` understands it.
    ///
    /// # Errors
    /// The class cannot be translated.
    fn class(&self, plugin: Plugin, class: StorageClass) -> Result<StorageClass, TranslationError>;

    /// A PersistentVolume with a CSI source that stands for the volume of a pod in `pod_namespace`.
    ///
    /// # Errors
    /// The volume has no source of an in-tree plugin, or cannot be translated.
    fn inline(&self, volume: &Volume, pod_namespace: &str) -> Result<PersistentVolume, TranslationError>;

    /// The volume with a CSI source in place of its in-tree one, topology included.
    ///
    /// # Errors
    /// The volume has no source of an in-tree plugin, or cannot be translated.
    fn to_csi(&self, volume: PersistentVolume) -> Result<PersistentVolume, TranslationError>;

    /// The volume with an in-tree source in place of its CSI one, topology included.
    ///
    /// # Errors
    /// The volume has no CSI source, its driver replaces no plugin, or it cannot be translated.
    fn to_in_tree(&self, volume: PersistentVolume) -> Result<PersistentVolume, TranslationError>;

    /// The volume's id completed with what the node's id tells (project and zone of a GCE disk); that of every
    /// other plugin as it is.
    ///
    /// # Errors
    /// The two ids do not have the shape that the driver gives them.
    fn repaired_handle(
        &self,
        plugin: Plugin,
        handle: &str,
        node_id: &str,
    ) -> Result<String, TranslationError>;
}

/// The translation of every plugin here.
///
/// `Differs:` volumes of kubernetes.io/rbd can be translated, if that is asked for. Upstream's translation of them went
/// with Kubernetes 1.31, whose controllers hand them to no driver any more: it helps beside Kubernetes 1.23 to 1.30.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plugins {
    /// Whether kubernetes.io/rbd is one of them.
    pub rbd: bool,
}

impl Plugins {
    /// The plugin that `driver` replaces, if it replaces one that is translated.
    pub fn of_driver(self, driver: &str) -> Option<Plugin> {
        Plugin::of_driver(driver).filter(|plugin| self.has(*plugin))
    }

    /// Whether volumes of this plugin are translated.
    pub fn has(self, plugin: Plugin) -> bool {
        plugin != Plugin::Rbd || self.rbd
    }

    fn operations(self, plugin: Plugin) -> Result<&'static dyn InTreePlugin, TranslationError> {
        if !self.has(plugin) {
            return Err(TranslationError::NotEnabled { plugin: plugin.name(), driver: plugin.driver() });
        }
        Ok(plugin.operations())
    }
}

impl Translation for Plugins {
    fn class(&self, plugin: Plugin, class: StorageClass) -> Result<StorageClass, TranslationError> {
        self.operations(plugin)?.class(class)
    }

    fn inline(&self, volume: &Volume, pod_namespace: &str) -> Result<PersistentVolume, TranslationError> {
        let plugin = Plugin::of_inline(volume).ok_or(TranslationError::NotInTree)?;
        self.operations(plugin)?.inline(volume, pod_namespace)
    }

    fn to_csi(&self, volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let plugin = volume.spec.as_ref().and_then(Plugin::of_volume).ok_or(TranslationError::NotInTree)?;
        self.operations(plugin)?.to_csi(volume)
    }

    fn to_in_tree(&self, volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref()).ok_or(TranslationError::NotCsi)?;
        let plugin = Plugin::of_driver(&csi.driver);
        let plugin = plugin.ok_or_else(|| TranslationError::NotReplaced(csi.driver.clone()))?;
        self.operations(plugin)?.to_in_tree(volume)
    }

    fn repaired_handle(
        &self,
        plugin: Plugin,
        handle: &str,
        node_id: &str,
    ) -> Result<String, TranslationError> {
        self.operations(plugin)?.repaired_handle(handle, node_id)
    }
}

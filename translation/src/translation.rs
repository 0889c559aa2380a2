//! What a translation promises, and the one that has nothing to offer yet.

use k8s_openapi::api::core::v1::PersistentVolume;
use thiserror::Error;

use crate::Plugin;

/// Why an in-tree volume could not be translated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TranslationError {
    /// This release does not translate volumes of the plugin.
    #[error(
        "volumes of in-tree plugin {} cannot be translated to CSI driver {} in this release: \
         use a volume of the CSI driver, or the sidecar that translates them", .0.name(), .0.driver()
    )]
    NotAvailable(Plugin),
}

/// Turns in-tree volumes into volumes of the CSI driver that replaces their plugin. Objects are copied, never
/// changed.
pub trait Translation: Send + Sync {
    /// The volume with a CSI source in place of the in-tree one, topology included.
    ///
    /// # Errors
    /// [`TranslationError`]; the caller has made sure that the volume's source is the plugin's.
    fn to_csi(&self, plugin: Plugin, volume: &PersistentVolume)
    -> Result<PersistentVolume, TranslationError>;

    /// The volume's id completed with what the node's id tells (project and zone of a GCE disk); that of every
    /// other plugin as it is.
    ///
    /// # Errors
    /// [`TranslationError`]: the two ids do not have the shape the driver gives them.
    fn repaired_handle(
        &self,
        plugin: Plugin,
        handle: &str,
        node_id: &str,
    ) -> Result<String, TranslationError>;
}

/// Translates nothing: each in-tree volume gets [`TranslationError::NotAvailable`].
#[derive(Debug, Clone, Copy, Default)]
pub struct NotAvailable;

impl Translation for NotAvailable {
    fn to_csi(
        &self,
        plugin: Plugin,
        _volume: &PersistentVolume,
    ) -> Result<PersistentVolume, TranslationError> {
        Err(TranslationError::NotAvailable(plugin))
    }

    fn repaired_handle(&self, plugin: Plugin, handle: &str, _node: &str) -> Result<String, TranslationError> {
        match plugin {
            Plugin::GcePd => Err(TranslationError::NotAvailable(plugin)),
            Plugin::AwsEbs
            | Plugin::AzureDisk
            | Plugin::AzureFile
            | Plugin::Cinder
            | Plugin::Vsphere
            | Plugin::Portworx
            | Plugin::Rbd => Ok(handle.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_translated_says_so_and_names_plugin_and_driver() {
        let error = NotAvailable.to_csi(Plugin::GcePd, &PersistentVolume::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("kubernetes.io/gce-pd") && text.contains("pd.csi.storage.gke.io"), "{text}");
    }

    #[test]
    fn only_handles_of_gce_disks_need_repair() {
        for plugin in Plugin::ALL {
            let repaired = NotAvailable.repaired_handle(plugin, "h", "n");
            assert_eq!(repaired.is_err(), plugin == Plugin::GcePd, "{plugin:?}");
        }
    }
}

//! Portworx.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeSpec, PortworxVolumeSource, SecretReference,
    Volume,
};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::class::translate_parameters;
use crate::error::TranslationError;
use crate::in_tree::InTreePlugin;
use crate::source::{filled, inline_volume, mode, set, take, take_csi};

const NAME: &str = "kubernetes.io/portworx-volume";
const DRIVER: &str = "pxd.portworx.com";
/// Parameter of classes and annotation of volumes: the name of the Secret for every call.
const SECRET_NAME: &str = "openstorage.io/auth-secret-name";
/// The same for the Secret's namespace.
const SECRET_NAMESPACE: &str = "openstorage.io/auth-secret-namespace";
/// The stages whose Secret a class names.
const STAGES: [&str; 6] =
    ["provisioner", "controller-publish", "node-publish", "node-stage", "controller-expand", "node-expand"];

/// The plugin.
pub(crate) struct Portworx;

impl InTreePlugin for Portworx {
    fn name(&self) -> &'static str {
        NAME
    }

    fn driver(&self) -> &'static str {
        DRIVER
    }

    fn supports(&self, spec: &PersistentVolumeSpec) -> bool {
        spec.portworx_volume.is_some()
    }

    fn supports_inline(&self, volume: &Volume) -> bool {
        volume.portworx_volume.is_some()
    }

    /// The provisioner changes too, which it does for few plugins.
    fn class(&self, mut class: StorageClass) -> Result<StorageClass, TranslationError> {
        translate_parameters(&mut class, |lower, (name, value), translated| {
            let part = match lower {
                SECRET_NAME => "name",
                SECRET_NAMESPACE => "namespace",
                _ => {
                    translated.insert(name, value);
                    return;
                }
            };
            let keys = STAGES.map(|stage| format!("csi.storage.k8s.io/{stage}-secret-{part}"));
            translated.extend(keys.map(|key| (key, value.clone())));
        });
        DRIVER.clone_into(&mut class.provisioner);
        Ok(class)
    }

    fn inline(&self, volume: &Volume, _: &str) -> Result<PersistentVolume, TranslationError> {
        let source = volume.portworx_volume.clone().ok_or(TranslationError::NoSource(NAME))?;
        let (name, mode) = (format!("{DRIVER}-{}", source.volume_id), mode(source.read_only));
        Ok(inline_volume(name, mode, csi(source)))
    }

    fn to_csi(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let source = take(&mut volume, NAME, |spec| spec.portworx_volume.take())?;
        let secret = secret(&volume);
        volume.spec.get_or_insert_default().csi = Some(CSIPersistentVolumeSource {
            controller_publish_secret_ref: secret.clone(),
            node_stage_secret_ref: secret.clone(),
            node_publish_secret_ref: secret.clone(),
            controller_expand_secret_ref: secret.clone(),
            node_expand_secret_ref: secret,
            ..csi(source)
        });
        Ok(volume)
    }

    fn to_in_tree(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let csi = take_csi(&mut volume)?;
        volume.spec.get_or_insert_default().portworx_volume = Some(PortworxVolumeSource {
            volume_id: csi.volume_handle,
            fs_type: filled(csi.fs_type),
            read_only: set(csi.read_only),
        });
        Ok(volume)
    }
}

/// `readOnly` is not taken over: the kubelet, which translates the same volume on the node, does not either.
fn csi(source: PortworxVolumeSource) -> CSIPersistentVolumeSource {
    CSIPersistentVolumeSource {
        driver: DRIVER.to_owned(),
        volume_handle: source.volume_id,
        fs_type: filled(source.fs_type),
        volume_attributes: Some(BTreeMap::new()),
        ..CSIPersistentVolumeSource::default()
    }
}

/// The Secret that the volume's annotations name, if both are there.
fn secret(volume: &PersistentVolume) -> Option<SecretReference> {
    let annotations = volume.metadata.annotations.as_ref()?;
    let (name, namespace) = (annotations.get(SECRET_NAME)?, annotations.get(SECRET_NAMESPACE)?);
    Some(SecretReference { name: filled(Some(name.clone())), namespace: filled(Some(namespace.clone())) })
}

#[cfg(test)]
mod tests;

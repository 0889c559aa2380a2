//! OpenStack Cinder.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, CinderPersistentVolumeSource, PersistentVolume, PersistentVolumeSpec, Volume,
};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::class::{rename_fs_type, rename_zones};
use crate::error::TranslationError;
use crate::in_tree::InTreePlugin;
use crate::source::{ONCE, filled, inline_volume, set, take, take_csi};
use crate::topology;

const NAME: &str = "kubernetes.io/cinder";
const DRIVER: &str = "cinder.csi.openstack.org";
const ZONE: &str = "topology.cinder.csi.openstack.org/zone";

/// The plugin.
pub(crate) struct Cinder;

impl InTreePlugin for Cinder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn driver(&self) -> &'static str {
        DRIVER
    }

    fn supports(&self, spec: &PersistentVolumeSpec) -> bool {
        spec.cinder.is_some()
    }

    fn supports_inline(&self, volume: &Volume) -> bool {
        volume.cinder.is_some()
    }

    /// The parameter `availability` stays one: the driver reads it.
    fn class(&self, mut class: StorageClass) -> Result<StorageClass, TranslationError> {
        rename_fs_type(&mut class);
        rename_zones(&mut class, ZONE);
        Ok(class)
    }

    fn inline(&self, volume: &Volume, _: &str) -> Result<PersistentVolume, TranslationError> {
        let source = volume.cinder.as_ref().ok_or(TranslationError::NoSource(NAME))?;
        let csi = csi(source.volume_id.clone(), source.fs_type.clone(), source.read_only);
        Ok(inline_volume(format!("{DRIVER}-{}", source.volume_id), ONCE, csi))
    }

    /// The Secret of the source is dropped: the driver has its own access to OpenStack.
    fn to_csi(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let source = take(&mut volume, NAME, |spec| spec.cinder.take())?;
        topology::to_csi(&mut volume, ZONE);
        volume.spec.get_or_insert_default().csi =
            Some(csi(source.volume_id, source.fs_type, source.read_only));
        Ok(volume)
    }

    /// A zone does not tell its region here, so the volume gets none.
    fn to_in_tree(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let csi = take_csi(&mut volume)?;
        topology::to_in_tree(&mut volume, ZONE, None)?;
        volume.spec.get_or_insert_default().cinder = Some(CinderPersistentVolumeSource {
            volume_id: csi.volume_handle,
            fs_type: filled(csi.fs_type),
            read_only: set(csi.read_only),
            secret_ref: None,
        });
        Ok(volume)
    }
}

fn csi(id: String, fs_type: Option<String>, read_only: Option<bool>) -> CSIPersistentVolumeSource {
    CSIPersistentVolumeSource {
        driver: DRIVER.to_owned(),
        volume_handle: id,
        fs_type: filled(fs_type),
        read_only: set(read_only),
        volume_attributes: Some(BTreeMap::new()),
        ..CSIPersistentVolumeSource::default()
    }
}

#[cfg(test)]
mod tests;

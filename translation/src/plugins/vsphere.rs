//! vSphere's virtual disks. A handle is the path of the disk.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeSpec, Volume, VsphereVirtualDiskVolumeSource,
};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::class::{FS_TYPE, rename_zones, translate_parameters};
use crate::error::TranslationError;
use crate::in_tree::InTreePlugin;
use crate::source::{ONCE, filled, inline_volume, take, take_csi};
use crate::topology::{add_label, keys_of, label, rename, rename_all, require, values};

const NAME: &str = "kubernetes.io/vsphere-volume";
const DRIVER: &str = "csi.vsphere.vmware.com";
const ZONE: &str = "topology.csi.vmware.com/zone";
const REGION: &str = "topology.csi.vmware.com/region";
const POLICY: &str = "storagepolicyname";
/// Parameters that the driver knows under a longer name.
const RENAMED: [&str; 8] = [
    "datastore",
    "diskformat",
    "hostfailurestotolerate",
    "forceprovisioning",
    "cachereservation",
    "diskstripes",
    "objectspacereservation",
    "iopslimit",
];

/// The plugin.
pub(crate) struct Vsphere;

impl InTreePlugin for Vsphere {
    fn name(&self) -> &'static str {
        NAME
    }

    fn driver(&self) -> &'static str {
        DRIVER
    }

    fn supports(&self, spec: &PersistentVolumeSpec) -> bool {
        spec.vsphere_volume.is_some()
    }

    fn supports_inline(&self, volume: &Volume) -> bool {
        volume.vsphere_volume.is_some()
    }

    /// A parameter that the driver does not know is dropped. With `csimigration` the driver tells the path of a new disk
    /// in its volume context.
    fn class(&self, mut class: StorageClass) -> Result<StorageClass, TranslationError> {
        translate_parameters(&mut class, |lower, (_, value), translated| {
            let name = match lower {
                "fstype" => FS_TYPE.to_owned(),
                POLICY => POLICY.to_owned(),
                known if RENAMED.contains(&known) => format!("{known}-migrationparam"),
                _ => return,
            };
            translated.insert(name, value);
        });
        class.parameters.get_or_insert_default().insert("csimigration".to_owned(), "true".to_owned());
        rename_zones(&mut class, ZONE);
        Ok(class)
    }

    /// A pod's vSphere disk as a CSI volume. `Differs:` upstream crashes on one with a storage policy.
    fn inline(&self, volume: &Volume, _: &str) -> Result<PersistentVolume, TranslationError> {
        let source = volume.vsphere_volume.clone().ok_or(TranslationError::NoSource(NAME))?;
        Ok(inline_volume(format!("{DRIVER}-{}", source.volume_path), ONCE, csi(source)))
    }

    fn to_csi(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let source = take(&mut volume, NAME, |spec| spec.vsphere_volume.take())?;
        let keys = keys_of(&volume);
        for (key, driver_key) in [(keys.zone, ZONE), (keys.region, REGION)] {
            if !rename(&mut volume, key, driver_key)
                && let Some(place) = label(&volume, key).cloned()
            {
                require(&mut volume, driver_key, &[place]);
            }
        }
        volume.spec.get_or_insert_default().csi = Some(csi(source));
        Ok(volume)
    }

    fn to_in_tree(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let csi = take_csi(&mut volume)?;
        let keys = keys_of(&volume);
        for (driver_key, key) in [(ZONE, keys.zone), (REGION, keys.region)] {
            rename_all(&mut volume, driver_key, key);
            if let Some(place) = values(&volume, key).into_iter().next() {
                add_label(&mut volume, key, place);
            }
        }
        let path =
            csi.volume_attributes.and_then(|mut attributes| attributes.remove("initialvolumefilepath"));
        volume.spec.get_or_insert_default().vsphere_volume = Some(VsphereVirtualDiskVolumeSource {
            volume_path: path.unwrap_or_default(),
            fs_type: filled(csi.fs_type),
            ..VsphereVirtualDiskVolumeSource::default()
        });
        Ok(volume)
    }
}

fn csi(source: VsphereVirtualDiskVolumeSource) -> CSIPersistentVolumeSource {
    let policy = filled(source.storage_policy_name).map(|policy| (POLICY.to_owned(), policy));
    CSIPersistentVolumeSource {
        driver: DRIVER.to_owned(),
        volume_handle: source.volume_path,
        fs_type: filled(source.fs_type),
        volume_attributes: Some(BTreeMap::from_iter(policy)),
        ..CSIPersistentVolumeSource::default()
    }
}

#[cfg(test)]
mod tests;

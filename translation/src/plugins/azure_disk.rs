//! Azure's managed disks. A handle is the disk's URI.

use k8s_openapi::api::core::v1::{
    AzureDiskVolumeSource, CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeSpec, Volume,
};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::class::{expressions, translate_zones};
use crate::error::TranslationError;
use crate::in_tree::InTreePlugin;
use crate::source::{ONCE, attribute, filled, inline_volume, set, take, take_csi};

const NAME: &str = "kubernetes.io/azure-disk";
const DRIVER: &str = "disk.csi.azure.com";
const ZONE: &str = "topology.disk.csi.azure.com/zone";
/// The only kind of disk that the driver serves.
const MANAGED: &str = "Managed";
const CACHING_MODE: &str = "cachingmode";
const FS_TYPE: &str = "fstype";

/// The plugin.
pub(crate) struct AzureDisk;

impl InTreePlugin for AzureDisk {
    fn name(&self) -> &'static str {
        NAME
    }

    fn driver(&self) -> &'static str {
        DRIVER
    }

    fn supports(&self, spec: &PersistentVolumeSpec) -> bool {
        spec.azure_disk.is_some()
    }

    fn supports_inline(&self, volume: &Volume) -> bool {
        volume.azure_disk.is_some()
    }

    /// In a region without zones, the in-tree zone is the number of a fault domain; the driver wants an empty zone there.
    /// The parameter `fstype` keeps its name: the driver reads it.
    fn class(&self, mut class: StorageClass) -> Result<StorageClass, TranslationError> {
        translate_zones(&mut class, ZONE)?;
        let zones = expressions(&mut class).filter(|expression| expression.key == ZONE);
        for zone in zones.flat_map(|expression| &mut expression.values) {
            if zone.bytes().all(|letter| letter.is_ascii_digit()) {
                zone.clear();
            }
        }
        Ok(class)
    }

    fn inline(&self, volume: &Volume, _: &str) -> Result<PersistentVolume, TranslationError> {
        let mut source = volume.azure_disk.clone().ok_or(TranslationError::NoSource(NAME))?;
        source.caching_mode = filled(source.caching_mode);
        Ok(inline_volume(source.disk_uri.clone(), ONCE, csi(source)?))
    }

    /// Where the volume is stays as it is.
    fn to_csi(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let source = take(&mut volume, NAME, |spec| spec.azure_disk.take())?;
        volume.spec.get_or_insert_default().csi = Some(csi(source)?);
        Ok(volume)
    }

    fn to_in_tree(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let csi = take_csi(&mut volume)?;
        let mut source = AzureDiskVolumeSource {
            disk_name: disk_name(&csi.volume_handle)?.to_owned(),
            fs_type: Some(csi.fs_type.unwrap_or_default()),
            read_only: Some(csi.read_only.unwrap_or_default()),
            kind: Some(MANAGED.to_owned()),
            caching_mode: None,
            disk_uri: csi.volume_handle,
        };
        for (name, value) in
            csi.volume_attributes.into_iter().flatten().filter(|(_, value)| !value.is_empty())
        {
            match name.to_lowercase().as_str() {
                CACHING_MODE => source.caching_mode = Some(value),
                FS_TYPE => source.fs_type = Some(value),
                _ => {}
            }
        }
        volume.spec.get_or_insert_default().azure_disk = Some(source);
        Ok(volume)
    }
}

fn csi(source: AzureDiskVolumeSource) -> Result<CSIPersistentVolumeSource, TranslationError> {
    if let Some(kind) = source.kind.filter(|kind| !kind.eq_ignore_ascii_case(MANAGED)) {
        return Err(TranslationError::DiskKind(kind));
    }
    let mut attributes = attribute("kind", MANAGED);
    attributes.extend(source.caching_mode.map(|mode| (CACHING_MODE.to_owned(), mode)));
    attributes.extend(source.fs_type.clone().map(|fs_type| (FS_TYPE.to_owned(), fs_type)));
    Ok(CSIPersistentVolumeSource {
        driver: DRIVER.to_owned(),
        volume_handle: source.disk_uri,
        fs_type: filled(source.fs_type),
        read_only: set(source.read_only),
        volume_attributes: Some(attributes),
        ..CSIPersistentVolumeSource::default()
    })
}

/// The name of the disk that a URI names: of a managed disk, or of one in a storage account (`http...`).
fn disk_name(uri: &str) -> Result<&str, TranslationError> {
    let in_account = uri.len() > 4 && uri.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
    let found = if in_account {
        after_last(uri, "/vhds/").filter(|(before, _)| names_in_order(before, &["http", "://"]))
    } else {
        let way = ["/subscriptions/", "/resourceGroups/"];
        after_last(uri, "/providers/Microsoft.Compute/disks/")
            .filter(|(before, _)| names_in_order(before, &way))
    };
    found.map(|(_, name)| name).ok_or_else(|| TranslationError::DiskUri(uri.to_owned()))
}

/// What comes before and after the last `mark` that something comes after.
fn after_last<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let (last, _) = text.char_indices().next_back()?;
    let start = text.get(..last)?.rfind(mark)?;
    Some((text.get(..start)?, text.get(start + mark.len()..)?))
}

/// Whether the text has each of the words, one after the other.
fn names_in_order(text: &str, words: &[&str]) -> bool {
    words.iter().try_fold(text, |rest, word| rest.split_once(word).map(|(_, after)| after)).is_some()
}

#[cfg(test)]
mod tests;

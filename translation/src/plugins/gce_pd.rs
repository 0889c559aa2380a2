//! Google's persistent disks.
//!
//! A handle is `projects/<project>/zones/<zone>/disks/<disk>`, or with `regions/<region>` in the middle for a disk of
//! several zones. What an in-tree volume does not tell is the word `UNSPECIFIED`.

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, GCEPersistentDiskVolumeSource, PersistentVolume, PersistentVolumeSpec, Volume,
};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::class::{rename_fs_type, translate_zones};
use crate::error::TranslationError;
use crate::in_tree::InTreePlugin;
use crate::source::{
    MANY, ONCE, READ_MANY, attribute, filled, inline_volume, mode, partition, set, take, take_csi,
};
use crate::topology::{self, BETA_ZONE, SEPARATOR, label, one_region};

const NAME: &str = "kubernetes.io/gce-pd";
const DRIVER: &str = "pd.csi.storage.gke.io";
const ZONE: &str = "topology.gke.io/zone";
/// What stands for an unknown part of a handle.
const UNSPECIFIED: &str = "UNSPECIFIED";

/// The plugin.
pub(crate) struct GcePd;

impl InTreePlugin for GcePd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn driver(&self) -> &'static str {
        DRIVER
    }

    fn supports(&self, spec: &PersistentVolumeSpec) -> bool {
        spec.gce_persistent_disk.is_some()
    }

    fn supports_inline(&self, volume: &Volume) -> bool {
        volume.gce_persistent_disk.is_some()
    }

    fn class(&self, mut class: StorageClass) -> Result<StorageClass, TranslationError> {
        translate_zones(&mut class, ZONE)?;
        rename_fs_type(&mut class);
        Ok(class)
    }

    fn inline(&self, volume: &Volume, _: &str) -> Result<PersistentVolume, TranslationError> {
        let source = volume.gce_persistent_disk.as_ref().ok_or(TranslationError::NoSource(NAME))?;
        let csi = csi(source, handle(UNSPECIFIED, ("zones", UNSPECIFIED), &source.pd_name));
        Ok(inline_volume(format!("{DRIVER}-{}", source.pd_name), mode(source.read_only), csi))
    }

    fn to_csi(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let source = take(&mut volume, NAME, |spec| spec.gce_persistent_disk.take())?;
        let handle = handle_of(&volume, &source.pd_name)?;
        topology::to_csi(&mut volume, ZONE);
        let spec = volume.spec.get_or_insert_default();
        spec.csi = Some(csi(&source, handle));
        spec.access_modes = spec.access_modes.take().map(|modes| vec![effective_mode(&modes).to_owned()]);
        Ok(volume)
    }

    fn to_in_tree(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let csi = take_csi(&mut volume)?;
        let [_, _, _, _, _, disk] = parts("volume handle", &csi.volume_handle)?;
        let attributes = csi.volume_attributes.as_ref();
        let text = attributes.and_then(|pairs| pairs.get("partition")).filter(|text| !text.is_empty());
        let source = GCEPersistentDiskVolumeSource {
            pd_name: disk.to_owned(),
            fs_type: filled(csi.fs_type.clone()),
            read_only: set(csi.read_only),
            partition: partition(text)?,
        };
        topology::to_in_tree(&mut volume, ZONE, Some(region))?;
        volume.spec.get_or_insert_default().gce_persistent_disk = Some(source);
        Ok(volume)
    }

    /// The driver's own list names project and place, which a node's id tells:
    /// `projects/<project>/zones/<zone>/instances/<name>`.
    fn repaired_handle(&self, volume: &str, node_id: &str) -> Result<String, TranslationError> {
        let [_, project, kind, place, _, disk] = parts("volume handle", volume)?;
        if project != UNSPECIFIED {
            return Ok(volume.to_owned());
        }
        let [_, project, _, zone, ..] = parts("node id", node_id)?;
        let place = match (kind, place) {
            ("zones", UNSPECIFIED) => zone.to_owned(),
            ("regions", UNSPECIFIED) => region(&[zone.to_owned()])?,
            ("zones" | "regions", known) => known.to_owned(),
            _ => return Err(TranslationError::NoPlace(volume.to_owned())),
        };
        Ok(handle(project, (kind, &place), disk))
    }
}

fn handle(project: &str, (kind, place): (&str, &str), disk: &str) -> String {
    format!("projects/{project}/{kind}/{place}/disks/{disk}")
}

/// The first six parts of an id.
fn parts<'a>(what: &'static str, id: &'a str) -> Result<[&'a str; 6], TranslationError> {
    let all: Vec<&str> = id.split('/').collect();
    let six = all.first_chunk::<6>();
    six.copied().ok_or_else(|| TranslationError::TooShort { what, id: id.to_owned(), parts: all.len() })
}

/// The handle that the volume's labels tell: of a zone, of the region of several zones, or of no known zone. The beta
/// label counts before the other, unlike anywhere else.
fn handle_of(volume: &PersistentVolume, disk: &str) -> Result<String, TranslationError> {
    let filled = |key| label(volume, key).filter(|zones| !zones.is_empty());
    let zones = filled(BETA_ZONE).or_else(|| filled(topology::ZONE));
    let zones: Vec<String> =
        zones.into_iter().flat_map(|zones| zones.split(SEPARATOR).map(str::to_owned)).collect();
    Ok(match zones.as_slice() {
        [] => handle(UNSPECIFIED, ("zones", UNSPECIFIED), disk),
        [zone] => handle(UNSPECIFIED, ("zones", zone), disk),
        several => handle(UNSPECIFIED, ("regions", &region(several)?), disk),
    })
}

/// The in-tree plugin checked no access mode and attached each disk for one node to write, or for many to read. The
/// driver does check them.
fn effective_mode(modes: &[String]) -> &'static str {
    let has = |mode: &str| modes.iter().any(|known| known == mode);
    if has(READ_MANY) && !has(ONCE) && !has(MANY) { READ_MANY } else { ONCE }
}

fn csi(source: &GCEPersistentDiskVolumeSource, handle: String) -> CSIPersistentVolumeSource {
    let partition = source.partition.filter(|number| *number != 0);
    CSIPersistentVolumeSource {
        driver: DRIVER.to_owned(),
        volume_handle: handle,
        fs_type: filled(source.fs_type.clone()),
        read_only: set(source.read_only),
        volume_attributes: Some(attribute(
            "partition",
            partition.map_or(String::new(), |number| number.to_string()),
        )),
        ..CSIPersistentVolumeSource::default()
    }
}

/// The region of zones such as us-central1-a.
fn region(zones: &[String]) -> Result<String, TranslationError> {
    one_region(zones, |zone| {
        let mut parts = zone.split('-');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(continent), Some(area), Some(_), None) => Some(format!("{continent}-{area}")),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests;

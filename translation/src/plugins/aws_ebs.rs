//! Amazon EBS.

use k8s_openapi::api::core::v1::{
    AWSElasticBlockStoreVolumeSource, CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeSpec,
    Volume,
};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::class::{FS_TYPE, translate_parameters, translate_zones};
use crate::error::TranslationError;
use crate::in_tree::InTreePlugin;
use crate::source::{ONCE, attribute, filled, inline_volume, partition, set, take, take_csi};
use crate::topology::{self, one_region};

const NAME: &str = "kubernetes.io/aws-ebs";
const DRIVER: &str = "ebs.csi.aws.com";
const ZONE: &str = "topology.ebs.csi.aws.com/zone";

/// Parameter: whether the driver may give a volume more IOPS than its size times `iopsPerGB`.
const MAY_RAISE_IOPS: &str = "allowautoiopspergbincrease";

/// The plugin.
pub(crate) struct AwsEbs;

impl InTreePlugin for AwsEbs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn driver(&self) -> &'static str {
        DRIVER
    }

    fn supports(&self, spec: &PersistentVolumeSpec) -> bool {
        spec.aws_elastic_block_store.is_some()
    }

    fn supports_inline(&self, volume: &Volume) -> bool {
        volume.aws_elastic_block_store.is_some()
    }

    /// With `iopsPerGB`, the driver may raise the IOPS of a small volume to the provider's minimum, as the in-tree plugin
    /// did. `Differs:` a class that says itself whether the driver may keeps its word; upstream keeps it or not, at random.
    fn class(&self, mut class: StorageClass) -> Result<StorageClass, TranslationError> {
        translate_zones(&mut class, ZONE)?;
        translate_parameters(&mut class, |lower, (name, value), translated| {
            match lower {
                "fstype" => translated.insert(FS_TYPE.to_owned(), value),
                "iopspergb" => {
                    translated.entry(MAY_RAISE_IOPS.to_owned()).or_insert_with(|| "true".to_owned());
                    translated.insert(name, value)
                }
                _ => translated.insert(name, value),
            };
        });
        Ok(class)
    }

    fn inline(&self, volume: &Volume, _: &str) -> Result<PersistentVolume, TranslationError> {
        let source = volume.aws_elastic_block_store.as_ref().ok_or(TranslationError::NoSource(NAME))?;
        let csi = csi(source)?;
        Ok(inline_volume(format!("{DRIVER}-{}", csi.volume_handle), ONCE, csi))
    }

    fn to_csi(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let source = take(&mut volume, NAME, |spec| spec.aws_elastic_block_store.take())?;
        let csi = csi(&source)?;
        topology::to_csi(&mut volume, ZONE);
        volume.spec.get_or_insert_default().csi = Some(csi);
        Ok(volume)
    }

    fn to_in_tree(&self, mut volume: PersistentVolume) -> Result<PersistentVolume, TranslationError> {
        let csi = take_csi(&mut volume)?;
        let partition = partition(csi.volume_attributes.as_ref().and_then(|pairs| pairs.get("partition")))?;
        topology::to_in_tree(&mut volume, ZONE, Some(region))?;
        volume.spec.get_or_insert_default().aws_elastic_block_store =
            Some(AWSElasticBlockStoreVolumeSource {
                volume_id: csi.volume_handle,
                fs_type: filled(csi.fs_type),
                read_only: set(csi.read_only),
                partition,
            });
        Ok(volume)
    }
}

fn csi(source: &AWSElasticBlockStoreVolumeSource) -> Result<CSIPersistentVolumeSource, TranslationError> {
    Ok(CSIPersistentVolumeSource {
        driver: DRIVER.to_owned(),
        volume_handle: ebs_id(&source.volume_id)?.to_owned(),
        fs_type: filled(source.fs_type.clone()),
        read_only: set(source.read_only),
        volume_attributes: Some(attribute("partition", source.partition.unwrap_or_default().to_string())),
        ..CSIPersistentVolumeSource::default()
    })
}

/// The EBS id in a volume id of the in-tree plugin: `vol-...` itself, or the end of `aws://<zone>/vol-...`, whose zone
/// may be empty. What does not begin with `aws://` is not checked.
///
/// `Differs:` upstream reads the second form as a URL: it decodes escapes, drops query and fragment, and accepts any other
/// character. EBS ids and zones have letters, digits, dots, dashes and underscores; anything else is an error here.
fn ebs_id(id: &str) -> Result<&str, TranslationError> {
    let Some(rest) = id.strip_prefix("aws://") else { return Ok(id) };
    let wrong = || TranslationError::EbsId(id.to_owned());
    let (zone, path) = rest.split_once('/').ok_or_else(wrong)?;
    let ebs = path.trim_matches('/');
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    let is_id = ebs.starts_with("vol-") && ebs.chars().all(is_plain) && zone.chars().all(is_plain);
    if is_id { Ok(ebs) } else { Err(wrong()) }
}

/// The region of zones such as us-west-2a, us-gov-east-1a, us-west-2-lax-1a (local) or us-east-1-wl1-bos-wlz-1
/// (wavelength).
fn region(zones: &[String]) -> Result<String, TranslationError> {
    one_region(zones, |zone| {
        let parts: Vec<&str> = zone.split('-').collect();
        match parts.as_slice() {
            [continent, direction, number, _, _] | [continent, direction, number, _, _, _, _] => {
                Some([*continent, direction, number].join("-"))
            }
            [_, .., last] if [3, 4].contains(&parts.len()) && last.len() == 2 => {
                // The last letter is the zone's own.
                zone.char_indices().next_back().map(|(end, _)| zone.get(..end).unwrap_or_default().to_owned())
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests;

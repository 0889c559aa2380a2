//! Pieces that the plugins' volumes have in common.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, PersistentVolume, PersistentVolumeSpec};

use crate::error::TranslationError;

/// Access mode: one node writes.
pub(crate) const ONCE: &str = "ReadWriteOnce";
/// Access mode: many nodes read.
pub(crate) const READ_MANY: &str = "ReadOnlyMany";
/// Access mode: many nodes write.
pub(crate) const MANY: &str = "ReadWriteMany";

/// The text, unless it is empty: the API server stores no empty field.
pub(crate) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The flag, unless it is off.
pub(crate) fn set(flag: Option<bool>) -> Option<bool> {
    flag.filter(|flag| *flag)
}

/// Takes one source out of the volume's spec.
///
/// # Errors
/// The volume lacks it.
pub(crate) fn take<S>(
    volume: &mut PersistentVolume,
    plugin: &'static str,
    of: impl FnOnce(&mut PersistentVolumeSpec) -> Option<S>,
) -> Result<S, TranslationError> {
    volume.spec.as_mut().and_then(of).ok_or(TranslationError::NoSource(plugin))
}

/// Takes the CSI source out of the volume's spec.
///
/// # Errors
/// The volume lacks it.
pub(crate) fn take_csi(volume: &mut PersistentVolume) -> Result<CSIPersistentVolumeSource, TranslationError> {
    volume.spec.as_mut().and_then(|spec| spec.csi.take()).ok_or(TranslationError::NotCsi)
}

/// The access mode of a volume in a pod.
pub(crate) fn mode(read_only: Option<bool>) -> &'static str {
    if read_only == Some(true) { READ_MANY } else { ONCE }
}

/// The PersistentVolume that stands for a volume in a pod. `name` must be unique for each disk: the kubelet uses it in
/// the staging path.
pub(crate) fn inline_volume(name: String, mode: &str, csi: CSIPersistentVolumeSource) -> PersistentVolume {
    let mut volume = PersistentVolume::default();
    volume.metadata.name = Some(name);
    volume.spec = Some(PersistentVolumeSpec {
        access_modes: Some(vec![mode.to_owned()]),
        csi: Some(csi),
        // The API server's default is for PersistentVolumes only. A pod's own volume is never a block device.
        volume_mode: Some("Filesystem".to_owned()),
        ..PersistentVolumeSpec::default()
    });
    volume
}

/// The partition that the attributes name; `None` without one and for 0.
///
/// `Differs:` upstream cuts a number that does not fit 32 bits to its lower half.
///
/// # Errors
/// The attribute is no number.
pub(crate) fn partition(text: Option<&String>) -> Result<Option<i32>, TranslationError> {
    let Some(text) = text else { return Ok(None) };
    let number: i32 = text.parse().map_err(|_| TranslationError::Partition(text.clone()))?;
    Ok(Some(number).filter(|number| *number != 0))
}

/// One volume attribute.
pub(crate) fn attribute(name: &str, value: impl Into<String>) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.into())])
}

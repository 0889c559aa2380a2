//! Builds ControllerExpandVolume (docs/upstream/resizer.md, "Calls").

use std::collections::BTreeMap;

use base::quantity::Quantity;
use csi::access::{AccessError, of_volume};
use csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use csi::v1::{CapacityRange, ControllerExpandVolumeRequest, VolumeCapability};
use kubernetes::object::{CsiSource, VolumeSpec};

use super::error::GrowthError;
use crate::caches::CsiForm;

/// The request to grow the volume of this name to at least this size. Secrets are added later.
///
/// # Errors
/// The access modes have no CSI equivalent, or the size has no number of bytes.
pub(crate) fn expand(
    name: &str,
    volume: &CsiForm,
    target: Quantity,
    multi_writer: bool,
) -> Result<ControllerExpandVolumeRequest, GrowthError> {
    let required_bytes = target.value()?;
    let volume_capability = capability(&volume.spec, &volume.source, multi_writer)
        .map_err(|cause| GrowthError::AccessModes { volume: name.into(), cause })?;
    Ok(ControllerExpandVolumeRequest {
        volume_id: volume.source.volume_handle.to_string(),
        capacity_range: Some(CapacityRange { required_bytes, limit_bytes: 0 }),
        secrets: BTreeMap::new(),
        volume_capability: Some(volume_capability),
    })
}

/// The capability of a volume. A file system that is not named has no default here.
///
/// # Errors
/// The access modes have no CSI equivalent.
fn capability(
    spec: &VolumeSpec,
    csi: &CsiSource,
    multi_writer: bool,
) -> Result<VolumeCapability, AccessError> {
    let access_type = if spec.block {
        AccessType::Block(BlockVolume {})
    } else {
        AccessType::Mount(MountVolume {
            fs_type: csi.fs_type.to_string(),
            mount_flags: spec.mount_options.iter().map(|option| option.to_string()).collect(),
            ..MountVolume::default()
        })
    };
    let mode = of_volume(&spec.access_modes, multi_writer)?;
    Ok(VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(access_type),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::volume;
    use serde_json::{Value, json};

    fn request(spec: Value, size: &str) -> Result<ControllerExpandVolumeRequest, GrowthError> {
        let volume = volume(json!({"spec": spec}));
        let source = volume.spec.csi.as_deref().cloned().unwrap();
        let form = CsiForm { spec: volume.spec, source, migrated: false };
        expand("pv", &form, size.parse().unwrap(), false)
    }

    #[test]
    fn size_is_rounded_up_to_bytes_and_has_no_limit() {
        for (size, bytes) in [("1Gi", 1 << 30), ("1500m", 2), ("1.5Gi", 3 << 29), ("5G", 5_000_000_000)] {
            let made = request(json!({}), size).unwrap();
            let range = CapacityRange { required_bytes: bytes, limit_bytes: 0 };
            assert_eq!((made.capacity_range, made.volume_id.as_str()), (Some(range), "handle"), "{size}");
        }
    }

    #[test]
    fn capability_says_how_the_volume_is_used() {
        let access = |spec| request(spec, "2Gi").unwrap().volume_capability.unwrap().access_type.unwrap();
        assert!(matches!(access(json!({"volumeMode": "Block"})), AccessType::Block(_)));
        let AccessType::Mount(mount) = access(json!({"csi": {"fsType": "xfs"}, "mountOptions": ["noatime"]}))
        else {
            panic!("no mount")
        };
        assert_eq!((mount.fs_type.as_str(), mount.mount_flags), ("xfs", vec!["noatime".to_owned()]));
        let AccessType::Mount(mount) = access(json!({})) else { panic!("no mount") };
        assert_eq!(mount.fs_type, "", "there is no default");
        let error =
            request(json!({"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]}), "2Gi").unwrap_err();
        assert!(matches!(error, GrowthError::AccessModes { .. }), "{error}");
    }
}

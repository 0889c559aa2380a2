//! How a volume is used, as CSI says it.

use csi::access::{AccessError, of_volume};
use csi::v1::VolumeCapability;
use csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use kubernetes::object::{CsiSource, VolumeSpec};

/// The capability of a volume. A file system that is not named has no default here.
///
/// # Errors
/// The access modes have no CSI equivalent.
pub(crate) fn capability(
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

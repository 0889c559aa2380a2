//! Good requests, to be changed by a test in what it is about.

use csi::v1;
use v1::volume_capability::access_mode::Mode;
use v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};

/// One mebibyte.
pub const MIB: i64 = 1 << 20;

/// A capability of an access type and mode.
pub fn capability(block: bool, mode: Mode) -> v1::VolumeCapability {
    let access_type =
        if block { AccessType::Block(BlockVolume {}) } else { AccessType::Mount(MountVolume::default()) };
    v1::VolumeCapability {
        access_type: Some(access_type),
        access_mode: Some(AccessMode { mode: mode as i32 }),
    }
}

/// A size range with only a lower bound.
pub fn at_least(bytes: i64) -> v1::CapacityRange {
    v1::CapacityRange { required_bytes: bytes, limit_bytes: 0 }
}

/// A volume of `bytes`.
pub fn create(name: &str, block: bool, bytes: i64) -> v1::CreateVolumeRequest {
    v1::CreateVolumeRequest {
        name: name.to_owned(),
        capacity_range: Some(at_least(bytes)),
        volume_capabilities: vec![capability(block, Mode::SingleNodeWriter)],
        ..Default::default()
    }
}

/// The volume's removal.
pub fn delete(volume: &str) -> v1::DeleteVolumeRequest {
    v1::DeleteVolumeRequest { volume_id: volume.to_owned(), ..Default::default() }
}

/// The volume as a content source.
pub fn clone_of(volume: &str) -> Option<v1::VolumeContentSource> {
    use v1::volume_content_source::{Type, VolumeSource};
    let source = VolumeSource { volume_id: volume.to_owned() };
    Some(v1::VolumeContentSource { r#type: Some(Type::Volume(source)) })
}

/// The snapshot as a content source.
pub fn restore_of(snapshot: &str) -> Option<v1::VolumeContentSource> {
    use v1::volume_content_source::{SnapshotSource, Type};
    let source = SnapshotSource { snapshot_id: snapshot.to_owned() };
    Some(v1::VolumeContentSource { r#type: Some(Type::Snapshot(source)) })
}

/// A snapshot of the volume.
pub fn snapshot(name: &str, volume: &str) -> v1::CreateSnapshotRequest {
    v1::CreateSnapshotRequest {
        name: name.to_owned(),
        source_volume_id: volume.to_owned(),
        ..Default::default()
    }
}

/// The snapshot's removal.
pub fn delete_snapshot(snapshot: &str) -> v1::DeleteSnapshotRequest {
    v1::DeleteSnapshotRequest { snapshot_id: snapshot.to_owned(), ..Default::default() }
}

/// The volume at a target, without staging.
pub fn publish(volume: &str, target: &str, block: bool) -> v1::NodePublishVolumeRequest {
    v1::NodePublishVolumeRequest {
        volume_id: volume.to_owned(),
        target_path: target.to_owned(),
        volume_capability: Some(capability(block, Mode::MultiNodeMultiWriter)),
        ..Default::default()
    }
}

/// The opposite of [`publish`].
pub fn unpublish(volume: &str, target: &str) -> v1::NodeUnpublishVolumeRequest {
    v1::NodeUnpublishVolumeRequest { volume_id: volume.to_owned(), target_path: target.to_owned() }
}

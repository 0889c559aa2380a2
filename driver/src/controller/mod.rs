//! The Controller service's operations: volumes as a whole, wherever they are used.

mod attach;
pub(crate) mod create;
mod delete;
mod expand;
mod health;
mod list;
mod snapshot;

use csi::v1;
use v1::controller_service_capability as capability;
use v1::controller_service_capability::rpc::Type;

use crate::plugin::Plugin;
use crate::refusal::Refusal;
use crate::store::{Access, Snapshot, Source, Volume};

/// A volume's size when none is asked for: 1 GiB. Devices must have one, and it costs nothing.
const DEFAULT_SIZE: i64 = 1 << 30;

impl Plugin {
    /// What this service advertises.
    pub fn controller_capabilities(&self) -> v1::ControllerGetCapabilitiesResponse {
        let options = &self.options;
        let mut kinds = Vec::new();
        if !options.ephemeral {
            kinds.extend([
                Type::CreateDeleteVolume,
                Type::GetVolume,
                Type::GetCapacity,
                Type::CreateDeleteSnapshot,
                Type::GetSnapshot,
                Type::ListVolumes,
                Type::CloneVolume,
                Type::GetVolumeHealth,
                Type::SingleNodeMultiWriter,
            ]);
            // Listing without getting is against the specification.
            let gets_health = !options.hidden.contains(Type::GetVolumeHealth.as_str_name());
            let mut add = |wanted: bool, more: &[Type]| kinds.extend(more.iter().filter(|_| wanted));
            add(gets_health, &[Type::ListVolumeHealth]);
            add(options.list_snapshots, &[Type::ListSnapshots]);
            add(options.expansion && options.controller_expansion, &[Type::ExpandVolume]);
            add(
                options.attach,
                &[Type::PublishUnpublishVolume, Type::PublishReadonly, Type::ListVolumesPublishedNodes],
            );
            add(options.modify, &[Type::ModifyVolume]);
        }
        kinds.retain(|kind| !options.hidden.contains(kind.as_str_name()));
        let entry = |kind: Type| v1::ControllerServiceCapability {
            r#type: Some(capability::Type::Rpc(capability::Rpc { r#type: kind as i32 })),
        };
        v1::ControllerGetCapabilitiesResponse { capabilities: kinds.into_iter().map(entry).collect() }
    }

    /// With `--ephemeral` there is no controller.
    pub(crate) fn has_controller(&self, what: &'static str) -> Result<(), Refusal> {
        if self.options.ephemeral { Err(Refusal::Unsupported(what)) } else { Ok(()) }
    }

    /// A volume as the protocol describes it.
    pub(crate) fn describe(&self, volume: &Volume) -> v1::Volume {
        v1::Volume {
            capacity_bytes: volume.size,
            volume_id: volume.id.clone(),
            volume_context: volume.parameters.clone(),
            content_source: volume.source.as_ref().map(describe_source),
            accessible_topology: self.options.topology().into_iter().collect(),
        }
    }

    /// A snapshot as the protocol describes it. All of them are ready: cutting is synchronous.
    pub(crate) fn describe_snapshot(&self, snapshot: &Snapshot) -> v1::Snapshot {
        v1::Snapshot {
            size_bytes: snapshot.size,
            snapshot_id: snapshot.id.clone(),
            source_volume_id: snapshot.volume.clone(),
            creation_time: Some(timestamp(snapshot.created)),
            ready_to_use: true,
            group_snapshot_id: snapshot.group.clone(),
            accessible_topology: self.options.snapshot_topology().into_iter().collect(),
        }
    }

    /// Where a volume is published, as the protocol wants to know it.
    ///
    /// Differs: the Go driver lists an empty node id before the first publish and keeps the node's id
    /// after the last unpublish.
    pub(crate) fn published_nodes(&self, volume: &Volume) -> Vec<String> {
        let is_published =
            if self.options.attach { volume.attached.is_some() } else { !volume.published.is_empty() };
        is_published.then(|| self.options.node_id.clone()).into_iter().collect()
    }
}

pub(crate) fn describe_source(source: &Source) -> v1::VolumeContentSource {
    use v1::volume_content_source as source_kind;
    let kind = match source.clone() {
        Source::Snapshot(snapshot_id) => {
            source_kind::Type::Snapshot(source_kind::SnapshotSource { snapshot_id })
        }
        Source::Volume(volume_id) => source_kind::Type::Volume(source_kind::VolumeSource { volume_id }),
    };
    v1::VolumeContentSource { r#type: Some(kind) }
}

/// A time as the protocol writes it.
pub(crate) fn timestamp((seconds, nanos): (i64, i32)) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos }
}

/// The one access type of several capabilities; mount if there is none.
pub(crate) fn common_access(capabilities: &[v1::VolumeCapability]) -> Result<Access, Refusal> {
    let is_block = |capability: &v1::VolumeCapability| {
        matches!(capability.access_type, Some(v1::volume_capability::AccessType::Block(_)))
    };
    let blocks = capabilities.iter().filter(|capability| is_block(capability)).count();
    if blocks == 0 {
        Ok(Access::Mount)
    } else if blocks == capabilities.len() {
        Ok(Access::Block)
    } else {
        Err(Refusal::invalid("volume_capabilities", "block and mount cannot be combined in one volume"))
    }
}

//! What each RPC does to the model.

use csi::Rpc;
use csi::v1::{self, *};
use tonic::Status;

use super::model::{Model, Publication, Snapshot, Volume, missing, size_for};
use super::settings::Settings;

/// A request that the driver serves.
pub(super) trait Apply: Rpc + Send + Sync {
    /// The volume or snapshot id that it is about; empty for those about none.
    fn subject(&self, _: &Model) -> String {
        String::new()
    }

    /// The node id that it is about; empty when it is about all of the volume.
    fn node(&self) -> &str {
        ""
    }

    /// Its effect and its honest reply.
    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status>;
}

/// The capability must be in the settings, as it must be advertised.
fn needs(settings: &Settings, capability: controller_service_capability::rpc::Type) -> Result<(), Status> {
    if settings.controller.contains(&capability) {
        return Ok(());
    }
    Err(Status::unimplemented(format!("this driver has no {}", capability.as_str_name())))
}

use controller_service_capability::rpc::Type as Controller;

fn volume_reply(volume: &Volume) -> v1::Volume {
    v1::Volume {
        capacity_bytes: volume.capacity,
        volume_id: volume.id.clone(),
        content_source: volume.source.clone(),
        accessible_topology: volume.topology.clone(),
        ..v1::Volume::default()
    }
}

fn snapshot_reply(snapshot: &Snapshot) -> v1::Snapshot {
    v1::Snapshot {
        size_bytes: snapshot.size,
        snapshot_id: snapshot.id.clone(),
        source_volume_id: snapshot.source.clone(),
        creation_time: Some(prost_time()),
        ready_to_use: true,
        ..v1::Snapshot::default()
    }
}

/// Every snapshot is cut at the same moment, so that runs can be compared.
fn prost_time() -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: 1_767_225_600, nanos: 0 }
}

impl Apply for GetPluginInfoRequest {
    fn apply(&self, _: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        Ok(GetPluginInfoResponse {
            name: settings.name.clone(),
            vendor_version: "sim".to_owned(),
            ..GetPluginInfoResponse::default()
        })
    }
}

impl Apply for GetPluginCapabilitiesRequest {
    fn apply(&self, _: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        let service = |&kind: &plugin_capability::service::Type| PluginCapability {
            r#type: Some(plugin_capability::Type::Service(plugin_capability::Service {
                r#type: kind.into(),
            })),
        };
        Ok(GetPluginCapabilitiesResponse { capabilities: settings.plugin.iter().map(service).collect() })
    }
}

impl Apply for ProbeRequest {
    fn apply(&self, _: &mut Model, _: &Settings) -> Result<Self::Reply, Status> {
        Ok(ProbeResponse::default())
    }
}

impl Apply for ControllerGetCapabilitiesRequest {
    fn apply(&self, _: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        let rpc = |&kind: &Controller| ControllerServiceCapability {
            r#type: Some(controller_service_capability::Type::Rpc(controller_service_capability::Rpc {
                r#type: kind.into(),
            })),
        };
        Ok(ControllerGetCapabilitiesResponse { capabilities: settings.controller.iter().map(rpc).collect() })
    }
}

impl Apply for NodeGetCapabilitiesRequest {
    fn apply(&self, _: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        let rpc = |&kind: &node_service_capability::rpc::Type| NodeServiceCapability {
            r#type: Some(node_service_capability::Type::Rpc(node_service_capability::Rpc {
                r#type: kind.into(),
            })),
        };
        Ok(NodeGetCapabilitiesResponse { capabilities: settings.node.iter().map(rpc).collect() })
    }
}

impl Apply for NodeGetInfoRequest {
    fn apply(&self, _: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        let segments = settings.node_topology.clone();
        Ok(NodeGetInfoResponse {
            node_id: settings.node_id.clone(),
            max_volumes_per_node: 0,
            accessible_topology: (!segments.is_empty()).then_some(Topology { segments }),
        })
    }
}

impl Apply for CreateVolumeRequest {
    fn subject(&self, model: &Model) -> String {
        model.volume_id(&self.name)
    }

    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::CreateDeleteVolume)?;
        if self.name.is_empty() {
            return Err(missing("name"));
        }
        if self.volume_capabilities.is_empty() {
            return Err(missing("volume capability"));
        }
        if let Some(source) = self.volume_content_source.as_ref().and_then(|source| source.r#type.as_ref()) {
            let found = match source {
                volume_content_source::Type::Snapshot(one) => model.snapshots.contains_key(&one.snapshot_id),
                volume_content_source::Type::Volume(one) => model.volumes.contains_key(&one.volume_id),
            };
            if !found {
                return Err(Status::not_found("the content source does not exist"));
            }
        }
        let wanted = Volume {
            name: self.name.clone(),
            capacity: size_for(self.capacity_range.as_ref())?,
            parameters: self.parameters.clone(),
            mutable_parameters: self.mutable_parameters.clone(),
            source: self.volume_content_source.clone(),
            topology: model.place(self.accessibility_requirements.as_ref()),
            ..Volume::default()
        };
        let volume = model.create(wanted, self.capacity_range.as_ref())?;
        Ok(CreateVolumeResponse { volume: Some(volume_reply(&volume)) })
    }
}

impl Apply for DeleteVolumeRequest {
    fn subject(&self, _: &Model) -> String {
        self.volume_id.clone()
    }

    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::CreateDeleteVolume)?;
        model.delete(&self.volume_id)?;
        Ok(DeleteVolumeResponse::default())
    }
}

impl Apply for ControllerPublishVolumeRequest {
    fn subject(&self, _: &Model) -> String {
        self.volume_id.clone()
    }

    fn node(&self) -> &str {
        &self.node_id
    }

    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::PublishUnpublishVolume)?;
        let capability = self.volume_capability.clone();
        model.publish(&self.volume_id, &self.node_id, Publication { readonly: self.readonly, capability })?;
        let publish_context =
            [("device".to_owned(), format!("{}-on-{}", self.volume_id, self.node_id))].into();
        Ok(ControllerPublishVolumeResponse { publish_context })
    }
}

impl Apply for ControllerUnpublishVolumeRequest {
    fn subject(&self, _: &Model) -> String {
        self.volume_id.clone()
    }

    fn node(&self) -> &str {
        &self.node_id
    }

    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::PublishUnpublishVolume)?;
        model.unpublish(&self.volume_id, &self.node_id)?;
        Ok(ControllerUnpublishVolumeResponse::default())
    }
}

impl Apply for ValidateVolumeCapabilitiesRequest {
    fn subject(&self, _: &Model) -> String {
        self.volume_id.clone()
    }

    fn apply(&self, model: &mut Model, _: &Settings) -> Result<Self::Reply, Status> {
        model.volume(&self.volume_id)?;
        Ok(ValidateVolumeCapabilitiesResponse {
            confirmed: Some(validate_volume_capabilities_response::Confirmed {
                volume_context: self.volume_context.clone(),
                volume_capabilities: self.volume_capabilities.clone(),
                parameters: self.parameters.clone(),
                mutable_parameters: self.mutable_parameters.clone(),
            }),
            message: String::new(),
        })
    }
}

impl Apply for ListVolumesRequest {
    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::ListVolumes)?;
        let entry = |volume: &Volume| list_volumes_response::Entry {
            volume: Some(volume_reply(volume)),
            status: Some(list_volumes_response::VolumeStatus {
                published_node_ids: volume.published.keys().cloned().collect(),
            }),
        };
        let all: Vec<_> = model.volumes.values().map(entry).collect();
        let (entries, next_token) = page(all, &self.starting_token, self.max_entries)?;
        Ok(ListVolumesResponse { entries, next_token })
    }
}

/// One page of `all`; a token is the index of the next entry.
fn page<T>(all: Vec<T>, token: &str, max: i32) -> Result<(Vec<T>, String), Status> {
    let start = if token.is_empty() {
        0
    } else {
        let parsed = token.parse::<usize>().ok().filter(|&start| start <= all.len());
        parsed.ok_or_else(|| Status::aborted(format!("unknown starting token {token}")))?
    };
    let count = usize::try_from(max).ok().filter(|&max| max > 0).unwrap_or(usize::MAX);
    let total = all.len();
    let entries: Vec<T> = all.into_iter().skip(start).take(count).collect();
    let end = start + entries.len();
    Ok((entries, if end < total { end.to_string() } else { String::new() }))
}

impl Apply for GetCapacityRequest {
    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::GetCapacity)?;
        let room = self.accessible_topology.as_ref().and_then(|topology| model.room.get(&topology.segments));
        Ok(GetCapacityResponse {
            available_capacity: room.copied().or(model.free).unwrap_or(1 << 50),
            ..GetCapacityResponse::default()
        })
    }
}

impl Apply for CreateSnapshotRequest {
    fn subject(&self, model: &Model) -> String {
        model.snapshot_id(&self.name)
    }

    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::CreateDeleteSnapshot)?;
        if self.name.is_empty() {
            return Err(missing("name"));
        }
        let size = model.volume(&self.source_volume_id)?.capacity;
        let present = model.snapshots.values().any(|snapshot| snapshot.name == self.name);
        let id = if present { model.snapshot_id(&self.name) } else { model.give(&self.name) };
        let (name, source) = (self.name.clone(), self.source_volume_id.clone());
        let snapshot = model.snapshots.entry(id.clone()).or_insert(Snapshot { id, name, source, size });
        if snapshot.source != self.source_volume_id {
            return Err(Status::already_exists(format!("snapshot {} is of another volume", self.name)));
        }
        Ok(CreateSnapshotResponse { snapshot: Some(snapshot_reply(snapshot)) })
    }
}

impl Apply for DeleteSnapshotRequest {
    fn subject(&self, _: &Model) -> String {
        self.snapshot_id.clone()
    }

    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::CreateDeleteSnapshot)?;
        if self.snapshot_id.is_empty() {
            return Err(missing("snapshot id"));
        }
        model.snapshots.remove(&self.snapshot_id);
        Ok(DeleteSnapshotResponse::default())
    }
}

impl Apply for ListSnapshotsRequest {
    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::ListSnapshots)?;
        let wanted = |snapshot: &&Snapshot| {
            (self.snapshot_id.is_empty() || snapshot.id == self.snapshot_id)
                && (self.source_volume_id.is_empty() || snapshot.source == self.source_volume_id)
        };
        let entry =
            |snapshot: &Snapshot| list_snapshots_response::Entry { snapshot: Some(snapshot_reply(snapshot)) };
        let all: Vec<_> = model.snapshots.values().filter(wanted).map(entry).collect();
        let (entries, next_token) = page(all, &self.starting_token, self.max_entries)?;
        Ok(ListSnapshotsResponse { entries, next_token })
    }
}

impl Apply for GetSnapshotRequest {
    fn subject(&self, _: &Model) -> String {
        self.snapshot_id.clone()
    }

    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::GetSnapshot)?;
        let found = model.snapshots.get(&self.snapshot_id);
        let snapshot = found
            .ok_or_else(|| Status::not_found(format!("snapshot {} does not exist", self.snapshot_id)))?;
        Ok(GetSnapshotResponse { snapshot: Some(snapshot_reply(snapshot)) })
    }
}

impl Apply for ControllerExpandVolumeRequest {
    fn subject(&self, _: &Model) -> String {
        self.volume_id.clone()
    }

    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::ExpandVolume)?;
        let wanted = size_for(self.capacity_range.as_ref())?;
        Ok(ControllerExpandVolumeResponse {
            capacity_bytes: model.expand(&self.volume_id, wanted)?,
            node_expansion_required: settings.node_expansion_required,
        })
    }
}

impl Apply for ControllerGetVolumeRequest {
    fn subject(&self, _: &Model) -> String {
        self.volume_id.clone()
    }

    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::GetVolume)?;
        let volume = model.volume(&self.volume_id)?;
        Ok(ControllerGetVolumeResponse {
            volume: Some(volume_reply(volume)),
            status: Some(controller_get_volume_response::VolumeStatus {
                published_node_ids: volume.published.keys().cloned().collect(),
            }),
        })
    }
}

impl Apply for ControllerModifyVolumeRequest {
    fn subject(&self, _: &Model) -> String {
        self.volume_id.clone()
    }

    fn apply(&self, model: &mut Model, settings: &Settings) -> Result<Self::Reply, Status> {
        needs(settings, Controller::ModifyVolume)?;
        let volume = model.volume_mut(&self.volume_id)?;
        volume.mutable_parameters.extend(self.mutable_parameters.clone());
        Ok(ControllerModifyVolumeResponse::default())
    }
}

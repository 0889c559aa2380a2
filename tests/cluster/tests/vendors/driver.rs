//! A scripted driver: it has a vendor's name and capabilities, and does at once whatever it is asked.

use std::collections::HashMap;
use std::path::Path;

use cluster::methods;
use csi::v1::controller_server::{Controller, ControllerServer};
use csi::v1::identity_server::{Identity, IdentityServer};
use csi::v1::node_server::{Node, NodeServer};
use csi::v1::*;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use crate::line::Abilities;

/// The key of every driver's topology, and of the node's label.
pub(crate) const ZONE: &str = "topology.example/zone";
/// The node that every driver is on.
pub(crate) const NODE: &str = "node-1";

/// Serves until it is dropped.
pub(crate) struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Clone)]
struct Scripted(Abilities);

impl Scripted {
    async fn pass<R: Asked>(&self, request: Request<R>) -> Result<Response<R::Reply>, Status> {
        Ok(Response::new(request.into_inner().answer(&self.0)))
    }
}

/// What the driver answers.
trait Asked {
    type Reply;
    fn answer(self, driver: &Abilities) -> Self::Reply;
}

macro_rules! answers {
    ($($request:ty => $reply:ty: |$asked:ident, $driver:ident| $answer:expr;)*) => { $(
        impl Asked for $request {
            type Reply = $reply;
            fn answer(self, $driver: &Abilities) -> $reply {
                let $asked = self;
                $answer
            }
        }
    )* };
}

/// A number that is no name of CSI 1.13: an entry of a driver that is older or newer.
fn number(name: &str, known: Option<i32>) -> i32 {
    match (known, name) {
        (Some(number), _) => number,
        (None, "UNKNOWN") => 0,
        // Of CSI 1.12, for nodes.
        (None, "VOLUME_CONDITION") => 4,
        (None, other) => panic!("no capability of CSI: {other}"),
    }
}

fn plugin(name: &str) -> PluginCapability {
    use plugin_capability::{Service, Type, VolumeExpansion, service, volume_expansion};
    let r#type = match volume_expansion::Type::from_str_name(name) {
        Some(kind) => Type::VolumeExpansion(VolumeExpansion { r#type: kind.into() }),
        None => {
            Type::Service(Service { r#type: number(name, service::Type::from_str_name(name).map(i32::from)) })
        }
    };
    PluginCapability { r#type: Some(r#type) }
}

fn controller(name: &str) -> ControllerServiceCapability {
    use controller_service_capability::{Rpc, Type, rpc};
    let r#type = number(name, rpc::Type::from_str_name(name).map(i32::from));
    ControllerServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type })) }
}

fn node(name: &str) -> NodeServiceCapability {
    use node_service_capability::{Rpc, Type, rpc};
    let r#type = number(name, rpc::Type::from_str_name(name).map(i32::from));
    NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type })) }
}

fn topology(driver: &Abilities) -> Vec<Topology> {
    let has = driver.plugin.iter().any(|name| name == "VOLUME_ACCESSIBILITY_CONSTRAINTS");
    let segments = HashMap::from([(ZONE.to_owned(), "z1".to_owned())]);
    if has { vec![Topology { segments: segments.into_iter().collect() }] } else { Vec::new() }
}

fn size(range: Option<CapacityRange>) -> i64 {
    range.map_or(1 << 30, |range| range.required_bytes)
}

answers! {
    GetPluginInfoRequest => GetPluginInfoResponse: |_asked, driver| GetPluginInfoResponse {
        name: driver.name.clone(), vendor_version: "scripted".to_owned(), ..Default::default()
    };
    GetPluginCapabilitiesRequest => GetPluginCapabilitiesResponse: |_asked, driver| GetPluginCapabilitiesResponse {
        capabilities: driver.plugin.iter().map(|name| plugin(name)).collect(),
    };
    ProbeRequest => ProbeResponse: |_asked, _driver| ProbeResponse { ready: Some(true) };
    ControllerGetCapabilitiesRequest => ControllerGetCapabilitiesResponse: |_asked, driver|
        ControllerGetCapabilitiesResponse { capabilities: driver.controller.iter().map(|name| controller(name)).collect() };
    NodeGetCapabilitiesRequest => NodeGetCapabilitiesResponse: |_asked, driver| NodeGetCapabilitiesResponse {
        capabilities: driver.node.iter().map(|name| node(name)).collect(),
    };
    NodeGetInfoRequest => NodeGetInfoResponse: |_asked, driver| NodeGetInfoResponse {
        node_id: NODE.to_owned(), accessible_topology: topology(driver).pop(), ..Default::default()
    };
    CreateVolumeRequest => CreateVolumeResponse: |asked, driver| CreateVolumeResponse {
        volume: Some(Volume {
            capacity_bytes: size(asked.capacity_range), volume_id: asked.name,
            accessible_topology: topology(driver), ..Default::default()
        }),
    };
    DeleteVolumeRequest => DeleteVolumeResponse: |_asked, _driver| DeleteVolumeResponse {};
    ControllerPublishVolumeRequest => ControllerPublishVolumeResponse: |_asked, _driver|
        ControllerPublishVolumeResponse::default();
    ControllerUnpublishVolumeRequest => ControllerUnpublishVolumeResponse: |_asked, _driver|
        ControllerUnpublishVolumeResponse {};
    ControllerExpandVolumeRequest => ControllerExpandVolumeResponse: |asked, _driver|
        ControllerExpandVolumeResponse { capacity_bytes: size(asked.capacity_range), node_expansion_required: false };
    ControllerModifyVolumeRequest => ControllerModifyVolumeResponse: |_asked, _driver|
        ControllerModifyVolumeResponse {};
    GetCapacityRequest => GetCapacityResponse: |_asked, _driver| GetCapacityResponse {
        available_capacity: 1 << 40, ..Default::default()
    };
    ListVolumesRequest => ListVolumesResponse: |_asked, _driver| ListVolumesResponse::default();
}

impl Identity for Scripted {
    methods! {
        pass;
        get_plugin_info: GetPluginInfoRequest => GetPluginInfoResponse,
        get_plugin_capabilities: GetPluginCapabilitiesRequest => GetPluginCapabilitiesResponse,
        probe: ProbeRequest => ProbeResponse;
    }
}

impl Controller for Scripted {
    methods! {
        pass;
        create_volume: CreateVolumeRequest => CreateVolumeResponse,
        delete_volume: DeleteVolumeRequest => DeleteVolumeResponse,
        controller_publish_volume: ControllerPublishVolumeRequest => ControllerPublishVolumeResponse,
        controller_unpublish_volume: ControllerUnpublishVolumeRequest => ControllerUnpublishVolumeResponse,
        list_volumes: ListVolumesRequest => ListVolumesResponse,
        get_capacity: GetCapacityRequest => GetCapacityResponse,
        controller_get_capabilities: ControllerGetCapabilitiesRequest => ControllerGetCapabilitiesResponse,
        controller_expand_volume: ControllerExpandVolumeRequest => ControllerExpandVolumeResponse,
        controller_modify_volume: ControllerModifyVolumeRequest => ControllerModifyVolumeResponse;
        validate_volume_capabilities: ValidateVolumeCapabilitiesRequest => ValidateVolumeCapabilitiesResponse,
        controller_get_volume: ControllerGetVolumeRequest => ControllerGetVolumeResponse,
        create_snapshot: CreateSnapshotRequest => CreateSnapshotResponse,
        delete_snapshot: DeleteSnapshotRequest => DeleteSnapshotResponse,
        list_snapshots: ListSnapshotsRequest => ListSnapshotsResponse,
        get_snapshot: GetSnapshotRequest => GetSnapshotResponse,
        controller_list_volume_health: ControllerListVolumeHealthRequest => ControllerListVolumeHealthResponse,
        controller_get_volume_health: ControllerGetVolumeHealthRequest => ControllerGetVolumeHealthResponse,
    }
}

impl Node for Scripted {
    methods! {
        pass;
        node_get_capabilities: NodeGetCapabilitiesRequest => NodeGetCapabilitiesResponse,
        node_get_info: NodeGetInfoRequest => NodeGetInfoResponse;
        node_stage_volume: NodeStageVolumeRequest => NodeStageVolumeResponse,
        node_unstage_volume: NodeUnstageVolumeRequest => NodeUnstageVolumeResponse,
        node_publish_volume: NodePublishVolumeRequest => NodePublishVolumeResponse,
        node_unpublish_volume: NodeUnpublishVolumeRequest => NodeUnpublishVolumeResponse,
        node_get_volume_stats: NodeGetVolumeStatsRequest => NodeGetVolumeStatsResponse,
        node_get_volume_health: NodeGetVolumeHealthRequest => NodeGetVolumeHealthResponse,
        node_get_storage_health: NodeGetStorageHealthRequest => NodeGetStorageHealthResponse,
        node_expand_volume: NodeExpandVolumeRequest => NodeExpandVolumeResponse,
    }
}

/// Serves such a driver at `socket`.
pub(crate) fn serve(abilities: Abilities, socket: &Path) -> Serving {
    // That of an earlier one.
    let _ = std::fs::remove_file(socket);
    let incoming = UnixListenerStream::new(UnixListener::bind(socket).expect("a socket"));
    let driver = Scripted(abilities);
    let server = tonic::transport::Server::builder()
        .add_service(IdentityServer::new(driver.clone()))
        .add_service(ControllerServer::new(driver.clone()))
        .add_service(NodeServer::new(driver))
        .serve_with_incoming(incoming);
    Serving(tokio::spawn(async move { server.await.expect("served") }))
}

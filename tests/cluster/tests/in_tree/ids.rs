//! Our driver with volume ids as the drivers of the clouds have them: a stand-in before its socket adds and takes off what
//! makes an id of a disk of Google, a URI of Azure, or the path of a vSphere disk. It remembers what it was asked to change.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::metrics::Metrics;
use cluster::methods;
use csi::v1::controller_server::{Controller, ControllerServer};
use csi::v1::identity_server::{Identity, IdentityServer};
use csi::v1::*;
use csi::{CallLog, Client, Connection, DialOptions, Endpoint, Rpc};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};
use translation::Plugin;

const LIMIT: Duration = Duration::from_secs(60);

/// Methods that change nothing: how often they are called is no matter of a volume.
const READING: [&str; 4] = ["Get", "List", "Probe", "Validate"];

/// Serves until it is dropped.
pub(crate) struct StandIn {
    server: JoinHandle<()>,
    asked: Asked,
}

/// Each request, as text.
type Asked = Arc<Mutex<Vec<String>>>;

impl StandIn {
    /// What was asked for that changes something.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a lock").clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Ids {
    driver: Client,
    plugin: Plugin,
    asked: Asked,
}

/// The id as the plugin's driver would spell it.
fn spelt(plugin: Plugin, id: &str) -> String {
    match plugin {
        Plugin::GcePd => format!("projects/p/zones/us-central1-a/disks/{id}"),
        Plugin::AzureDisk => {
            format!("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/{id}")
        }
        // Group, account, share, disk, namespace of the Secret.
        Plugin::AzureFile => format!("group#account#{id}#disk#default"),
        Plugin::AwsEbs => format!("vol-{id}"),
        _ => id.to_owned(),
    }
}

/// Our driver's own id.
pub(crate) fn own(plugin: Plugin, id: &str) -> String {
    let own = match plugin {
        Plugin::AzureFile => id.split('#').nth(2).or(Some(id)),
        Plugin::AwsEbs => id.strip_prefix("vol-"),
        _ => id.rsplit('/').next(),
    };
    own.unwrap_or_default().to_owned()
}

/// A request with the driver's own id.
trait Owned {
    fn owned(&mut self, plugin: Plugin);
}

/// A reply with the plugin's id.
trait Spelt {
    fn spelt(&mut self, plugin: Plugin);
}

macro_rules! by_id {
    ($($request:ty),*) => { $( impl Owned for $request {
        fn owned(&mut self, plugin: Plugin) {
            self.volume_id = own(plugin, &self.volume_id);
        }
    } )* };
}
macro_rules! without_id {
    ($of:ident $method:ident: $($message:ty),*) => { $( impl $of for $message {
        fn $method(&mut self, _: Plugin) {}
    } )* };
}

by_id!(
    DeleteVolumeRequest,
    ControllerPublishVolumeRequest,
    ControllerUnpublishVolumeRequest,
    ValidateVolumeCapabilitiesRequest,
    ControllerExpandVolumeRequest,
    ControllerGetVolumeRequest,
    ControllerModifyVolumeRequest
);
without_id!(Owned owned: GetPluginInfoRequest, GetPluginCapabilitiesRequest, ProbeRequest, CreateVolumeRequest,
    ListVolumesRequest, GetCapacityRequest, ControllerGetCapabilitiesRequest);
without_id!(Spelt spelt: GetPluginInfoResponse, GetPluginCapabilitiesResponse, ProbeResponse, DeleteVolumeResponse,
    ControllerPublishVolumeResponse, ControllerUnpublishVolumeResponse, ValidateVolumeCapabilitiesResponse,
    GetCapacityResponse, ControllerGetCapabilitiesResponse, ControllerExpandVolumeResponse, ControllerGetVolumeResponse,
    ControllerModifyVolumeResponse);

impl Spelt for CreateVolumeResponse {
    fn spelt(&mut self, plugin: Plugin) {
        let Some(volume) = &mut self.volume else { return };
        if plugin == Plugin::Vsphere {
            let path = ("initialvolumefilepath".to_owned(), volume.volume_id.clone());
            volume.volume_context.extend([path]);
        }
        volume.volume_id = spelt(plugin, &volume.volume_id);
    }
}

impl Spelt for ListVolumesResponse {
    fn spelt(&mut self, plugin: Plugin) {
        for volume in self.entries.iter_mut().filter_map(|entry| entry.volume.as_mut()) {
            volume.volume_id = spelt(plugin, &volume.volume_id);
        }
    }
}

impl Ids {
    async fn pass<R>(&self, request: Request<R>) -> Result<Response<R::Reply>, Status>
    where
        R: Rpc + Owned + std::fmt::Debug,
        R::Reply: Spelt,
    {
        let mut request = request.into_inner();
        let method = R::METHOD.rsplit('/').next().unwrap_or_default();
        if !READING.iter().any(|word| method.starts_with(word) || method.starts_with("ControllerGet")) {
            self.asked.lock().expect("a lock").push(format!("{method} {request:?}"));
        }
        request.owned(self.plugin);
        let mut reply = self.driver.call(request, LIMIT).await?;
        reply.spelt(self.plugin);
        Ok(Response::new(reply))
    }
}

impl Identity for Ids {
    methods! {
        pass;
        get_plugin_info: GetPluginInfoRequest => GetPluginInfoResponse,
        get_plugin_capabilities: GetPluginCapabilitiesRequest => GetPluginCapabilitiesResponse,
        probe: ProbeRequest => ProbeResponse;
    }
}

impl Controller for Ids {
    methods! {
        pass;
        create_volume: CreateVolumeRequest => CreateVolumeResponse,
        delete_volume: DeleteVolumeRequest => DeleteVolumeResponse,
        controller_publish_volume: ControllerPublishVolumeRequest => ControllerPublishVolumeResponse,
        controller_unpublish_volume: ControllerUnpublishVolumeRequest => ControllerUnpublishVolumeResponse,
        validate_volume_capabilities: ValidateVolumeCapabilitiesRequest => ValidateVolumeCapabilitiesResponse,
        list_volumes: ListVolumesRequest => ListVolumesResponse,
        get_capacity: GetCapacityRequest => GetCapacityResponse,
        controller_get_capabilities: ControllerGetCapabilitiesRequest => ControllerGetCapabilitiesResponse,
        controller_expand_volume: ControllerExpandVolumeRequest => ControllerExpandVolumeResponse,
        controller_get_volume: ControllerGetVolumeRequest => ControllerGetVolumeResponse,
        controller_modify_volume: ControllerModifyVolumeRequest => ControllerModifyVolumeResponse;
        create_snapshot: CreateSnapshotRequest => CreateSnapshotResponse,
        delete_snapshot: DeleteSnapshotRequest => DeleteSnapshotResponse,
        list_snapshots: ListSnapshotsRequest => ListSnapshotsResponse,
        get_snapshot: GetSnapshotRequest => GetSnapshotResponse,
        controller_list_volume_health: ControllerListVolumeHealthRequest => ControllerListVolumeHealthResponse,
        controller_get_volume_health: ControllerGetVolumeHealthRequest => ControllerGetVolumeHealthResponse,
    }
}

/// Serves at `socket` what the driver at `driver` serves, with the ids of the plugin's driver.
pub(crate) async fn before(driver: &Path, socket: &Path, plugin: Plugin) -> StandIn {
    let endpoint = Endpoint::parse(&driver.to_string_lossy()).expect("an address");
    let connection = Connection::dial(endpoint, DialOptions::default()).await.expect("the driver");
    let ids = Ids {
        driver: Client::new(connection, Metrics::new(), CallLog::default()),
        plugin,
        asked: Asked::default(),
    };
    let asked = ids.asked.clone();
    // That of an earlier stand-in.
    let _ = std::fs::remove_file(socket);
    let incoming = UnixListenerStream::new(UnixListener::bind(socket).expect("a socket"));
    let server = tonic::transport::Server::builder()
        .add_service(IdentityServer::new(ids.clone()))
        .add_service(ControllerServer::new(ids))
        .serve_with_incoming(incoming);
    StandIn { server: tokio::spawn(async move { server.await.expect("served") }), asked }
}

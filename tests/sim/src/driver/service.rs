//! The gRPC edge: connections to the driver, and every method as one call of [`Service::serve`].

use std::pin::Pin;

use csi::Connection;
use csi::v1::controller_server::Controller;
use csi::v1::identity_server::Identity;
use csi::v1::node_server::Node;
use csi::v1::*;
use futures::stream::{self, StreamExt as _};
use tokio::io::DuplexStream;
use tonic::{Request, Response, Status};

use super::Driver;
use super::apply::Apply;
use crate::steps::Life;

/// The driver as one process sees it.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) driver: Driver,
    pub(super) life: Option<Life>,
}

impl Service {
    async fn serve<R: Apply>(&self, request: Request<R>) -> Result<Response<R::Reply>, Status>
    where
        R::Reply: Send,
    {
        if let Some(span) = request.metadata().get("traceparent") {
            let method = R::METHOD.rsplit('/').next().unwrap_or_default();
            let span = span.to_str().unwrap_or_default().to_owned();
            self.driver.state().traceparents.push((method, span));
        }
        self.driver.answer(request.into_inner(), self.life.as_ref()).await.map(Response::new)
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;

/// The methods of a service that [`Apply`] serves, and those that are not there. Written as `async_trait` would expand
/// them, because that macro does not look into this one.
macro_rules! methods {
    ($($method:ident: $request:ty => $reply:ty),* $(,)?; $($absent:ident: $from:ty => $to:ty),* $(,)?) => {
        $(
            fn $method<'a, 'b>(&'a self, request: Request<$request>) -> Answer<'b, $reply>
            where
                'a: 'b,
                Self: 'b,
            {
                Box::pin(self.serve(request))
            }
        )*
        $(
            fn $absent<'a, 'b>(&'a self, _: Request<$from>) -> Answer<'b, $to>
            where
                'a: 'b,
                Self: 'b,
            {
                Box::pin(async {
                    Err(Status::unimplemented(concat!("the scripted driver has no ", stringify!($absent))))
                })
            }
        )*
    };
}

impl Identity for Service {
    methods! {
        get_plugin_info: GetPluginInfoRequest => GetPluginInfoResponse,
        get_plugin_capabilities: GetPluginCapabilitiesRequest => GetPluginCapabilitiesResponse,
        probe: ProbeRequest => ProbeResponse;
    }
}

impl Controller for Service {
    methods! {
        create_volume: CreateVolumeRequest => CreateVolumeResponse,
        delete_volume: DeleteVolumeRequest => DeleteVolumeResponse,
        controller_publish_volume: ControllerPublishVolumeRequest => ControllerPublishVolumeResponse,
        controller_unpublish_volume: ControllerUnpublishVolumeRequest => ControllerUnpublishVolumeResponse,
        validate_volume_capabilities: ValidateVolumeCapabilitiesRequest => ValidateVolumeCapabilitiesResponse,
        list_volumes: ListVolumesRequest => ListVolumesResponse,
        get_capacity: GetCapacityRequest => GetCapacityResponse,
        controller_get_capabilities: ControllerGetCapabilitiesRequest => ControllerGetCapabilitiesResponse,
        create_snapshot: CreateSnapshotRequest => CreateSnapshotResponse,
        delete_snapshot: DeleteSnapshotRequest => DeleteSnapshotResponse,
        list_snapshots: ListSnapshotsRequest => ListSnapshotsResponse,
        get_snapshot: GetSnapshotRequest => GetSnapshotResponse,
        controller_expand_volume: ControllerExpandVolumeRequest => ControllerExpandVolumeResponse,
        controller_get_volume: ControllerGetVolumeRequest => ControllerGetVolumeResponse,
        controller_modify_volume: ControllerModifyVolumeRequest => ControllerModifyVolumeResponse;
        controller_list_volume_health: ControllerListVolumeHealthRequest => ControllerListVolumeHealthResponse,
        controller_get_volume_health: ControllerGetVolumeHealthRequest => ControllerGetVolumeHealthResponse,
    }
}

impl Node for Service {
    methods! {
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

impl Driver {
    /// A connection whose calls are not steps; the process under test gets its own from [`crate::World::connection`].
    /// Must be called in a tokio runtime.
    pub fn connection(&self) -> Connection {
        self.connection_of(None)
    }

    pub(crate) fn connection_of(&self, life: Option<Life>) -> Connection {
        let driver = self.clone();
        Connection::from_connector(move || {
            let (driver, life) = (driver.clone(), life.clone());
            async move { driver.dial(life).await }
        })
    }

    /// One end of a pipe whose other end is served.
    async fn dial(&self, life: Option<Life>) -> std::io::Result<DuplexStream> {
        const BUFFER: usize = 64 * 1024;
        if let Some(life) = &life {
            life.stop_if_dead().await;
        }
        if self.state().stopped {
            return Err(std::io::Error::new(
                std::io::ErrorKind::ConnectionRefused,
                "the driver is not running",
            ));
        }
        let (client, mut near) = tokio::io::duplex(BUFFER);
        let (mut far, server) = tokio::io::duplex(BUFFER);
        let service = Service { driver: self.clone(), life: life.clone() };
        let serving = tonic::transport::Server::builder()
            .add_service(identity_server::IdentityServer::new(service.clone()))
            .add_service(controller_server::ControllerServer::new(service.clone()))
            .add_service(node_server::NodeServer::new(service))
            .serve_with_incoming(stream::iter([Ok::<_, std::io::Error>(server)]).chain(stream::pending()));
        let server = tokio::spawn(serving);
        // The pipe in between is what a restart or the caller's death cuts: both ends then see the end at once.
        let pipe = tokio::spawn(async move {
            let ended = async {
                match &life {
                    Some(life) => life.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                () = ended => {}
            }
            server.abort();
        });
        self.state().pipes.push(pipe.abort_handle());
        Ok(client)
    }
}

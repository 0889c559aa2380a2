//! A driver of CSI 1.12, as far as it tells VolumeConditions.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use csi::{Rpc, v1, v1_12};
use prost::Message;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Serves on this machine until the runtime ends; where.
pub(super) fn start() -> SocketAddr {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = Server::builder().add_service(OldController).add_service(OldNode);
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

fn condition(abnormal: bool, message: &str) -> Option<v1_12::VolumeCondition> {
    Some(v1_12::VolumeCondition { abnormal, message: message.to_owned() })
}

fn volume(id: &str) -> Option<v1::Volume> {
    Some(v1::Volume { volume_id: id.to_owned(), capacity_bytes: 1024, ..Default::default() })
}

/// A good volume and a bad one.
fn list() -> v1_12::ListVolumesResponse {
    use v1_12::list_volumes_response::{Entry, VolumeStatus};
    let entry = |id: &str, abnormal, message: &str| Entry {
        volume: volume(id),
        status: Some(VolumeStatus {
            published_node_ids: vec!["n".to_owned()],
            volume_condition: condition(abnormal, message),
        }),
    };
    v1_12::ListVolumesResponse {
        entries: vec![entry("good", false, "fine"), entry("bad", true, "on fire")],
        next_token: String::new(),
    }
}

fn one() -> v1_12::ControllerGetVolumeResponse {
    use v1_12::controller_get_volume_response::VolumeStatus;
    v1_12::ControllerGetVolumeResponse {
        volume: volume("bad"),
        status: Some(VolumeStatus {
            published_node_ids: vec!["n".to_owned()],
            volume_condition: condition(true, "on fire"),
        }),
    }
}

fn stats() -> v1_12::NodeGetVolumeStatsResponse {
    let usage = v1::VolumeUsage { available: 1, total: 3, used: 2, unit: 1 };
    v1_12::NodeGetVolumeStatsResponse { usage: vec![usage], volume_condition: condition(true, "on fire") }
}

fn controller_capabilities() -> v1::ControllerGetCapabilitiesResponse {
    use v1::controller_service_capability::{Rpc, Type};
    // LIST_VOLUMES, VOLUME_CONDITION, one that nobody knows.
    let kinds = [3, 11, 99].map(|kind| Some(Type::Rpc(Rpc { r#type: kind })));
    v1::ControllerGetCapabilitiesResponse {
        capabilities: kinds.map(|r#type| v1::ControllerServiceCapability { r#type }).into(),
    }
}

fn node_capabilities() -> v1::NodeGetCapabilitiesResponse {
    use v1::node_service_capability::{Rpc, Type};
    // GET_VOLUME_STATS, VOLUME_CONDITION.
    let kinds = [2, 4].map(|kind| Some(Type::Rpc(Rpc { r#type: kind })));
    v1::NodeGetCapabilitiesResponse {
        capabilities: kinds.map(|r#type| v1::NodeServiceCapability { r#type }).into(),
    }
}

type Answer = BoxFuture<http::Response<Body>, Infallible>;

/// Answers every call with the same message.
struct Always<A>(A);

impl<Q, A: Clone> UnaryService<Q> for Always<A> {
    type Response = A;
    type Future = Ready<Result<Response<A>, Status>>;

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        ready(Ok(Response::new(self.0.clone())))
    }
}

fn answer<Q: Rpc, A: Message + Clone + 'static>(request: http::Request<Body>, reply: A) -> Answer {
    Box::pin(async move {
        let mut grpc = Grpc::new(ProstCodec::<A, Q>::default());
        Ok(grpc.unary(Always(reply), request).await)
    })
}

fn unknown() -> Answer {
    Box::pin(ready(Ok(Status::unimplemented("CSI 1.12 has no such call").into_http())))
}

macro_rules! service {
    ($name:ident, $path:literal, { $( $request:ident => $reply:expr ),* $(,)? }) => {
        #[derive(Clone)]
        struct $name;

        impl NamedService for $name {
            const NAME: &'static str = $path;
        }

        impl Service<http::Request<Body>> for $name {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = Answer;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Answer {
                match request.uri().path() {
                    $( path if path == v1::$request::METHOD => answer::<v1::$request, _>(request, $reply), )*
                    _ => unknown(),
                }
            }
        }
    };
}

service!(OldController, "csi.v1.Controller", {
    ListVolumesRequest => list(),
    ControllerGetVolumeRequest => one(),
    ControllerGetCapabilitiesRequest => controller_capabilities(),
});

service!(OldNode, "csi.v1.Node", {
    NodeGetVolumeStatsRequest => stats(),
    NodeGetCapabilitiesRequest => node_capabilities(),
});

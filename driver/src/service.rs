//! The gRPC services: each RPC is logged, run off the async threads, and answered.
//!
//! Log lines are the Go driver's: the method at level 3 (Probe at 5); the request at 5, before the call, so that it is
//! there when the call hangs; the answer at 5; and at 5 also one line whose text is `gRPCCall:` and a JSON object, which
//! the Kubernetes end-to-end tests read. Errors are always logged.
//!
//! Differs: no line has credentials. The Go driver's `gRPCCall:` lines have them; ours have the keys of the secrets, for
//! the tests want a map there.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base::log::Site;
use csi::v1::controller_server::Controller;
use csi::v1::group_controller_server::GroupController;
use csi::v1::identity_server::Identity;
use csi::v1::node_server::Node;
use csi::v1::snapshot_metadata_server::SnapshotMetadata;
use csi::{Redact, Rpc, StreamRpc, code_name, grpc_text, redacted, redacted_by_key, v1};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::metadata::{Runs, Walk};
use crate::operations::Operations;
use crate::plugin::Plugin;
use crate::refusal::Refusal;

/// How long a caller may leave a message of a stream untaken. One that stopped reading must not hold the stream's place
/// for ever.
const STALL: Duration = Duration::from_secs(60);
/// Messages of a stream that wait to be taken.
const AHEAD: usize = 4;
/// The level of requests and answers.
const LEVEL: i32 = 5;

/// The driver as a gRPC server sees it.
#[derive(Debug)]
pub struct Service<D>(pub Arc<D>);

impl<D> Clone for Service<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Runs an operation on a thread that may block, and logs both ends.
async fn answer<D: Operations, R: Rpc>(
    service: &Service<D>,
    request: Request<R>,
    operation: impl FnOnce(&D, R) -> Result<R::Reply, Refusal> + Send + 'static,
) -> Result<Response<R::Reply>, Status> {
    let driver = Arc::clone(&service.0);
    logged(request.into_inner(), async |request| {
        match tokio::task::spawn_blocking(move || operation(&driver, request)).await {
            Ok(outcome) => outcome.map_err(Status::from),
            Err(error) => Err(panicked(&error)),
        }
    })
    .await
}

/// Answers at once, and logs both ends: for operations that never block. They need no thread, so that a
/// liveness probe is answered while all threads are busy.
async fn answer_at_once<D: Operations, R: Rpc>(
    service: &Service<D>,
    request: Request<R>,
    operation: impl FnOnce(&D) -> R::Reply,
) -> Result<Response<R::Reply>, Status> {
    logged(request.into_inner(), async |_| Ok(operation(&service.0))).await
}

async fn logged<R: Rpc>(
    request: R,
    operation: impl AsyncFnOnce(R) -> Result<R::Reply, Status>,
) -> Result<Response<R::Reply>, Status> {
    let asked = note_call(R::METHOD, &request);
    let outcome = operation(request).await;
    if let Some(asked) = asked {
        note_answer(R::METHOD, &asked, &outcome);
    }
    if let Err(status) = &outcome {
        base::error!(grpc_text(status), "GRPC error"; "method" => R::METHOD);
    }
    outcome.map(Response::new)
}

/// An operation that panicked may have done anything: a final code would make the caller forget it.
fn panicked(error: &tokio::task::JoinError) -> Status {
    Status::unavailable(format!("the driver failed half-way, try again: {error}"))
}

/// Logs a call that begins; gives back the request for the line at its end, if that line is wanted.
fn note_call(method: &'static str, request: &impl Redact) -> Option<String> {
    if method.ends_with("/Probe") {
        base::v!(5, "GRPC call"; "method" => method);
    } else {
        base::v!(3, "GRPC call"; "method" => method);
    }
    let is_wanted = base::log::enabled(LEVEL, file!());
    is_wanted.then(|| {
        base::v!(LEVEL, "GRPC request"; "method" => method, "request" => redacted(request));
        redacted_by_key(request)
    })
}

fn note_answer(method: &str, asked: &str, outcome: &Result<impl Redact, Status>) {
    let reply = outcome.as_ref().map_or_else(|_| "null".to_owned(), redacted);
    base::v!(LEVEL, "GRPC response"; "method" => method, "response" => reply);
    let site = Site { file: file!(), line: line!(), v: LEVEL };
    base::log::write_plain(site, &call_line(method, asked, &reply, outcome.as_ref().err()));
}

/// The line about a whole call. Request and reply are JSON already.
fn call_line(method: &str, asked: &str, reply: &str, status: Option<&Status>) -> String {
    let error = status.map(grpc_text).unwrap_or_default();
    let full =
        status.map(|status| serde_json::json!({"code": status.code() as i32, "message": status.message()}));
    let (method, error) = (serde_json::Value::from(method), serde_json::Value::from(error));
    let full = serde_json::Value::from(full);
    format!(
        "gRPCCall: {{\"Method\":{method},\"Request\":{asked},\"Response\":{reply},\"Error\":{error},\"FullError\":{full}}}"
    )
}

/// Declares a service whose RPCs are operations of the driver: `=` on a thread that may block, `=>` at once.
macro_rules! rpcs {
    ($trait:ident { $( $name:ident ( $request:ident ) -> $reply:ident $how:tt; )* }) => {
        #[tonic::async_trait]
        impl<D: Operations> $trait for Service<D> {
            $(
                async fn $name(&self, request: Request<v1::$request>) -> Result<Response<v1::$reply>, Status> {
                    rpcs!(@call $how)(self, request, D::$name).await
                }
            )*
        }
    };
    (@call =) => { answer };
    (@call =>) => { answer_at_once };
}

rpcs! { Identity {
    get_plugin_info(GetPluginInfoRequest) -> GetPluginInfoResponse =>;
    get_plugin_capabilities(GetPluginCapabilitiesRequest) -> GetPluginCapabilitiesResponse =>;
    probe(ProbeRequest) -> ProbeResponse =>;
} }

rpcs! { Controller {
    create_volume(CreateVolumeRequest) -> CreateVolumeResponse =;
    delete_volume(DeleteVolumeRequest) -> DeleteVolumeResponse =;
    controller_publish_volume(ControllerPublishVolumeRequest) -> ControllerPublishVolumeResponse =;
    controller_unpublish_volume(ControllerUnpublishVolumeRequest) -> ControllerUnpublishVolumeResponse =;
    validate_volume_capabilities(ValidateVolumeCapabilitiesRequest) -> ValidateVolumeCapabilitiesResponse =;
    list_volumes(ListVolumesRequest) -> ListVolumesResponse =;
    controller_list_volume_health(ControllerListVolumeHealthRequest) -> ControllerListVolumeHealthResponse =;
    controller_get_volume_health(ControllerGetVolumeHealthRequest) -> ControllerGetVolumeHealthResponse =;
    get_capacity(GetCapacityRequest) -> GetCapacityResponse =;
    controller_get_capabilities(ControllerGetCapabilitiesRequest) -> ControllerGetCapabilitiesResponse =>;
    create_snapshot(CreateSnapshotRequest) -> CreateSnapshotResponse =;
    delete_snapshot(DeleteSnapshotRequest) -> DeleteSnapshotResponse =;
    list_snapshots(ListSnapshotsRequest) -> ListSnapshotsResponse =;
    get_snapshot(GetSnapshotRequest) -> GetSnapshotResponse =;
    controller_expand_volume(ControllerExpandVolumeRequest) -> ControllerExpandVolumeResponse =;
    controller_get_volume(ControllerGetVolumeRequest) -> ControllerGetVolumeResponse =;
    controller_modify_volume(ControllerModifyVolumeRequest) -> ControllerModifyVolumeResponse =;
} }

rpcs! { GroupController {
    group_controller_get_capabilities(GroupControllerGetCapabilitiesRequest)
        -> GroupControllerGetCapabilitiesResponse =>;
    create_volume_group_snapshot(CreateVolumeGroupSnapshotRequest) -> CreateVolumeGroupSnapshotResponse =;
    delete_volume_group_snapshot(DeleteVolumeGroupSnapshotRequest) -> DeleteVolumeGroupSnapshotResponse =;
    get_volume_group_snapshot(GetVolumeGroupSnapshotRequest) -> GetVolumeGroupSnapshotResponse =;
} }

rpcs! { Node {
    node_stage_volume(NodeStageVolumeRequest) -> NodeStageVolumeResponse =;
    node_unstage_volume(NodeUnstageVolumeRequest) -> NodeUnstageVolumeResponse =;
    node_publish_volume(NodePublishVolumeRequest) -> NodePublishVolumeResponse =;
    node_unpublish_volume(NodeUnpublishVolumeRequest) -> NodeUnpublishVolumeResponse =;
    node_get_volume_stats(NodeGetVolumeStatsRequest) -> NodeGetVolumeStatsResponse =;
    node_get_volume_health(NodeGetVolumeHealthRequest) -> NodeGetVolumeHealthResponse =;
    node_get_storage_health(NodeGetStorageHealthRequest) -> NodeGetStorageHealthResponse =;
    node_expand_volume(NodeExpandVolumeRequest) -> NodeExpandVolumeResponse =;
    node_get_capabilities(NodeGetCapabilitiesRequest) -> NodeGetCapabilitiesResponse =>;
    node_get_info(NodeGetInfoRequest) -> NodeGetInfoResponse =>;
} }

/// Messages of one stream.
type Stream<M> = Pin<Box<ReceiverStream<Result<M, Status>>>>;

#[tonic::async_trait]
impl SnapshotMetadata for Service<Plugin> {
    type GetMetadataAllocatedStream = Stream<v1::GetMetadataAllocatedResponse>;
    type GetMetadataDeltaStream = Stream<v1::GetMetadataDeltaResponse>;

    async fn get_metadata_allocated(
        &self,
        request: Request<v1::GetMetadataAllocatedRequest>,
    ) -> Result<Response<Self::GetMetadataAllocatedStream>, Status> {
        let message = |runs: Runs| v1::GetMetadataAllocatedResponse {
            block_metadata_type: runs.kind as i32,
            volume_capacity_bytes: runs.capacity,
            block_metadata: runs.runs,
        };
        stream(self, request, Plugin::allocated, message).await
    }

    async fn get_metadata_delta(
        &self,
        request: Request<v1::GetMetadataDeltaRequest>,
    ) -> Result<Response<Self::GetMetadataDeltaStream>, Status> {
        let message = |runs: Runs| v1::GetMetadataDeltaResponse {
            block_metadata_type: runs.kind as i32,
            volume_capacity_bytes: runs.capacity,
            block_metadata: runs.runs,
        };
        stream(self, request, Plugin::delta, message).await
    }
}

/// Checks first, so that a refusal is the call's answer; then reads on a thread of its own as fast as the
/// caller takes the messages.
async fn stream<R: StreamRpc>(
    service: &Service<Plugin>,
    request: Request<R>,
    check: impl FnOnce(&Plugin, &R) -> Result<Walk, Refusal> + Send + 'static,
    message: impl Fn(Runs) -> R::Reply + Send + 'static,
) -> Result<Response<Stream<R::Reply>>, Status>
where
    R::Reply: Send,
{
    let request = request.into_inner();
    note_call(R::METHOD, &request);
    let plugin = Arc::clone(&service.0);
    let walk = tokio::task::spawn_blocking(move || check(&plugin, &request))
        .await
        .map_err(|error| panicked(&error))?;
    let walk = walk.map_err(Status::from).inspect_err(|status| {
        base::error!(grpc_text(status), "GRPC error"; "method" => R::METHOD);
    })?;
    let (sender, receiver) = mpsc::channel(AHEAD + 1);
    // The place of an error, when all others are taken: else a stream that was cut off would look whole.
    let last = sender.clone().reserve_owned().await.map_err(|error| Status::internal(error.to_string()))?;
    tokio::task::spawn_blocking(move || {
        if let Err(status) = hand_on(&walk, &sender, message, STALL) {
            let code = code_name(status.code());
            base::error!(grpc_text(&status), "GRPC error"; "method" => R::METHOD, "code" => code);
            last.send(Err(status));
        }
    });
    Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
}

/// Sends what a walk finds, until its end or until the caller leaves. A caller that takes nothing for as long as `stall`
/// is refused. It may block.
pub(crate) fn hand_on<M>(
    walk: &Walk,
    sender: &mpsc::Sender<Result<M, Status>>,
    message: impl Fn(Runs) -> M,
    stall: Duration,
) -> Result<(), Status> {
    let runtime = Handle::current();
    let mut is_stalled = false;
    let read = walk.run(|runs| {
        let sent = runtime.block_on(sender.send_timeout(Ok(message(runs)), stall));
        is_stalled = matches!(sent, Err(SendTimeoutError::Timeout(_)));
        sent.is_ok()
    });
    if is_stalled {
        return Err(Status::unavailable(format!(
            "nobody took a message for {stall:?}: ask again from there"
        )));
    }
    read.map_err(|error| Status::internal(format!("cannot read the snapshot: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_about_a_call_is_json_with_a_map_of_stripped_secrets() {
        let secrets = [("token".to_owned(), "hush".to_owned())].into();
        let request = v1::DeleteVolumeRequest { volume_id: "v\n\"".to_owned(), secrets };
        let asked = redacted_by_key(&request);
        let parse = |line: &str| -> serde_json::Value {
            assert!(!line.contains("hush") && !line.contains('\n'), "{line}");
            serde_json::from_str(line.strip_prefix("gRPCCall: ").unwrap()).unwrap()
        };
        let good = parse(&call_line("/csi.v1.Controller/DeleteVolume", &asked, "{}", None));
        let request = serde_json::json!({"volume_id": "v\n\"", "secrets": {"token": "***stripped***"}});
        let expected = serde_json::json!({
            "Method": "/csi.v1.Controller/DeleteVolume",
            "Request": request,
            "Response": {},
            "Error": "",
            "FullError": null,
        });
        assert_eq!(good, expected);
        let status = Status::not_found("no \"v\"");
        let bad = parse(&call_line("/csi.v1.Controller/DeleteVolume", &asked, "null", Some(&status)));
        assert_eq!(bad["FullError"], serde_json::json!({"code": 5, "message": "no \"v\""}));
        assert_eq!(bad["Error"], r#"rpc error: code = NotFound desc = no "v""#);
        assert!(bad["Response"].is_null());
    }
}

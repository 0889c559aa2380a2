//! Between tonic and the connection: transport errors become the statuses that grpc-go gives, and what the driver
//! itself answered is told from what was made up here.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::HeaderMap;
use http::uri::Uri;
use hyper::body::{Body, Frame, Incoming};
use tonic::{Code, Status};

use super::connection::Sender;

/// The largest reply accepted, in bytes: grpc-go's default.
const MAX_REPLY: usize = 4 * 1024 * 1024;

/// Whether the driver has refused a call: whether a code other than OK came from it. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusal(Arc<AtomicBool>);

impl Refusal {
    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn look_for(&self, headers: &HeaderMap) {
        if headers.get("grpc-status").is_some_and(|code| code != "0") {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// A gRPC client for one call, which notes in `refusal` whether the driver refused it.
pub(super) fn client(sender: Sender, refusal: Refusal) -> tonic::client::Grpc<Wire> {
    // grpc-go puts `localhost` there for Unix sockets.
    client_of(Uri::from_static("http://localhost"), sender, refusal)
}

/// The same for a server of this scheme, host and port.
pub(super) fn client_of(origin: Uri, sender: Sender, refusal: Refusal) -> tonic::client::Grpc<Wire> {
    tonic::client::Grpc::with_origin(Wire { sender, refusal }, origin).max_decoding_message_size(MAX_REPLY)
}

/// Adapts the connection to tonic, and its errors to those of grpc-go.
pub(super) struct Wire {
    sender: Sender,
    refusal: Refusal,
}

impl tower::Service<http::Request<tonic::body::Body>> for Wire {
    type Response = http::Response<Reply>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.sender.poll_ready(cx).map_err(lost)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let (reply, refusal) = (self.sender.send_request(request), self.refusal.clone());
        Box::pin(async move {
            let reply = reply.await.map_err(lost)?;
            // A reply without a message has its code here.
            refusal.look_for(reply.headers());
            Ok(reply.map(|body| Reply { body, refusal }))
        })
    }
}

/// The body of a reply.
#[derive(Debug)]
pub(super) struct Reply {
    body: Incoming,
    refusal: Refusal,
}

impl Body for Reply {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.refusal.look_for(trailers);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(lost)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Maps a transport error to a status. A stream that was reset gets the code of the reset's reason. Any other
/// error means that the connection went away or that the request was never sent.
///
/// tonic's own mapping does not fit. When a stream ends with its connection, it uses the connection's HTTP/2
/// error, so a driver that stops gracefully (GOAWAY) would seem to answer INTERNAL. That code is final, and
/// we would forget a volume that an earlier call may be making.
fn lost(error: hyper::Error) -> Status {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(this) = cause {
        let reset = this.downcast_ref::<h2::Error>().filter(|error| error.is_reset());
        if let Some(reason) = reset.and_then(h2::Error::reason) {
            let text = format!("stream terminated by RST_STREAM with error code: {reason:?}");
            return Status::new(reset_code(reason), text);
        }
        cause = this.source();
    }
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Status::unavailable(format!("error reading from server: {error}{cause}"))
}

/// The code of a reset stream: grpc-go's `http2ErrConvTab`.
fn reset_code(reason: h2::Reason) -> Code {
    match reason {
        h2::Reason::REFUSED_STREAM => Code::Unavailable,
        h2::Reason::CANCEL => Code::Cancelled,
        h2::Reason::FLOW_CONTROL_ERROR | h2::Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        h2::Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

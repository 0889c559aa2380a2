//! Calls a driver, with a deadline, metrics and redacted logs.
//!
//! What [`Client::call`] sees when things go wrong is what grpc-go reports, so that error classes and
//! metrics agree with the Go sidecars: a lost or refused connection is UNAVAILABLE, a passed deadline
//! DEADLINE_EXCEEDED, an oversized reply RESOURCE_EXHAUSTED. What the driver itself did not answer is marked, so that
//! no such code counts as final: see [`was_answered`](super::was_answered).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::time::{Instant, timeout};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::checked::Checked;
use super::code::{not_answered, not_sent};
use super::connection::{Connection, Sender};
use super::redact::secret_values;
use super::span;
use super::told_secret::without;
use super::wire::{Refusal, client};
use super::{Redact, Rpc, StreamRpc, code_name};
use base::leadership::Leadership;
use base::metrics::Metrics;
use base::trace::Open;

/// What tonic says when a reply is larger than that.
const TOO_LARGE: &str = "Error, decoded message length too large";

/// How calls are logged at level 5.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallLog {
    /// Cut requests and replies to this many bytes in the log; `None` logs them whole.
    pub max_length: Option<usize>,
}

/// One call under way.
struct Attempt {
    deadline: Duration,
    sent: AtomicBool,
    span: Option<Open>,
}

/// A CSI driver, as sidecars call it. Clones share the connection.
#[derive(Clone)]
pub struct Client {
    connection: Connection,
    metrics: Arc<Metrics>,
    log: CallLog,
    leadership: Leadership,
    /// Which connection may be used; any if there is none.
    checked: Option<Checked>,
}

impl Client {
    /// A driver behind `connection`; every call is counted in `metrics`.
    pub fn new(connection: Connection, metrics: Arc<Metrics>, log: CallLog) -> Self {
        Self { connection, metrics, log, leadership: Leadership::always(), checked: None }
    }

    /// The same driver, called only while `leadership` holds: past the lease's deadline nothing is sent
    /// and calls end with UNAVAILABLE.
    pub fn guarded(self, leadership: Leadership) -> Self {
        Self { leadership, ..self }
    }

    /// The same driver, called only over a connection that `checked` lets pass: after a reconnect calls wait until the
    /// driver has been checked.
    pub fn after_check(self, checked: Checked) -> Self {
        Self { checked: Some(checked), ..self }
    }

    /// The connection that calls go through.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Calls the RPC that belongs to the request and waits at most `deadline` (also sent along as
    /// `grpc-timeout`, so that the driver may stop as well).
    ///
    /// # Errors
    /// The driver's status; DEADLINE_EXCEEDED after `deadline`; UNAVAILABLE when the driver cannot be
    /// reached or hangs up; RESOURCE_EXHAUSTED for a reply above 4 MiB.
    pub async fn call<R: Rpc>(&self, request: R, deadline: Duration) -> Result<R::Reply, Status> {
        self.observed(request, deadline, None).await
    }

    /// As [`Self::call`], for drivers that serve volumes of a former in-tree plugin: the metric
    /// carries whether this call is for such a volume.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_migrated<R: Rpc>(
        &self,
        request: R,
        deadline: Duration,
        migrated: bool,
    ) -> Result<R::Reply, Status> {
        self.observed(request, deadline, Some(migrated)).await
    }

    /// Calls an RPC that answers with a stream. `deadline` bounds the wait for its first sign of
    /// life, not the stream.
    ///
    /// # Errors
    /// As [`Self::call`]; later errors come out of the stream.
    pub async fn stream<R: StreamRpc>(
        &self,
        request: R,
        deadline: Duration,
    ) -> Result<Streaming<R::Reply>, Status> {
        base::v!(5, "GRPC call"; "method" => R::METHOD, "request" => self.text(&request));
        let open = async {
            let mut client = client(self.sender().await?, Refusal::default());
            client.ready().await?;
            let path = PathAndQuery::from_static(R::METHOD);
            let codec = ProstCodec::<R, R::Reply>::default();
            let reply = client.server_streaming(Request::new(request), path, codec).await?;
            Ok(reply.into_inner())
        };
        timeout(deadline, open).await.unwrap_or_else(|_| Err(deadline_exceeded()))
    }

    async fn observed<R: Rpc>(
        &self,
        request: R,
        deadline: Duration,
        migrated: Option<bool>,
    ) -> Result<R::Reply, Status> {
        self.check_leading()?;
        base::v!(5, "GRPC call"; "method" => R::METHOD, "request" => self.text(&request));
        let started = Instant::now();
        let attempt = Attempt { deadline, sent: AtomicBool::new(false), span: span::begin(R::METHOD) };
        let secrets = secret_values(&request);
        let outcome = timeout(deadline, self.unary(request, &attempt)).await;
        let elapsed = started.elapsed();
        let outcome = match outcome {
            Err(_) if !attempt.sent.load(Ordering::Relaxed) => {
                Err(not_sent(format!("no connection to the CSI driver within {deadline:?}")))
            }
            Err(_) => Err(deadline_exceeded()),
            // The driver cancelled because our deadline, sent along, passed there first.
            Ok(Err(status)) if status.code() == Code::Cancelled && elapsed >= deadline => {
                Err(deadline_exceeded())
            }
            Ok(outcome) => outcome.map_err(|status| without(&secrets, status)),
        };
        let code = outcome.as_ref().map_or_else(Status::code, |_| Code::Ok);
        span::end(attempt.span, &outcome);
        self.metrics.observe_call(R::METHOD, code_name(code), elapsed.as_secs_f64(), migrated);
        match &outcome {
            Ok(reply) => {
                base::v!(5, "GRPC response"; "method" => R::METHOD, "response" => self.text(reply));
            }
            Err(status) => {
                base::v!(5, "GRPC response"; "method" => R::METHOD, "err" => super::grpc_text(status));
            }
        }
        outcome
    }

    fn check_leading(&self) -> Result<(), Status> {
        if self.leadership.holds() {
            return Ok(());
        }
        Err(not_sent("not leading: nothing was sent to the driver"))
    }

    async fn unary<R: Rpc>(&self, request: R, attempt: &Attempt) -> Result<R::Reply, Status> {
        let refusal = Refusal::default();
        let mut client = client(self.sender().await?, refusal.clone());
        client.ready().await.map_err(|status| not_sent(status.message()))?;
        // The wait for a connection may have outlasted the lease.
        self.check_leading()?;
        let mut request = Request::new(request);
        request.set_timeout(attempt.deadline);
        span::tell(attempt.span.as_ref(), request.metadata_mut());
        let path = PathAndQuery::from_static(R::METHOD);
        let codec = ProstCodec::<R, R::Reply>::default();
        attempt.sent.store(true, Ordering::Relaxed);
        match client.unary(request, path, codec).await {
            Ok(reply) => Ok(reply.into_inner()),
            Err(status) if refusal.came() => Err(status),
            Err(status) => Err(not_answered(as_grpc_go(status))),
        }
    }

    /// The sender of a connection that may be used.
    async fn sender(&self) -> Result<Sender, Status> {
        // The cause of a dial that fails is told at once.
        let sender = self.connection.sender().await?;
        let Some(checked) = &self.checked else { return Ok(sender) };
        checked.current(&self.connection).await;
        self.connection.sender().await
    }

    fn text<'a, M: Redact>(&self, message: &'a M) -> Text<'a, M> {
        Text { message, max_length: self.log.max_length }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connection", &self.connection).finish_non_exhaustive()
    }
}

fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("context deadline exceeded")
}

/// tonic calls an oversized reply OUT_OF_RANGE; in CSI that would mean a bad size.
fn as_grpc_go(status: Status) -> Status {
    if status.code() == Code::OutOfRange && status.message().starts_with(TOO_LARGE) {
        return Status::resource_exhausted(status.message());
    }
    status
}

/// A message for the log, formatted only when a line is really written.
struct Text<'a, M> {
    message: &'a M,
    max_length: Option<usize>,
}

impl<M: Redact> fmt::Display for Text<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = super::redacted(self.message);
        match self.max_length {
            Some(limit) if text.len() > limit => {
                let cut = text.floor_char_boundary(limit);
                let kept = text.get(..cut).unwrap_or_default();
                write!(f, "{kept}... ({} of {} bytes shown)", cut, text.len())
            }
            _ => f.write_str(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    #[test]
    fn long_messages_are_cut_with_a_note_at_a_character_boundary() {
        let message = v1::DeleteVolumeRequest { volume_id: "ä".repeat(20), ..Default::default() };
        let whole = Text { message: &message, max_length: None }.to_string();
        assert_eq!(whole, format!("{{\"volume_id\":\"{}\"}}", "ä".repeat(20)));
        let cut = Text { message: &message, max_length: Some(17) }.to_string();
        assert_eq!(cut, "{\"volume_id\":\"ä... (16 of 56 bytes shown)");
        let fits = Text { message: &message, max_length: Some(whole.len()) }.to_string();
        assert_eq!(fits, whole);
    }

    #[test]
    fn an_oversized_reply_is_not_a_bad_size() {
        let status = as_grpc_go(Status::out_of_range(format!("{TOO_LARGE}: found 5")));
        assert_eq!(status.code(), Code::ResourceExhausted);
        let status = as_grpc_go(Status::out_of_range("volume too small"));
        assert_eq!(status.code(), Code::OutOfRange);
    }
}

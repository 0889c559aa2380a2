//! The task that sends spans.

use std::time::Duration;

use base::trace::{Span, Spans};
use csi::otlp::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use csi::{Connection, LinkState};
use http::Uri;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::encode::request;
use super::settings::Settings;

const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Most spans of one request, as in OpenTelemetry's batch processor.
const BATCH: usize = 512;
/// How long a span waits for others, as there.
const GATHERING: Duration = Duration::from_secs(5);
/// How long the collector may take, as in OpenTelemetry's exporters.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after the first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long spans are tried before they are given up: a collector that takes others may never take these, because they are too many.
const LONGEST: Duration = Duration::from_secs(300);

/// The task that sends the spans of a process. Dropping it lets the task go on.
pub struct Exporter {
    finish: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Sends spans by these settings. Nothing is dialled before there is a span.
    pub fn start(settings: Settings, spans: Spans) -> Self {
        let collector = settings.collector;
        let origin = origin(&collector);
        let connect = move || {
            let collector = collector.clone();
            Connection::from_connector(move || TcpStream::connect(collector.clone()))
        };
        Self::over(Box::new(connect), origin, settings.resource, spans)
    }

    /// Sends spans to `origin` over connections that `connect` makes: each is kept until it ends or a request fails.
    pub fn over(
        connect: Box<dyn Fn() -> Connection + Send + Sync>,
        origin: Uri,
        resource: Vec<(String, String)>,
        spans: Spans,
    ) -> Self {
        let finish = CancellationToken::new();
        let link = Link { connect, origin, resource, connection: None };
        let task = tokio::spawn(send_all(spans, link, finish.clone()));
        Self { finish, task }
    }

    /// Sends what is left, once, for as long as `limit`. What ends after this is not sent.
    pub async fn finish(self, limit: Duration) {
        self.finish.cancel();
        if timeout(limit, self.task).await.is_err() {
            base::warn!("Exiting before all spans were sent");
        }
    }
}

/// Scheme, host and port of a collector.
fn origin((host, port): &(String, u16)) -> Uri {
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.clone() };
    format!("http://{host}:{port}").parse().unwrap_or_else(|_| Uri::from_static("http://localhost"))
}

/// The way to the collector.
struct Link {
    connect: Box<dyn Fn() -> Connection + Send + Sync>,
    origin: Uri,
    resource: Vec<(String, String)>,
    /// Kept while it is up.
    connection: Option<Connection>,
}

async fn send_all(mut spans: Spans, mut link: Link, finish: CancellationToken) {
    let mut is_away = false;
    loop {
        let batch = gather(&mut spans, &mut link, &finish).await;
        if batch.is_empty() {
            return;
        }
        let (count, request) = (batch.len(), request(&link.resource, batch));
        let mut pause = FIRST_PAUSE;
        let given_up = Instant::now() + LONGEST;
        loop {
            let status = match link.send(request.clone()).await {
                Err(status) => status,
                Ok((refused, why)) => {
                    if refused > 0 {
                        spans.count_dropped(refused, &why);
                    }
                    if std::mem::take(&mut is_away) {
                        base::info!("Spans are sent again");
                    }
                    break;
                }
            };
            if !may_succeed(status.code()) || finish.is_cancelled() || Instant::now() >= given_up {
                spans.count_dropped(count, &csi::grpc_text(&status));
                break;
            }
            if !std::mem::replace(&mut is_away, true) {
                base::warn!("Cannot send spans; will retry"; "err" => csi::grpc_text(&status));
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = finish.cancelled() => {}
            }
        }
    }
}

/// The next spans to send together; none if the process ends and none are left.
async fn gather(spans: &mut Spans, link: &mut Link, finish: &CancellationToken) -> Vec<Span> {
    let mut batch = Vec::new();
    let first = loop {
        tokio::select! {
            biased;
            first = spans.ended.recv() => break first,
            () = finish.cancelled() => break spans.ended.try_recv().ok(),
            // A connection dials for as long as it is kept. Without spans it need not.
            () = link.lost() => link.connection = None,
        }
    };
    batch.extend(first);
    let until = Instant::now() + GATHERING;
    while !batch.is_empty() && batch.len() < BATCH {
        let next = tokio::select! {
            biased;
            next = timeout_at(until, spans.ended.recv()) => next.ok().flatten(),
            () = finish.cancelled() => spans.ended.try_recv().ok(),
        };
        match next {
            Some(span) => batch.push(span),
            None => break,
        }
    }
    batch
}

impl Link {
    /// Sends a request. Gives how many spans the collector refuses, and why.
    async fn send(&mut self, request: ExportTraceServiceRequest) -> Result<(usize, String), Status> {
        let connection = self.connection.get_or_insert_with(&self.connect);
        let reply =
            connection.unary::<_, ExportTraceServiceResponse>(&self.origin, METHOD, request, PATIENCE).await;
        if reply.is_err() {
            self.connection = None;
        }
        let refused = reply?.partial_success.unwrap_or_default();
        Ok((usize::try_from(refused.rejected_spans).unwrap_or(0), refused.error_message))
    }

    /// Resolves when the connection ends; never without one.
    async fn lost(&self) {
        let Some(connection) = &self.connection else { return std::future::pending().await };
        let _ = connection.state().wait_for(|state| *state == LinkState::Down).await;
    }
}

/// Whether the same request may succeed later, as the protocol says.
fn may_succeed(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
    )
}

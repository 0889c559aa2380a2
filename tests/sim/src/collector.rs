//! A collector of OpenTelemetry, as [`process::Exporter`] sees it.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csi::Connection;
use csi::otlp::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use csi::otlp::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use csi::otlp::common::v1::KeyValue;
use csi::otlp::common::v1::any_value::Value;
use csi::otlp::trace::v1::Span;
use futures::stream::{self, StreamExt as _};
use tonic::{Request, Response, Status};

/// A span that came.
#[derive(Debug, Clone)]
pub struct Received {
    /// The span.
    pub span: Span,
    /// Its attributes, each as text.
    pub attributes: BTreeMap<String, String>,
}

impl Received {
    /// The header by which this span is told to others.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", hex(&self.span.trace_id), hex(&self.span.span_id))
    }

    /// Why it failed, if it did.
    pub fn error(&self) -> Option<&str> {
        self.span.status.as_ref().map(|status| status.message.as_str())
    }
}

/// How the collector fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// It takes spans.
    #[default]
    Fine,
    /// It takes connections and never answers.
    Silent,
    /// Nobody listens.
    Away,
}

#[derive(Debug, Default)]
struct State {
    health: Health,
    spans: Vec<Received>,
    requests: usize,
    resource: BTreeMap<String, String>,
}

/// The collector; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Collector(Arc<Mutex<State>>);

impl Collector {
    /// How it fares from now on. Connections stay.
    pub fn fares(&self, health: Health) {
        self.state().health = health;
    }

    /// Every span that came, in that order.
    pub fn spans(&self) -> Vec<Received> {
        self.state().spans.clone()
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.state().requests
    }

    /// What the last request said about its sender.
    pub fn resource(&self) -> BTreeMap<String, String> {
        self.state().resource.clone()
    }

    /// The spans as a tree: each on a line, indented below its parent, siblings in the order in which they began.
    pub fn tree(&self) -> Vec<String> {
        let mut spans = self.spans();
        spans.sort_by_key(|received| received.span.start_time_unix_nano);
        let mut lines = Vec::new();
        below(&spans, &[], 0, &mut lines);
        lines
    }

    /// A connection to it. Must be called in a tokio runtime.
    pub fn connection(&self) -> Connection {
        let collector = self.clone();
        Connection::from_connector(move || {
            let collector = collector.clone();
            async move {
                if collector.state().health == Health::Away {
                    return Err(Error::from(ErrorKind::ConnectionRefused));
                }
                let (near, far) = tokio::io::duplex(64 * 1024);
                let serving = tonic::transport::Server::builder()
                    .add_service(TraceServiceServer::new(collector))
                    .serve_with_incoming(stream::iter([Ok::<_, Error>(far)]).chain(stream::pending()));
                tokio::spawn(serving);
                Ok(near)
            }
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn below(spans: &[Received], parent: &[u8], depth: usize, lines: &mut Vec<String>) {
    for received in spans.iter().filter(|received| received.span.parent_span_id == parent) {
        lines.push(format!("{}{}", "  ".repeat(depth), received.span.name));
        below(spans, &received.span.span_id, depth + 1, lines);
    }
}

type Answer<'a> =
    Pin<Box<dyn Future<Output = Result<Response<ExportTraceServiceResponse>, Status>> + Send + 'a>>;

impl TraceService for Collector {
    fn export<'a, 'b>(&'a self, request: Request<ExportTraceServiceRequest>) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let health = {
                let mut state = self.state();
                state.requests += 1;
                state.health
            };
            match health {
                Health::Fine => {}
                Health::Silent => std::future::pending().await,
                Health::Away => return Err(Status::unavailable("shutting down")),
            }
            for resource in request.into_inner().resource_spans {
                let about = resource.resource.unwrap_or_default();
                self.state().resource = texts(&about.attributes);
                let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                let received = spans.map(|span| Received { attributes: texts(&span.attributes), span });
                self.state().spans.extend(received);
            }
            Ok(Response::new(ExportTraceServiceResponse::default()))
        })
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

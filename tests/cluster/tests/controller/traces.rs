//! `--enable-otel-tracing` of a real process: spans over TCP, those that are left at SIGTERM, and variables that cannot work.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csi::otlp::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use csi::otlp::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use csi::otlp::common::v1::KeyValue;
use csi::otlp::common::v1::any_value::Value;
use csi::otlp::trace::v1::{ResourceSpans, Span};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::{up, volumes, wait_for};

/// A collector that keeps what comes.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ResourceSpans>>>);

type Answer<'a> =
    Pin<Box<dyn Future<Output = Result<Response<ExportTraceServiceResponse>, Status>> + Send + 'a>>;

impl TraceService for Collector {
    fn export<'a, 'b>(&'a self, request: Request<ExportTraceServiceRequest>) -> Answer<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        self.received().extend(request.into_inner().resource_spans);
        Box::pin(std::future::ready(Ok(Response::new(ExportTraceServiceResponse::default()))))
    }
}

impl Collector {
    /// Its address.
    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        format!("http://{address}")
    }

    fn received(&self) -> std::sync::MutexGuard<'_, Vec<ResourceSpans>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received();
        let scopes = received.iter().flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let pair = attributes.iter().find(|pair| pair.key == name)?;
    match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_of_a_claim_are_sent_before_the_process_ends() {
    let stand = up("traces").await;
    let collector = Collector::default();
    let endpoint = collector.listen().await;
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_SERVICE_NAME", "storage")];
    let flags = ["--leader-election", "--enable-otel-tracing"];
    let mut process = stand.sidecar_with("controller", "one", &flags, &variables);
    let claims = stand.claim("data", "csi", "1Mi").await;
    wait_for("the claim to be bound", async || volumes(&claims).await.len() == 1).await;
    // Sooner than a batch is full or five seconds old.
    process.terminate(Duration::from_secs(20)).await.expect("it ends in time");
    let spans = collector.spans();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).cloned().collect::<Vec<_>>();
    let call = named("csi.v1.Controller/CreateVolume").pop().expect("the call");
    let turns = named("provision PersistentVolumeClaim");
    let turn = turns.iter().find(|span| span.span_id == call.parent_span_id).expect("the call's parent");
    assert_eq!(text(&turn.attributes, "k8s.persistentvolumeclaim.name").as_deref(), Some("data"));
    assert_eq!(text(&turn.attributes, "k8s.namespace.name"), Some(stand.namespace.clone()));
    let written = named("POST persistentvolumes");
    assert!(written.iter().any(|span| span.parent_span_id == turn.span_id), "{spans:#?}");
    assert!(turn.start_time_unix_nano <= call.start_time_unix_nano);
    assert!(call.end_time_unix_nano <= turn.end_time_unix_nano);
    let resource = collector.received().first().and_then(|spans| spans.resource.clone()).expect("a resource");
    for (name, value) in [("service.name", "storage"), ("csi.driver.name", crate::NAME)] {
        assert_eq!(text(&resource.attributes, name).as_deref(), Some(value), "{name}");
    }

    let mut refused =
        stand.sidecar_with("controller", "two", &flags, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a:1")]);
    let status = refused.wait(Duration::from_secs(20)).await.expect("it ends at once");
    let said = refused.last_lines(5);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("OTEL_EXPORTER_OTLP_ENDPOINT=https://a:1: must be http://HOST:PORT"), "{said}");
}

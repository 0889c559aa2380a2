//! Spans as messages of the protocol.

use std::time::Duration;

use base::trace::{Attribute, Kind, Span};
use csi::otlp::collector::trace::v1::ExportTraceServiceRequest;
use csi::otlp::common::v1::any_value::Value;
use csi::otlp::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use csi::otlp::resource::v1::Resource;
use csi::otlp::trace::v1::span::SpanKind;
use csi::otlp::trace::v1::status::StatusCode;
use csi::otlp::trace::v1::{self, ResourceSpans, ScopeSpans, Status};

/// Set in the flags of a span whose trace is kept.
const SAMPLED: u32 = 1;

/// The request that sends these spans of this process.
pub(super) fn request(resource: &[(String, String)], spans: Vec<Span>) -> ExportTraceServiceRequest {
    let attributes = resource.iter().map(|(name, value)| text(name.clone(), value.clone())).collect();
    let scope = InstrumentationScope {
        name: "mooring".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = ScopeSpans {
        scope: Some(scope),
        spans: spans.into_iter().map(span).collect(),
        schema_url: String::new(),
    };
    let spans = ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![spans],
        schema_url: String::new(),
    };
    ExportTraceServiceRequest { resource_spans: vec![spans] }
}

fn span(span: Span) -> v1::Span {
    let kind = match span.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Client => SpanKind::Client,
    };
    v1::Span {
        trace_id: span.ids.trace.to_be_bytes().to_vec(),
        span_id: span.ids.span.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        flags: SAMPLED,
        name: span.name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(span.begun),
        end_time_unix_nano: nanoseconds(span.ended),
        attributes: span
            .attributes
            .into_iter()
            .map(|(name, value)| attribute(name.into_owned(), value))
            .collect(),
        status: span.error.map(|message| Status { message, code: StatusCode::Error.into() }),
        ..v1::Span::default()
    }
}

fn attribute(key: String, value: Attribute) -> KeyValue {
    match value {
        Attribute::Text(value) => text(key, value),
        Attribute::Number(number) => pair(key, Value::IntValue(number)),
    }
}

fn text(key: String, value: String) -> KeyValue {
    pair(key, Value::StringValue(value))
}

fn pair(key: String, value: Value) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanoseconds(since_1970: Duration) -> u64 {
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

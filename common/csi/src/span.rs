//! The span of a driver call, and the header by which the driver's own spans join it.
//!
//! Names and attributes are those that otelgrpc gives, with which many drivers are traced.

use base::noted::child;
use base::trace::{Description, Kind, Open};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// Begins the span of a call of `method` (`/csi.v1.Controller/CreateVolume`), if the worker's pass over the object is traced.
pub(super) fn begin(method: &'static str) -> Option<Open> {
    child(|| {
        let name = method.trim_start_matches('/');
        let (service, rpc) = name.split_once('/').unwrap_or((name, ""));
        let attributes = vec![
            ("rpc.system".into(), "grpc".into()),
            ("rpc.service".into(), service.into()),
            ("rpc.method".into(), rpc.into()),
        ];
        Description { name: name.into(), kind: Kind::Client, attributes }
    })
}

/// Tells the driver about the span, as W3C Trace Context says.
pub(super) fn tell(span: Option<&Open>, metadata: &mut MetadataMap) {
    if let Some(span) = span
        && let Ok(value) = span.traceparent().parse()
    {
        metadata.insert("traceparent", value);
    }
}

/// Ends the span. The status has no secrets any more.
pub(super) fn end<T>(span: Option<Open>, outcome: &Result<T, Status>) {
    let Some(mut span) = span else { return };
    let status = outcome.as_ref().err();
    let code = status.map_or(Code::Ok, Status::code);
    span.note("rpc.grpc.status_code", i64::from(i32::from(code)));
    span.end(status.map(|status| || super::grpc_text(status)));
}

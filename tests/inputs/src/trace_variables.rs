//! The variables of OpenTelemetry.

use process::TraceSettings;

use crate::random::texts;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317\nOTEL_SERVICE_NAME=storage",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://[::1]:4317/",
        "OTEL_RESOURCE_ATTRIBUTES=service.name=a,k8s.pod.name=b%20c,d=%,service.name=e",
        "OTEL_TRACES_SAMPLER=parentbased_traceidratio\nOTEL_TRACES_SAMPLER_ARG=0.25",
        "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
    ])
}

/// An environment: a variable a line, `NAME=value`.
///
/// # Panics
/// When the collector has no name or no port, or an attribute no name.
pub fn trace_variables(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let of = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    };
    if let Ok(TraceSettings { collector: (host, _), resource, .. }) = TraceSettings::read(of, "program") {
        assert!(!host.is_empty() && !host.contains(['/', '@', '[', ']']), "{host:?}");
        assert!(resource.iter().all(|(name, _)| !name.is_empty()), "{resource:?}");
        assert_eq!(resource.iter().filter(|(name, _)| name == "service.name").count(), 1, "{resource:?}");
    }
}

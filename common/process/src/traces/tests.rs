//! What the environment may say, and what becomes of a span on the wire.

use std::collections::HashMap;
use std::time::Duration;

use base::trace::{Attribute, Ids, Kind, Sampler, Span};
use csi::otlp::common::v1::any_value::Value;

use super::encode::request;
use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    let of = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    Settings::read(of, "csi-provisioner").map_err(|error| error.to_string())
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn without_variables_spans_go_to_this_host() {
    let settings = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap();
    assert_eq!(settings.collector, ("localhost".to_owned(), 4317));
    assert_eq!(settings.sampler, Sampler::default());
    assert_eq!(settings.resource, pairs(&[("service.name", "csi-provisioner")]));
}

#[test]
fn endpoint_is_a_url_without_tls_or_is_refused() {
    let endpoint =
        |value: &str| read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", value)]).map(|settings| settings.collector);
    for (value, host, port) in [
        ("http://collector:14317", "collector", 14317),
        ("http://collector.tracing.svc/", "collector.tracing.svc", 4317),
        ("http://[::1]:4317", "::1", 4317),
        ("http://10.0.0.1", "10.0.0.1", 4317),
    ] {
        assert_eq!(endpoint(value), Ok((host.to_owned(), port)), "{value}");
    }
    for value in ["https://collector:4317", "collector:4317", "http://", "http://c/v1", "http://c:99999", " "]
    {
        let error = endpoint(value).unwrap_err();
        assert!(
            error.starts_with(&format!("OTEL_EXPORTER_OTLP_ENDPOINT={value}: must be http://")),
            "{error}"
        );
    }
    let error = endpoint("http://user:secret@c").unwrap_err();
    assert!(error.starts_with("OTEL_EXPORTER_OTLP_ENDPOINT=…@c: must be http://"), "{error}");
    let both = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://all"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces"),
    ];
    assert_eq!(read(&both).unwrap().collector.0, "traces");
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c"),
    ] {
        let error = read(&[(name, value)]).unwrap_err();
        assert!(error.starts_with(&format!("{name}={value}: must be ")), "{error}");
    }
}

#[test]
fn resource_is_what_the_environment_says_first() {
    let given = "service.name=other, k8s.pod.name = a%20b,odd=100%,plus=%+5,service.name=again,";
    let resource = |more: &[(&str, &str)]| {
        let variables: Vec<_> = more.iter().copied().chain([("OTEL_RESOURCE_ATTRIBUTES", given)]).collect();
        read(&variables).unwrap().resource
    };
    let rest = [("k8s.pod.name", "a b"), ("odd", "100%"), ("plus", "%+5")];
    assert_eq!(resource(&[]), pairs(&[("service.name", "other"), rest[0], rest[1], rest[2]]));
    assert_eq!(
        resource(&[("OTEL_SERVICE_NAME", "mine")]),
        pairs(&[("service.name", "mine"), rest[0], rest[1], rest[2]])
    );
    let driver = read(&[("OTEL_RESOURCE_ATTRIBUTES", "host.name=h")]).unwrap().of_driver("d.example");
    assert!(driver.resource.contains(&("csi.driver.name".to_owned(), "d.example".to_owned())));
    assert_eq!(driver.resource.iter().filter(|(name, _)| name == "host.name").count(), 1);
}

#[test]
fn span_keeps_numbers_times_and_error_on_the_wire() {
    let span = Span {
        ids: Ids { trace: 0x0102 << 64 | 3, span: 0x0405 },
        parent: Some(6),
        name: "provision PersistentVolumeClaim".into(),
        kind: Kind::Client,
        begun: Duration::from_nanos(7),
        ended: Duration::from_nanos(9),
        attributes: vec![("a".into(), Attribute::Text("b".to_owned())), ("c".into(), Attribute::Number(-1))],
        error: Some("no space".to_owned()),
    };
    let fine = Span { parent: None, error: None, ..span.clone() };
    let request = request(&pairs(&[("service.name", "s")]), vec![span, fine]);
    let spans = &request.resource_spans[0].scope_spans[0].spans;
    let (span, fine) = (&spans[0], &spans[1]);
    assert_eq!(span.trace_id, [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(
        (span.span_id.as_slice(), span.parent_span_id.len()),
        ([0, 0, 0, 0, 0, 0, 4, 5].as_slice(), 8)
    );
    assert_eq!((span.kind, span.start_time_unix_nano, span.end_time_unix_nano), (3, 7, 9));
    let status = span.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "no space"));
    let value = |index: usize| span.attributes[index].value.as_ref().unwrap().value.clone();
    assert_eq!(value(0), Some(Value::StringValue("b".to_owned())));
    assert_eq!(value(1), Some(Value::IntValue(-1)));
    assert_eq!((fine.parent_span_id.len(), &fine.status), (0, &None));
}

//! Where spans go and which: the environment variables of the OpenTelemetry specification.
//!
//! `Differs:` `--enable-otel-tracing` sends spans of what is done for each object, with the calls of the driver and the writes below it, and
//! the driver gets the header `traceparent`. The Go sidecars have no traces. The flag is called as in many drivers, and so are
//! the variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
//! `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`. Spans go by gRPC without TLS, to a collector nearby. A variable that cannot work ends
//! the process at start.

use base::trace::{Sampler, SamplerError};
use http::Uri;
use thiserror::Error;

/// Where a collector listens.
const PORT: u16 = 4317;

/// How spans are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Host and port of the collector.
    pub collector: (String, u16),
    /// Which traces are kept.
    pub sampler: Sampler,
    /// What is said about this process: `service.name`, and what the environment adds.
    pub resource: Vec<(String, String)>,
}

/// Why spans cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// It cannot be dialled.
    #[error(
        "{variable}={value}: must be http://HOST:PORT, the gRPC port of a collector; TLS is not supported, run a collector nearby"
    )]
    Endpoint {
        /// The variable.
        variable: &'static str,
        /// As given.
        value: String,
    },
    /// Another protocol than gRPC.
    #[error("{variable}={value}: must be grpc")]
    Protocol {
        /// The variable.
        variable: &'static str,
        /// As given.
        value: String,
    },
    /// No sampler.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// No attributes.
    #[error("OTEL_RESOURCE_ATTRIBUTES={0}: must be name=value,name=value")]
    Resource(String),
}

impl Settings {
    /// What the environment says. `of` gives the value of a variable; an empty one counts as not set. `program` is the service's
    /// name if the environment has none.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(of: impl Fn(&str) -> Option<String>, program: &str) -> Result<Self, SettingsError> {
        let value =
            |name: &'static str| of(name).filter(|value| !value.is_empty()).map(|value| (name, value));
        let protocol =
            value("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| value("OTEL_EXPORTER_OTLP_PROTOCOL"));
        if let Some((variable, value)) = protocol.filter(|(_, value)| value != "grpc") {
            return Err(SettingsError::Protocol { variable, value });
        }
        for headers in ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"] {
            if value(headers).is_some() {
                base::warn!("The variable has no effect: let a collector nearby add the headers"; "variable" => headers);
            }
        }
        let endpoint =
            value("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| value("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let collector = match endpoint {
            Some((variable, value)) => address(&value).ok_or_else(|| {
                // What stands before an @ may be a password.
                let value =
                    value.rsplit_once('@').map_or_else(|| value.clone(), |(_, place)| format!("…@{place}"));
                SettingsError::Endpoint { variable, value }
            })?,
            None => ("localhost".to_owned(), PORT),
        };
        let text = |name| value(name).map(|(_, value)| value).unwrap_or_default();
        let sampler = Sampler::parse(&text("OTEL_TRACES_SAMPLER"), &text("OTEL_TRACES_SAMPLER_ARG"))?;
        let mut resource = attributes(&text("OTEL_RESOURCE_ATTRIBUTES"))?;
        let name = Some(text("OTEL_SERVICE_NAME")).filter(|name| !name.is_empty());
        let has_name = resource.iter().any(|(name, _)| name == "service.name");
        if let Some(name) = name.or_else(|| (!has_name).then(|| program.to_owned())) {
            resource.retain(|(name, _)| name != "service.name");
            resource.insert(0, ("service.name".to_owned(), name));
        }
        Ok(Self { collector, sampler, resource })
    }

    /// The same, of a sidecar of this driver.
    pub(crate) fn of_driver(mut self, driver: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let host = crate::host::host_name();
        for (name, value) in
            [("service.version", version), ("host.name", host), ("csi.driver.name", driver.to_owned())]
        {
            // What the environment says counts.
            if self.resource.iter().all(|(given, _)| given != name) {
                self.resource.push((name.to_owned(), value));
            }
        }
        self
    }
}

/// Host and port of a URL.
fn address(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let has_path = !matches!(uri.path(), "" | "/") || uri.query().is_some();
    if uri.scheme_str() != Some("http") || has_path || uri.authority()?.as_str().contains('@') {
        return None;
    }
    let port = match uri.authority()?.as_str().strip_prefix(uri.host()?)? {
        "" => PORT,
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// Names and values, `a=b,c=d`. Values may be percent-encoded. Of a name that is there twice, the first counts.
fn attributes(text: &str) -> Result<Vec<(String, String)>, SettingsError> {
    let mut all: Vec<(String, String)> = Vec::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let parts = pair.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        let (name, value) = parts
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| SettingsError::Resource(text.to_owned()))?;
        if all.iter().all(|(known, _)| known != name) {
            all.push((name.to_owned(), decoded(value)));
        }
    }
    Ok(all)
}

/// Without percent-encoding. What is none stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let code = more.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let code = code.filter(|code| *first == b'%' && code.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = more.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

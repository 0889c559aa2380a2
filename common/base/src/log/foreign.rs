//! Writes the libraries' `tracing` events as log lines.

use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Event, Level, Metadata};

use super::line::{Severity, Shown, Site};
use super::write::write;

/// Module of the Kubernetes client that logs a reply it cannot read, whole: that may be a Secret. What it
/// reports is in the error that its caller gets.
const WHOLE_REPLIES: &str = "kube_client::client";

/// Receives events and drops spans: nothing here needs the context they carry, and without them
/// a request costs no allocation.
pub(super) struct Libraries {
    most: LevelFilter,
}

impl Libraries {
    pub(super) fn new(verbosity: i32) -> Self {
        let most = match verbosity {
            ..6 => LevelFilter::WARN,
            6..8 => LevelFilter::INFO,
            8.. => LevelFilter::DEBUG,
        };
        Self { most }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.most && metadata.target() != WHOLE_REPLIES
    }
}

impl Subscriber for Libraries {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let (severity, v) = match *metadata.level() {
            Level::ERROR => (Severity::Error, 0),
            Level::WARN => (Severity::Warning, 0),
            Level::INFO => (Severity::Info, 6),
            _ => (Severity::Info, 8),
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let site = Site { file: metadata.file().unwrap_or("library"), line: metadata.line().unwrap_or(0), v };
        let mut shown: Vec<(&str, Shown<'_>)> =
            fields.rest.iter().map(|(key, value)| (*key, Shown::Text(value))).collect();
        let target = metadata.target();
        shown.push(("target", Shown::Text(&target)));
        write(severity, site, &fields.message, &shown);
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name => self.rest.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            // Writing to a String cannot fail.
            "message" => drop(write!(self.message, "{value:?}")),
            name => self.rest.push((name, format!("{value:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_that_may_be_secrets_are_not_logged_at_any_verbosity() {
        for verbosity in [0, 10] {
            tracing::subscriber::with_default(Libraries::new(verbosity), || {
                assert!(!tracing::event_enabled!(target: "kube_client::client", Level::WARN), "{verbosity}");
                assert!(tracing::event_enabled!(target: "hyper::proto", Level::WARN), "{verbosity}");
            });
        }
    }
}

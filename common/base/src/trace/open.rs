//! Spans under way, and the channel for those that have ended.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::IntCounter;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::sampler::Sampler;
use super::span::{Attribute, Attributes, Ids, Kind, Span, cut};

/// Spans that may wait to be sent, as in OpenTelemetry's batch processor.
const MOST_WAITING: usize = 2048;

/// Said of a span whose work did not come to its end.
const GIVEN_UP: &str = "given up: the worker panicked, or the process stops";

/// What begins a trace; clones share the channel.
#[derive(Clone)]
pub struct Tracer {
    sampler: Sampler,
    spans: mpsc::Sender<Span>,
    dropped: Dropped,
}

/// The spans that have ended.
pub struct Spans {
    /// In the order in which they ended.
    pub ended: mpsc::Receiver<Span>,
    dropped: Dropped,
}

#[derive(Clone)]
struct Dropped {
    count: IntCounter,
    is_told: Arc<AtomicBool>,
}

impl Dropped {
    fn add(&self, spans: u64, why: &str) {
        self.count.inc_by(spans);
        if !self.is_told.swap(true, Ordering::Relaxed) {
            crate::warn!("Dropping spans; further ones are only counted, in mooring_trace_spans_dropped_total";
                "spans" => spans, "err" => why);
        }
    }
}

impl Spans {
    /// So many spans are not sent, and this is why.
    pub fn count_dropped(&self, spans: usize, why: &str) {
        self.dropped.add(u64::try_from(spans).unwrap_or(u64::MAX), why);
    }
}

/// What a span is about.
#[derive(Debug)]
pub struct Description {
    /// See [`Span::name`].
    pub name: Cow<'static, str>,
    /// Where the work is done.
    pub kind: Kind,
    /// What is known at its begin.
    pub attributes: Attributes,
}

impl Tracer {
    pub(crate) fn new(sampler: Sampler, dropped: IntCounter) -> (Self, Spans) {
        let (spans, ended) = mpsc::channel(MOST_WAITING);
        let dropped = Dropped { count: dropped, is_told: Arc::default() };
        (Self { sampler, spans, dropped: dropped.clone() }, Spans { ended, dropped })
    }

    /// Begins a trace. `describe` is asked only if the trace is kept.
    pub(crate) fn begin(&self, describe: impl FnOnce() -> Description) -> Open {
        let ids = Ids::fresh();
        let is_kept = self.sampler.keeps(ids.trace);
        Open::begin(self.clone(), ids, None, is_kept.then(describe))
    }
}

/// A span under way. Dropping it says that the work was given up.
pub struct Open {
    tracer: Tracer,
    ids: Ids,
    begun: Instant,
    /// None if the trace is not kept, or the span has ended.
    span: Option<Box<Span>>,
}

impl Open {
    fn begin(tracer: Tracer, ids: Ids, parent: Option<u64>, description: Option<Description>) -> Self {
        let span = description.map(|Description { name, kind, attributes }| {
            let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Box::new(Span { ids, parent, name, kind, begun, ended: begun, attributes, error: None })
        });
        Self { tracer, ids, begun: Instant::now(), span }
    }

    /// Begins a span below this one.
    pub(crate) fn child(&self, describe: impl FnOnce() -> Description) -> Self {
        let description = self.is_kept().then(describe);
        Self::begin(self.tracer.clone(), self.ids.below(), Some(self.ids.span), description)
    }

    /// Whether the span will be sent.
    pub fn is_kept(&self) -> bool {
        self.span.is_some()
    }

    /// What tells another program that its spans belong below this one: the header `traceparent`.
    pub fn traceparent(&self) -> String {
        self.ids.traceparent(self.is_kept())
    }

    /// Adds to what is said about it.
    pub fn note(&mut self, name: &'static str, value: impl Into<Attribute>) {
        if let Some(span) = &mut self.span {
            span.attributes.push((name.into(), value.into()));
        }
    }

    /// Ends it; with the error if the work failed. The text is asked for only if the trace is kept.
    pub fn end(mut self, error: Option<impl FnOnce() -> String>) {
        if self.is_kept() {
            let error = error.map(|text| text());
            self.finish(error);
        }
    }

    fn finish(&mut self, error: Option<String>) {
        let Some(mut span) = self.span.take() else { return };
        // A clock that is set meanwhile changes no duration.
        span.ended = span.begun.saturating_add(self.begun.elapsed());
        span.error = error.map(|text| cut(&text));
        match self.tracer.spans.try_send(*span) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.tracer.dropped.add(1, "they come faster than they are sent")
            }
            // The process ends.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.finish(self.is_kept().then(|| GIVEN_UP.to_owned()));
    }
}

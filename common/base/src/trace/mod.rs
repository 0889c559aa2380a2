//! Spans: what was done for one object, and how long each step took.
//!
//! A worker's pass over an object of a queue is the first span of a trace. Each call of the driver and each write in that pass is a
//! span below it ([`child`](crate::noted::child)). Finished spans go into a bounded channel. Whoever takes them out
//! sends them away; nobody who works waits for that. If the channel is full, the span is dropped and counted.
//!
//! Without [`Metrics::trace`](crate::metrics::Metrics::trace) nothing is kept and nothing is allocated.

mod open;
mod sampler;
mod span;
#[cfg(test)]
mod tests;

pub use open::{Description, Open, Spans, Tracer};
pub use sampler::{Sampler, SamplerError};
pub use span::{Attribute, Attributes, Ids, Kind, Span};

use std::sync::{Arc, OnceLock};

/// The tracer of a process, once it has one; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Traces(Arc<OnceLock<Tracer>>);

impl Traces {
    /// The tracer, if there is one.
    pub(crate) fn get(&self) -> Option<&Tracer> {
        self.0.get()
    }

    /// Sets the tracer, once.
    pub(crate) fn set(&self, tracer: Tracer) {
        // A second one would get nothing: its channel ends at once.
        let _ = self.0.set(tracer);
    }
}

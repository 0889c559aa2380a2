//! Sends spans to a collector of OpenTelemetry, if `--enable-otel-tracing` is set.
//!
//! Spans are gathered into batches and sent by OTLP over gRPC, by a task of its own: a collector that is slow or away delays
//! no work. Meanwhile a bounded number of spans waits; further ones are dropped and counted.

mod encode;
mod export;
mod settings;
#[cfg(test)]
mod tests;

pub use export::Exporter;
pub use settings::{Settings, SettingsError};

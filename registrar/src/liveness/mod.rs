//! livenessprobe: asks the driver whether it is alive, each time that the kubelet asks.
//!
//! Every request of `/healthz` opens a new connection, calls Probe, and closes it. So it also notices a driver that accepts
//! no connections any more. Source: docs/upstream/node.md, "Liveness probe".
//!
//! `Differs:` upstream exits with 0 if its port is taken, and its pod then seems to be done. Ours exits with 1. The metrics
//! page has the `process_*` families too.

mod flags;
pub(crate) mod probe;
mod run;

pub(crate) use flags::Flags;
pub use flags::parse;
pub use run::main;

//! From the command line of a sidecar to its exit.
//!
//! Three things have one owner each:
//! - [`Host`], once a process: the API client, the driver connection, metrics, event delivery, stopping;
//! - [`Seat`], once a sidecar: its leadership, and its clients of the API server and the driver. Each send checks the
//!   leadership;
//! - [`Caches`], once a process: one store a kind, shared by its sidecars.
//!
//! A sidecar is a function that takes a seat and the caches and returns a [`Duty`]. [`start`] connects to both sides, in
//! upstream's order. [`Started::work`] elects leaders and runs the duties. It ends when:
//! - SIGTERM or SIGINT arrives: no new work begins, calls in flight end, the leases are released, and the process exits,
//!   with 1 if leaders are elected, else with 0. A second signal: exit 1 at once;
//! - a lease is lost: exit 1 at once, and nothing is sent any more;
//! - another driver answers on the socket: exit 1. If the driver only goes away, the process waits for it.
//!   `Differs:` upstream exits whenever the driver goes away; `--exit-on-connection-loss` does that here.

mod attributes_classes;
mod caches;
mod driver_loss;
mod duty;
mod host;
mod lead;
mod leases;
mod program;
mod signal;
mod start;
mod traces;
mod work;

pub use attributes_classes::attributes_classes;
pub use caches::Caches;
pub use duty::Duty;
pub use host::{Host, Seat, host_name};
pub use lead::Election;
pub use program::{Program, Seated};
pub use start::{Setup, StartError, capabilities, start};
pub use traces::{Exporter, Settings as TraceSettings, SettingsError as TraceSettingsError};
pub use work::{Capabilities, Started};

//! From the command line of a sidecar to its exit.
//!
//! Three things have one owner each:
//! - [`Host`], once a process: the API client, the driver connection, metrics, event delivery, stopping;
//! - [`Seat`], once a sidecar: its leadership, and handles on both sides that ask this leadership at each send;
//! - [`Caches`], once a process: one store a kind, whoever asks for it.
//!
//! A sidecar is a function from a seat and the caches to a [`Duty`]. [`start`] brings a process up in upstream's
//! order. [`Started::work`] elects leaders, does the duties, and ends:
//! - SIGTERM or SIGINT: no new work begins, calls in flight end, the leases are released, the process exits. A second
//!   signal exits at once with 1;
//! - a lease is lost: exit 1 at once, and nothing is sent any more;
//! - the driver goes away: the process waits for it. Another driver on the socket: exit 1.
//!   `Differs:` upstream exits whenever the driver goes away; `--exit-on-connection-loss` does that here.

mod caches;
mod driver_loss;
mod duties;
mod duty;
mod host;
mod lead;
mod signal;
mod start;
mod work;

pub use caches::Caches;
pub use duty::Duty;
pub use host::{Host, Seat, host_name};
pub use lead::Election;
pub use start::{Setup, StartError, start};
pub use work::{Capabilities, Started};

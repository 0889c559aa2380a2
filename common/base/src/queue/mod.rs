//! The work queue: one entry per key, back-off per key, fair between operations and groups.
//!
//! [`Core`] is a plain state machine that is told the time. [`WorkQueue`] runs it on tokio. Promises:
//! - a key is never worked on twice at once;
//! - a key that is added while it is worked on runs again;
//! - a key that keeps failing waits `base × 2ⁿ`, capped;
//! - no lane and no group can take every worker (see [`Limits`]).
//!
//! Mirrors client-go's rate-limited work queue as every sidecar uses it (docs/upstream/conventions.md,
//! "Work queue"). `Differs:` upstream has one first-in-first-out list, in which a burst of detaches starves
//! attaches (kubernetes-csi/external-attacher issue 761). Ours has lanes and groups.

mod backoff;
mod core;
mod lane;
mod memory;
mod place;
mod shell;
#[cfg(test)]
mod tests;
mod turn;

pub use self::backoff::Backoff;
pub use self::core::{Core, Outcome, Ticket};
pub use place::{Limits, Place};
pub use shell::{Job, WorkQueue};

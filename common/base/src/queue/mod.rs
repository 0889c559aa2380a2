//! The work queue: one entry per key, back-off per key, fair between operations and groups.
//!
//! [`Core`] is a plain state machine that is told the time; [`WorkQueue`] is its tokio shell. Promises:
//! a key is never worked on twice at once; an add while it is worked on is not lost; a key that keeps
//! failing waits `base × 2ⁿ`, capped; no lane and no group can take every worker (see [`Limits`]).
//!
//! Mirrors client-go's rate-limited work queue as every sidecar uses it (reference sheet attacher.md
//! §14, provisioner.md §15). `Differs:` lanes and groups are ours: upstream has one first-in-first-out
//! list, in which a burst of detaches starves attaches (asks.md §1, row 7).

mod backoff;
mod core;
mod lane;
mod shell;
#[cfg(test)]
mod tests;

pub use self::backoff::Backoff;
pub use self::core::{Core, Limits, Outcome, Place, Ticket};
pub use shell::{Job, WorkQueue};

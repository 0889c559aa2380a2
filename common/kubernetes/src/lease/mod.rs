//! Leader election on a coordination.k8s.io/v1 Lease, as client-go does it.
//!
//! [`Elector`] decides, without clock or client; [`run`] performs. Promises:
//! - every write carries the resourceVersion it was decided on, so two candidates never both win;
//! - a rival's lease ends only after *our own* monotonic clock has seen its record unchanged for the
//!   record's lease duration: wall clocks are written but never compared;
//! - [`Leadership::holds`](base::leadership::Leadership::holds) turns false at the renew deadline, before the lease itself can end, whatever
//!   the renewing task is doing; effects ask it right before they are sent.
//!
//! Source: csi-lib-utils.md §5, client-go's leaderelection semantics in crates.md.
//! `Differs:` a candidate also watches the Lease, so a released one is taken over at once rather than at
//! the next retry; the lease is released on SIGTERM by default.

mod elector;
mod shell;
#[cfg(test)]
mod tests;

pub use elector::{Attempt, Elector, Lease, Timing};
pub use shell::{Candidate, LeaseError, run};

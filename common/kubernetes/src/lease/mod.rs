//! Leader election on a coordination.k8s.io/v1 Lease, as client-go does it.
//!
//! [`Elector`] decides, without clock or client. [`run`] reads and writes. Promises:
//! - every write carries the resourceVersion that the decision was based on, so two candidates never both
//!   win;
//! - a rival's lease ends only after *our own* monotonic clock has seen its record unchanged for the
//!   record's lease duration: wall clocks are written but never compared;
//! - [`Leadership::holds`] turns false at the renew deadline, before the lease can end, whatever the renewing task
//!   is doing; effects ask it right before they are sent;
//! - a leader keeps leading if an outage of the API server ends before its lease does.
//!
//! Source: docs/upstream/conventions.md, "Leader election"; client-go's `leaderelection` package.
//! `Differs:` a candidate also watches the Lease, so it takes over a released one at once, not at its next
//! retry. On SIGTERM the lease is released by default. A leader whose renewal failed tries again five times in a
//! retry period, and goes on until the lease has run out; from the renew deadline on it does no work. The Go sidecars
//! try once in a retry period and exit at the renew deadline.
//!
//! [`Leadership::holds`]: base::leadership::Leadership::holds

mod elector;
mod shell;
#[cfg(test)]
mod tests;

pub use elector::{Attempt, Elector, Lease, Timing};
pub use shell::{Candidate, LeaseError, run};

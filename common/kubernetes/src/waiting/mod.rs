//! Who waits for which object to appear: work that failed for want of an object is done as soon as the object is there.
//!
//! A reconciler that misses an object calls [`Waiting::wait`]. A cached object wakes whoever waits for it
//! ([`Waiting::follow`]). Secrets are not cached, so a missing one is polled ([`Waiting::poll_secrets`]).
//!
//! `Differs:` the Go sidecars try again only after the back-off. We also try at once when the object appears, and within
//! seconds when a Secret does.

mod secret;
mod waiters;

pub use waiters::{On, Waiting};

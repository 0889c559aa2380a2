//! Remembers who waits for which object. Work that failed because an object was missing is retried when it appears.
//!
//! A reconciler that uses this calls [`Waiting::wait`]. A cached object wakes whoever waits for it
//! ([`Waiting::follow`]). Secrets are not cached, so a missing one is polled ([`Waiting::poll_secrets`]).
//!
//! `Differs:` the Go sidecars try again only after the back-off. Our csi-attacher also tries at once when the object appears,
//! and within seconds when a Secret does.

mod secret;
mod waiters;

pub use waiters::{On, Waiting};

//! Remembers who waits for which object. Work that failed because an object was missing is retried when it appears.
//!
//! A reconciler that uses this calls [`Waiting::wait`]. A cached object wakes whoever waits for it
//! ([`Waiting::follow`]). Secrets are not cached, so a missing one is polled ([`Waiting::poll_secrets`]).
//!
//! Objects that nobody caches are watched, or polled, while somebody waits for them ([`Uncached`]).
//!
//! `Differs:` the Go sidecars try again only after the back-off. Our csi-attacher also tries at once when the object appears,
//! and within seconds when a Secret does, and so does our csi-provisioner.

mod floor;
mod secret;
mod uncached;
mod waiters;

pub use floor::{Floor, passed};
pub use uncached::{Kind, Seen, Uncached};
pub use waiters::{On, Waiting};

//! The Kubernetes side: one client, slim cached objects, and the few writes that sidecars make.
//!
//! Objects are cut to the fields that a sidecar reads while they are parsed; the full object is never
//! stored. Objects of other drivers are not kept at all. See [`store::Store`] for what a cache promises.

pub mod api;
pub mod attached;
pub mod client;
pub mod event;
pub mod lease;
pub mod limit;
pub mod object;
pub mod patch;
pub mod permission;
pub mod secret;
pub mod store;
pub mod watch;

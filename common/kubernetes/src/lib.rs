//! The API server as sidecars use it: one client, caches of slim objects, and the few writes they make.
//!
//! Objects are cut to the fields that a sidecar reads while they are parsed; the full object is never stored.
//! Of another driver's object a cache keeps at most a name. See [`store`] for what a cache promises.

pub mod access;
pub mod api;
pub mod attached;
mod bounded;
pub mod client;
pub mod collection;
pub mod condition;
pub mod event;
pub mod lease;
pub mod limit;
pub mod object;
pub mod own_writes;
pub mod patch;
pub mod permission;
pub mod report;
pub mod secret;
pub mod store;
pub mod waiting;
pub mod watch;

//! csi-provisioner: creates volumes for claims, and deletes volumes whose claim is gone.
//!
//! Drop-in for external-provisioner 6.4.0 (docs/upstream/provisioner.md). This release provisions with
//! immediate and late binding. It translates the classes and volumes of in-tree
//! plugins ([`translation`]). It has no topology, data sources, capacity objects, node deployment or
//! attributes classes. When a claim, a flag or a driver needs one of these, the answer
//! is a clear error.

mod caches;
mod claim;
mod config;
#[cfg(test)]
mod fixture;
mod flags;
mod intent;
mod metrics;
mod migration;
mod rights;
mod run;
mod volume;

pub use config::{Capabilities, Config};
pub use flags::{add_flags, parse};
pub use intent::place::Place;
pub use run::{KEEP, main, provision, take_seat};

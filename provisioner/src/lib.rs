//! csi-provisioner: creates volumes for claims, and deletes volumes whose claim is gone.
//!
//! Drop-in for external-provisioner 6.4.0 (docs/upstream/provisioner.md). This release provisions with
//! immediate and late binding, where the driver's topology allows it ([`topology`]). It translates the classes and
//! volumes of in-tree plugins ([`translation`]). It publishes capacities ([`capacity`]). It may
//! run on each node ([`node`]). It fills volumes from snapshots and other claims ([`claim::request`]).

mod caches;
mod capacity;
mod claim;
mod config;
mod duty;
mod environment;
#[cfg(test)]
mod fixture;
mod flags;
mod intent;
mod metrics;
mod migration;
mod node;
mod rights;
mod run;
mod topology;
mod volume;

pub use capacity::{CapacitySettings, owner};
pub use config::{Capabilities, Config};
pub use duty::{KEEP, provision, provision_through};
pub use intent::place::Place;
pub use node::NodeSettings;
pub use run::PROGRAM;

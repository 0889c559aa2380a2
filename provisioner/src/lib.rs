//! csi-provisioner: claims become volumes, and volumes whose claim is gone are deleted.
//!
//! Drop-in for external-provisioner 6.3.0 (reference sheet provisioner.md). This part has immediate and
//! late binding without topology, data sources, capacity objects, node deployment, attributes classes and
//! in-tree migration; what a claim, a flag or a driver asks of those is answered with a clear error.

pub mod claim;
pub mod config;
#[cfg(test)]
mod fixture;
pub mod flags;
pub mod metrics;
mod run;
pub mod volume;

pub use run::{KEEP, main, provision};

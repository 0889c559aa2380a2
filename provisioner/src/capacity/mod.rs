//! Publishes how much room each class has in each topology segment, as CSIStorageCapacity objects, for the scheduler
//! (docs/upstream/provisioner.md, "Capacity").
//!
//! An *item* is a segment and a class. Its object is created, updated and deleted to agree with GetCapacity.
//!
//! Promises:
//! - an object is written only when it would change;
//! - one call for each item at a time, however many volumes come and go meanwhile;
//! - capacities never hold up volumes: they have workers and a request limit of their own;
//! - objects that somebody else labels are never touched.

mod item;
mod object;
mod owner;
mod publish;
mod state;
mod trigger;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

pub use owner::owner;
pub(crate) use publish::Capacities;
pub(crate) use trigger::Trigger;

/// How capacities are published.
#[derive(Debug, Clone)]
pub struct CapacitySettings {
    /// Namespace of the objects.
    pub namespace: Box<str>,
    /// Their label `csi.storage.k8s.io/managed-by`.
    pub managed_by: Box<str>,
    /// Who owns them.
    pub owner: Option<OwnerReference>,
    /// How many capacities are asked for at once.
    pub workers: usize,
    /// How often all are asked for.
    pub poll: Duration,
    /// Whether classes with immediate binding get objects too.
    pub immediate: bool,
}

//! csi-resizer: calls ControllerExpandVolume and ControllerModifyVolume as claims ask.
//!
//! Drop-in for external-resizer 2.3.0 (docs/upstream/resizer.md). For ControllerExpandVolume, volumes of in-tree
//! plugins are translated to those of the CSI driver ([`translation`]); they are not modified.
//!
//! It writes these fields, always with a patch that is for one object:
//!
//! | object | what | when |
//! |---|---|---|
//! | claim, status | `allocatedResources`, `allocatedResourceStatuses`, conditions, `capacity` | before and after ControllerExpandVolume |
//! | claim, status | `modifyVolumeStatus`, `currentVolumeAttributesClassName`, conditions | before and after ControllerModifyVolume |
//! | claim | annotation `volume.kubernetes.io/node-expansion-not-required`, through the status | off before ControllerExpandVolume, on after it |
//! | PersistentVolume | `spec.capacity`, annotation `volume.alpha.kubernetes.io/pre-resize-capacity` | after ControllerExpandVolume; off when the node has finished |
//! | PersistentVolume | `spec.volumeAttributesClassName` | after ControllerModifyVolume |
//!
//! Words of this crate's own:
//! - growth: the way of a claim to the size that it requests; modification: its way to the attributes class that it names.
//! - target: the size, or the class, that the driver is asked for.
//! - refused: the driver answered with a final error. Nothing is under way, so the target may be given up.
//! - infeasible: refused with a code that says that trying again does not help.
//! - in use: the driver expands volumes only while no pod uses them, and one does.

mod caches;
mod config;
mod duty;
mod eligible;
#[cfg(test)]
mod fixture;
mod flags;
mod growth;
mod in_use;
mod memory;
mod modification;
mod news;
mod queues;
mod rights;
mod run;
mod shared;
mod wanted;

pub use config::{Capabilities, Config, Expansion};
pub use duty::{KEEP, resize};
pub use run::PROGRAM;

//! csi-attacher: calls ControllerPublishVolume and ControllerUnpublishVolume as VolumeAttachments ask.
//!
//! Drop-in for external-attacher 4.13.0 (docs/upstream/attacher.md). Volumes of in-tree plugins are
//! translated to those of the CSI driver ([`translation`]).
//!
//! It writes these fields, always with a patch:
//!
//! | object | what | when |
//! |---|---|---|
//! | PersistentVolume | finalizer `external-attacher/<driver>` | added before the first attach, removed when the volume is being deleted and attached nowhere |
//! | VolumeAttachment | the same finalizer; annotations `csi.alpha.kubernetes.io/node-id` and, ours, `mooring.dev/volume-handle`, `mooring.dev/publish-secret` (its place, not what it holds) | added before ControllerPublishVolume; the finalizer is removed after ControllerUnpublishVolume |
//! | VolumeAttachment, status | `attached`, `attachmentMetadata`, `attachError`, `detachError` | after a call, and after a failure that says something new |
//!
//! Words of this crate's own:
//! - publish, unpublish: what the driver does to a volume on a node (ControllerPublishVolume and
//!   ControllerUnpublishVolume).
//! - publication: a volume that the driver may have published although no attachment records it yet.
//! - orphaned: a publication is orphaned when its attachment is gone, as far as the cache knows.
//! - withdrawal: unpublishing the volume of an orphaned publication, once the API server has confirmed that the
//!   attachment is gone.
//! - held: a PersistentVolume with a publication is held; our finalizer stays on it.
//! - note: the annotations in which an attachment keeps what unpublishing needs.
//! - contradicted: the driver's list of volumes disagrees with the attachment's status. Contradicted attachments
//!   are forced: attached or detached again.
//! - pair: a volume and a node, as the driver calls them. A pair has one call at a time; others wait for their turn.

mod attachment;
mod caches;
mod config;
mod duty;
#[cfg(test)]
mod fixture;
mod flags;
mod listing;
mod metrics;
mod publication;
mod queues;
mod rights;
mod run;
mod volume;

pub use config::{Capabilities, Config, finalizer};
pub use duty::{KEEP, attach};
pub use run::PROGRAM;

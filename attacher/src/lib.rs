//! csi-attacher: calls ControllerPublishVolume and ControllerUnpublishVolume as VolumeAttachments ask.
//!
//! Drop-in for external-attacher 4.12.0 (docs/upstream/attacher.md). Volumes of in-tree plugins are
//! recognised and handed to a [`translation::Translation`]. No translation exists yet, so their attachments
//! get an error that says so.
//!
//! It writes these fields, always with a patch:
//!
//! | object | what | when |
//! |---|---|---|
//! | PersistentVolume | finalizer `external-attacher/<driver>` | on before the first attach, off when it is deleted and attached nowhere |
//! | VolumeAttachment | the same finalizer; annotations `csi.alpha.kubernetes.io/node-id` and, ours, `mooring.dev/volume-handle`, `mooring.dev/publish-secret` (its place, not what it holds) | on before ControllerPublishVolume, the finalizer off after ControllerUnpublishVolume |
//! | VolumeAttachment, status | `attached`, `attachmentMetadata`, `attachError`, `detachError` | after a call, and after a failure that says something new |

pub mod attachment;
mod beside;
pub mod config;
#[cfg(test)]
mod fixture;
pub mod flags;
pub mod listing;
pub mod metrics;
mod run;
pub mod volume;
pub mod withdrawal;

pub use run::{KEEP, attach, main};

//! csi-attacher: VolumeAttachments become calls of ControllerPublishVolume and ControllerUnpublishVolume.
//!
//! Drop-in for external-attacher 4.12.0 (reference sheet attacher.md). Volumes of in-tree plugins are
//! recognised and handed to a [`translation::Translation`]; until one translates them, their attachments get
//! an error that says so.

pub mod attachment;
pub mod config;
#[cfg(test)]
mod fixture;
pub mod flags;
pub mod listing;
pub mod metrics;
mod run;
pub mod volume;

pub use run::{attach, main};

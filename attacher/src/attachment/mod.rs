//! VolumeAttachments: decides the next step for each, and takes it.
//!
//! Decisions are plain functions ([`decide`], [`facts`], [`request`], [`patch`], [`report`], [`intake`]). The
//! effects are in [`reconcile`]. Promises:
//! - we publish nothing before our finalizer is on the volume and on the attachment;
//! - our finalizer stays on the attachment until ControllerUnpublishVolume has succeeded;
//! - at most one call is in flight for a volume on a node;
//! - if an attachment is removed by force while its volume is being published, we unpublish the volume
//!   (see [`crate::withdrawal`]);
//! - our own writes never queue an attachment.

mod attach;
pub mod decide;
mod detach;
pub mod error;
pub mod facts;
pub mod in_flight;
pub mod intake;
pub mod look;
pub mod mark;
mod own;
pub mod patch;
pub mod reconcile;
pub mod report;
pub mod request;
mod source;
pub mod waiting;
mod wake;
mod write;

//! VolumeAttachments: what is to be done about one, and doing it.
//!
//! Decisions are plain functions ([`decide`], [`facts`], [`request`], [`patch`], [`report`], [`intake`]); the
//! effects are in [`reconcile`]. Promises:
//! - nothing is published before our finalizer is on the volume and on the attachment;
//! - our finalizer stays on the attachment until ControllerUnpublishVolume has succeeded;
//! - one call in flight for a volume on a node;
//! - what is published for an attachment that is forced away meanwhile is withdrawn (see [`crate::withdrawal`]);
//! - what we write ourselves never counts as news.

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

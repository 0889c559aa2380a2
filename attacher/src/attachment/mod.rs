//! VolumeAttachments: decides the next step for each, and takes it.
//!
//! Decisions are plain functions ([`decide`], [`source`], [`node`], [`note`], [`request`], [`patch`],
//! [`events`]). The effects are in [`reconcile`], [`attach`], [`detach`] and [`target`]. Promises:
//! - we publish nothing before our finalizer is on the volume and on the attachment;
//! - our finalizer stays on the attachment until ControllerUnpublishVolume has succeeded;
//! - at most one call is in flight for a volume on a node;
//! - if an attachment is removed by force while its volume is being published, we unpublish the volume
//!   (see [`crate::publication`]);
//! - our own writes never queue an attachment.

mod attach;
pub(crate) mod attachments;
pub(crate) mod contradiction;
pub(crate) mod decide;
mod detach;
pub(crate) mod error;
mod events;
mod former;
pub(crate) mod node;
mod note;
mod patch;
mod reconcile;
pub(crate) mod request;
pub(crate) mod source;
mod target;

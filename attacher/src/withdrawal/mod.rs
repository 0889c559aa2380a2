//! Unpublishes volumes that were published for an attachment that is gone. We call this a withdrawal.
//!
//! Somebody may remove our finalizer from an attachment and delete it while we publish its volume. The volume
//! is then published, and no object asks to unpublish it. A plain deletion can do the same: the API server
//! may have checked for finalizers just before we added ours. So we remember what a call may have published
//! until an attachment records it ([`open`]). If the attachment is gone by then, we withdraw the volume
//! ([`reconcile`]), unless another attachment covers it ([`decide`]). Promises:
//! - a withdrawal never runs beside another call for the same volume and node;
//! - our finalizer stays on the PersistentVolume until the withdrawal ends;
//! - it is repeated until it succeeds, or another attachment with our finalizer covers the volume, or this
//!   process ends;
//! - attachments that stay cause no extra calls.
//!
//! This memory ends with the process. If the process ends between the call and the withdrawal, no object
//! records the publication and the volume stays published. We do not remember an attachment once it says
//! attached: who removes that by force has to detach the volume by hand.
//!
//! `Differs:` upstream leaves such a volume published for ever.

pub mod decide;
pub mod open;
pub mod reconcile;

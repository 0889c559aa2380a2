//! Volumes that were published for an attachment that is gone.
//!
//! Whoever takes our finalizer off an attachment and deletes it while its volume is being published, leaves the
//! volume published and nothing that asks for its withdrawal. A plain deletion can do the same: the API server may
//! have looked for finalizers just before ours came on, and deletes the object all the same. What a call of ours may
//! have left is kept in mind until it is written down ([`open`]); when the attachment is gone by then, the volume is
//! withdrawn ([`reconcile`]), unless another attachment stands for it ([`decide`]). Promises:
//! - never beside another call for the same volume and node;
//! - our finalizer stays on the PersistentVolume as long;
//! - repeated until it succeeds, or another attachment with our finalizer stands for the volume, or this process ends;
//! - nothing more is sent for attachments that stay.
//!
//! It lives in memory: when the process ends between the call and the withdrawal, no object tells of it any more, and
//! the volume stays published. An attachment that says attached is not kept in mind either: who forces that out has to
//! detach the volume by hand.
//!
//! `Differs:` upstream leaves such a volume published for ever.

pub mod decide;
pub mod open;
pub mod reconcile;

//! Publications that no attachment records yet, and their withdrawal when the attachment is gone.
//!
//! Somebody may remove our finalizer from an attachment and delete it while we publish its volume. The volume
//! is then published, and no object asks to unpublish it. A plain deletion can do the same: the API server
//! may have checked for finalizers just before we added ours. So we write down each publication before the
//! call ([`registry`]), and forget it when an attachment records it or the driver refuses. If the attachment is gone
//! by then, we withdraw the volume ([`withdraw`]), unless another attachment with our finalizer is for
//! the same volume and node ([`decide`]). Promises:
//! - a withdrawal never runs at the same time as another call for the same volume and node;
//! - our finalizer stays on the PersistentVolume until the publication is settled;
//! - nothing is withdrawn before the API server itself says that the attachment is gone: the cache may be wrong;
//! - a withdrawal is repeated until it succeeds, or another attachment with our finalizer covers the volume, or this
//!   process ends;
//! - attachments that stay cause no extra calls.
//!
//! This memory ends with the process. If the process ends between the call and the withdrawal, no object
//! records the publication and the volume stays published. We forget a publication once the attachment's
//! status says attached. If somebody removes the attachment by force after that, we do not withdraw the volume: they must
//! unpublish it by hand.
//!
//! `Differs:` upstream leaves such a volume published for ever.

pub(crate) mod decide;
pub(crate) mod registry;
pub(crate) mod withdraw;

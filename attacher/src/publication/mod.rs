//! Remembers published volumes until the VolumeAttachment's status says attached. Unpublishes a volume if its VolumeAttachment goes
//! before that.
//!
//! Somebody may remove our finalizer from an attachment and delete the attachment while we publish its volume. The volume
//! is then published, and no object asks to unpublish it. An ordinary delete can have the same effect:
//! the API server finds no finalizer and deletes the attachment just before we add ours. The steps:
//! 1. [`registry`] notes each publication in memory before the call. It forgets the publication when the attachment's status
//!    says attached, or the driver refuses.
//! 2. [`registry`] hears from the cache that the attachment is gone, or is being deleted without our finalizer. It marks the
//!    publication as orphaned and queues its volume and node.
//! 3. [`withdraw`] takes the volume and node from the queue ([`decide`] says what comes next). If another live attachment with our finalizer
//!    has the same volume and node, `withdraw` forgets the publication. Otherwise it asks the API server whether the
//!    attachment is gone, or is being deleted without our finalizer. If either is true, it unpublishes the volume.
//! 4. A withdrawal waits in three cases:
//!    - another call for this volume and node runs: it is tried again when that call ends, at the latest after 60 s;
//!    - another live attachment for them lacks our finalizer, or
//!    - the API server still has the removed attachment: it is tried again when an attachment to the node changes, at the latest
//!      after 30 s.
//! 5. A withdrawal that fails is tried again with a back-off: the API server does not answer, the driver refuses, or the Secret is
//!    missing. A Secret that a withdrawal lacks is not polled.
//!
//! Promises:
//! - a withdrawal never runs at the same time as another call for the same volume and node;
//! - our finalizer stays on the PersistentVolume until the publication is settled;
//! - nothing is withdrawn before the API server itself says that the attachment is gone, or is being deleted without our
//!   finalizer: the cache may be wrong;
//! - a withdrawal is repeated until it succeeds, or another live attachment with our finalizer covers the volume, or this
//!   process ends;
//! - attachments that stay cause no extra calls.
//!
//! This memory ends with the process. If the process ends between the call and the withdrawal, no object
//! records the publication and the volume stays published. If somebody removes the attachment by force when its status says
//! attached, we do not withdraw the volume: they must unpublish it by hand.
//!
//! `Differs:` upstream leaves such a volume published for ever.

pub(crate) mod decide;
pub(crate) mod registry;
pub(crate) mod withdraw;

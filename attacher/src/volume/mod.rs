//! PersistentVolumes: removes our finalizer once no attachment names the volume and no publication of it is unsettled
//! (see [`crate::publication`]).
//!
//! `Differs:` upstream checks the attachments only.

pub(crate) mod decide;
pub(crate) mod reconcile;

//! Deletes volumes whose claim is gone, and keeps our finalizer on those that will be deleted.
//!
//! Promises:
//! - a volume is deleted only if its policy is Delete, no attachment names it, and its claim is gone (it is Released)
//!   or its object was deleted before a claim had it;
//! - its object is deleted only after the volume;
//! - each step can be repeated after a crash.

pub(crate) mod attachments;
pub(crate) mod decide;
pub(crate) mod reconcile;
pub(crate) mod secret;

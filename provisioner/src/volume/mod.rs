//! Deletes volumes whose claim is gone, and keeps our finalizer on those that will be deleted.
//!
//! Promises:
//! - a volume is deleted only if it is Released, its policy is Delete, and no attachment names it;
//! - its object is deleted only after the volume;
//! - each step can be repeated after a crash.

pub(crate) mod decide;
pub(crate) mod reconcile;
pub(crate) mod secret;

//! Volumes whose claim is gone are deleted, and our finalizer is kept on those that will be.
//!
//! Promises: a volume is deleted only when it is Released with policy Delete and no attachment names it;
//! its object goes only after it; each step can be repeated after a crash.

pub mod decide;
pub mod reconcile;
pub mod secret;

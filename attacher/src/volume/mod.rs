//! PersistentVolumes: our finalizer comes off when nothing is attached any more.

pub mod decide;
pub mod reconcile;

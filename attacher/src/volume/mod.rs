//! PersistentVolumes: our finalizer comes off when nothing is attached any more, nor waits to be withdrawn ([`hold`]).
//!
//! `Differs:` upstream looks at the attachments only.

pub mod decide;
pub mod hold;
pub mod reconcile;

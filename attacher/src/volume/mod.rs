//! PersistentVolumes: removes our finalizer once no attachment names the volume and nothing holds it
//! ([`hold`]).
//!
//! `Differs:` upstream has no holds; it checks the attachments only.

pub mod decide;
pub mod hold;
pub mod reconcile;

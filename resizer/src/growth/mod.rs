//! Grows the volumes of claims that request more than they have (docs/upstream/resizer.md, "Recovery").
//!
//! ```text
//! mark the claim -> (wait for pods, if the driver said in use) -> ControllerExpandVolume -> the volume's size -> the claim's status
//! ```
//!
//! [`decide`] says to what size. The status of the claim tells how far a growth has come, so that it goes on after a crash
//! at any point. A write that would change nothing is left out.

pub(crate) mod decide;
mod error;
mod expand;
mod patch;
pub(crate) mod reconcile;
mod request;

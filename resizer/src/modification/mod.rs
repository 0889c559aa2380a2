//! Gives volumes the attributes of the VolumeAttributesClass that their claims name (docs/upstream/resizer.md, "Modify").
//!
//! ```text
//! mark the claim -> ControllerModifyVolume -> the volume's class -> the claim's status
//! ```
//!
//! [`decide`] says which class. A modification that may be under way is finished before another class is taken, unless its
//! class is gone: then nobody can finish it, and the class that the claim names is taken.

pub(crate) mod decide;
mod error;
mod modify;
mod patch;
pub(crate) mod reconcile;
mod request;

use kubernetes::object::{Claim, Volume};

/// Whether there may be something to do. A volume of an in-tree plugin is not modified.
pub(crate) fn is_wanted(claim: &Claim, volume: &Volume) -> bool {
    let view = decide::View::new(claim, None);
    volume.spec.csi.is_some() && view.is_some_and(|view| decide::decide(&view) != decide::Step::Nothing)
}

//! Decides the next step for a volume (docs/upstream/provisioner.md, "Deletion").

use kubernetes::object::annotation::{MIGRATED_TO, PROVISIONED_BY};
use kubernetes::object::{ReclaimPolicy, Volume, VolumePhase};

use crate::claim::object::FINALIZER;
use crate::migration::Names;

/// The next step for a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing to do, or not our volume.
    Ignore,
    /// Add our finalizer.
    Protect,
    /// Remove our finalizer: the policy keeps the volume.
    Unprotect,
    /// Delete the volume, then its object.
    Delete,
    /// The object was deleted before the claim that waits for it had the volume: delete the volume too, if that still holds.
    DeleteUnbound,
}

/// Decides the next step for a volume. The same view always leads to the same step. `waits`: a claim waits for exactly this
/// volume.
///
/// `Differs:` upstream leaves a volume whose object is deleted before it is bound under its finalizer for ever, and its
/// claim without a volume. Ours deletes the volume, with DeleteVolume, and makes the claim a new one, but only while a claim
/// waits for exactly this volume: by uid in `spec.claimRef`, or, if that is gone, by the volume's name. Any other volume stays
/// as with upstream: the object is Terminating, and the data stays.
pub(crate) fn decide(volume: &Volume, waits: bool, names: Names<'_>) -> Step {
    if !is_ours(volume, names) {
        return Step::Ignore;
    }
    let protected = volume.meta.has_finalizer(FINALIZER);
    match (volume.reclaim, volume.phase) {
        (ReclaimPolicy::Retain | ReclaimPolicy::Recycle, _) if protected => Step::Unprotect,
        (ReclaimPolicy::Retain | ReclaimPolicy::Recycle, _) => Step::Ignore,
        // Without our finalizer the deletion of the object does not wait for us.
        (ReclaimPolicy::Delete, VolumePhase::Released) if !volume.meta.deleting || protected => Step::Delete,
        (ReclaimPolicy::Delete, VolumePhase::Bound) if !volume.meta.deleting && !protected => Step::Protect,
        // Nobody binds a volume that is being deleted. Without a claim that waits, the volume may be somebody's data that is
        // to get a new claim, or a claim may have just got it: the controller says so in the phase.
        (ReclaimPolicy::Delete, VolumePhase::Pending | VolumePhase::Available)
            if waits && volume.meta.deleting && protected =>
        {
            Step::DeleteUnbound
        }
        (ReclaimPolicy::Delete, _) => Step::Ignore,
    }
}

/// Whether the volume is ours: we made it, it was migrated to us, or it does not say who made it and its
/// driver is ours.
fn is_ours(volume: &Volume, names: Names<'_>) -> bool {
    let annotations = &volume.meta.annotations;
    if annotations.get(MIGRATED_TO).is_some_and(|name| names.has(name)) {
        return true;
    }
    match annotations.get(PROVISIONED_BY) {
        Some(maker) => names.has(maker),
        None => volume.spec.csi.as_ref().is_some_and(|csi| &*csi.driver == names.driver),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::volume;
    use Step::*;
    use serde_json::json;

    fn names(driver: &str) -> Names<'_> {
        Names { driver, in_tree: None }
    }

    const OURS: &str = "external-provisioner.volume.kubernetes.io/finalizer";

    /// Upstream's TestShouldDelete and TestIsProvisionerForVolume, and the finalizer.
    #[test]
    fn each_volume_leads_to_its_step() {
        let made = json!({"pv.kubernetes.io/provisioned-by": "test-driver"});
        let cases = [
            ("released", made.clone(), "Released", "Delete", &[OURS][..], false, Delete),
            ("released, without finalizer", made.clone(), "Released", "Delete", &[], false, Delete),
            (
                "released, already deleting, with finalizer",
                made.clone(),
                "Released",
                "Delete",
                &[OURS],
                true,
                Delete,
            ),
            ("released, deleting, finalizer gone", made.clone(), "Released", "Delete", &[], true, Ignore),
            ("bound", made.clone(), "Bound", "Delete", &[OURS], false, Ignore),
            ("bound, finalizer missing", made.clone(), "Bound", "Delete", &["other"], false, Protect),
            ("bound, deleting, finalizer missing", made.clone(), "Bound", "Delete", &[], true, Ignore),
            ("bound, deleting, protected", made.clone(), "Bound", "Delete", &[OURS], true, Ignore),
            ("available, finalizer missing", made.clone(), "Available", "Delete", &[], false, Ignore),
            ("retained", made.clone(), "Released", "Retain", &[], false, Ignore),
            ("retained, still protected", made.clone(), "Bound", "Retain", &[OURS], false, Unprotect),
            ("recycled, still protected", made.clone(), "Released", "Recycle", &[OURS], true, Unprotect),
            (
                "made by another",
                json!({"pv.kubernetes.io/provisioned-by": "other"}),
                "Released",
                "Delete",
                &[OURS],
                false,
                Ignore,
            ),
            (
                "migrated to us",
                json!({"pv.kubernetes.io/provisioned-by": "in-tree", "pv.kubernetes.io/migrated-to": "test-driver"}),
                "Released",
                "Delete",
                &[OURS],
                false,
                Delete,
            ),
            ("static", json!({}), "Bound", "Delete", &[], false, Protect),
            ("static, released", json!({}), "Released", "Delete", &[OURS], false, Delete),
        ];
        for (name, annotations, phase, policy, finalizers, deleting, expected) in cases {
            let mut metadata =
                json!({"name": "pv", "uid": "u", "annotations": annotations, "finalizers": finalizers});
            if deleting {
                metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            let volume = volume(json!({
                "metadata": metadata,
                "spec": {
                    "persistentVolumeReclaimPolicy": policy,
                    "csi": {"driver": "test-driver", "volumeHandle": "h"},
                },
                "status": {"phase": phase},
            }));
            assert_eq!(decide(&volume, false, names("test-driver")), expected, "{name}");
        }
    }

    #[test]
    fn unbound_volume_goes_only_if_a_claim_waits_for_it() {
        let unbound = |phase: &str, policy: &str, finalizers: &[&str], deleting: bool| {
            let mut metadata = json!({"name": "pv", "uid": "u", "finalizers": finalizers});
            metadata["annotations"] = json!({"pv.kubernetes.io/provisioned-by": "test-driver"});
            if deleting {
                metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            volume(json!({
                "metadata": metadata,
                "spec": {
                    "persistentVolumeReclaimPolicy": policy,
                    "csi": {"driver": "test-driver", "volumeHandle": "h"},
                },
                "status": {"phase": phase},
            }))
        };
        for (name, volume, waits, expected) in [
            ("its claim waits", unbound("Pending", "Delete", &[OURS], true), true, DeleteUnbound),
            ("free, its claim waits", unbound("Available", "Delete", &[OURS], true), true, DeleteUnbound),
            ("no claim waits", unbound("Available", "Delete", &[OURS], true), false, Ignore),
            ("bound", unbound("Bound", "Delete", &[OURS], true), true, Ignore),
            ("not deleted", unbound("Available", "Delete", &[OURS], false), true, Ignore),
            ("finalizer gone", unbound("Available", "Delete", &["other"], true), true, Ignore),
            ("retained", unbound("Available", "Retain", &[OURS], true), true, Unprotect),
        ] {
            assert_eq!(decide(&volume, waits, names("test-driver")), expected, "{name}");
            assert_eq!(decide(&volume, waits, names("other-driver")), Ignore, "{name}, another's");
        }
    }

    /// What was provisioned for an in-tree class says so: the plugin made it.
    #[test]
    fn volumes_of_the_plugin_that_was_replaced_are_ours() {
        let (driver, plugin) = ("cinder.csi.openstack.org", "kubernetes.io/cinder");
        let ours = Names { driver, in_tree: Some(translation::Plugin::Cinder) };
        for (name, annotations, expected) in [
            ("made by the plugin", json!({PROVISIONED_BY: plugin}), Delete),
            ("made by the plugin, migrated", json!({PROVISIONED_BY: plugin, MIGRATED_TO: driver}), Delete),
            ("migrated only", json!({MIGRATED_TO: driver}), Delete),
            ("made by another plugin", json!({PROVISIONED_BY: "kubernetes.io/rbd"}), Ignore),
            ("nobody's", json!({}), Ignore),
        ] {
            let volume = volume(json!({
                "metadata": {"name": "pv", "annotations": annotations, "finalizers": [OURS]},
                "spec": {"cinder": {"volumeID": "id"}, "persistentVolumeReclaimPolicy": "Delete"},
                "status": {"phase": "Released"},
            }));
            assert_eq!(decide(&volume, false, ours), expected, "{name}");
            assert_eq!(decide(&volume, false, names("other")), Ignore, "{name}, for another driver");
        }
    }
}

//! Decides the next step for a volume (docs/upstream/attacher.md, "Event intake" and
//! "PersistentVolume finalizer").

use kubernetes::object::Volume;
use kubernetes::object::annotation::MIGRATED_TO;

/// The next step for a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Ignore,
    /// Remove our finalizer, if no attachment names the volume.
    Release,
    /// The same, if the volume is of an in-tree plugin: it is no longer migrated to us.
    RollBack,
}

/// Decides about a volume as it is now.
pub(crate) fn decide(volume: &Volume, driver: &str, finalizer: &str) -> Step {
    if !volume.meta.has_finalizer(finalizer) {
        return Step::Ignore;
    }
    if volume.meta.deleting {
        return Step::Release;
    }
    let migrated_to_us = volume.meta.annotations.get(MIGRATED_TO) == Some(driver);
    if volume.spec.csi.is_none() && !migrated_to_us { Step::RollBack } else { Step::Ignore }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{DRIVER, FINALIZER, volume};
    use serde_json::{Value, json};

    #[test]
    fn each_volume_leads_to_its_step() {
        use Step::*;
        let ours = || json!([FINALIZER]);
        let in_tree = || json!({"csi": null, "gcePersistentDisk": {"pdName": "d"}});
        let migrated = |driver: &str| json!({"pv.kubernetes.io/migrated-to": driver});
        let deleted = || json!("2026-01-01T00:00:00Z");
        for (name, finalizers, deletion, annotations, spec, expected) in [
            ("no finalizer", json!([]), Value::Null, json!({}), json!({}), Ignore),
            ("no finalizer, deleted", json!([]), deleted(), json!({}), json!({}), Ignore),
            (
                "another's finalizer, deleted",
                json!(["external-attacher/other"]),
                deleted(),
                json!({}),
                json!({}),
                Ignore,
            ),
            ("finalizer", ours(), Value::Null, json!({}), json!({}), Ignore),
            ("finalizer, deleted", ours(), deleted(), json!({}), json!({}), Release),
            (
                "two finalizers, deleted",
                json!(["other", FINALIZER]),
                deleted(),
                json!({}),
                json!({}),
                Release,
            ),
            ("in-tree, migrated to us", ours(), Value::Null, migrated(DRIVER), in_tree(), Ignore),
            ("in-tree, not migrated", ours(), Value::Null, json!({}), in_tree(), RollBack),
            ("in-tree, migrated to another", ours(), Value::Null, migrated("other"), in_tree(), RollBack),
            ("in-tree, not migrated, no finalizer", json!([]), Value::Null, json!({}), in_tree(), Ignore),
            ("in-tree, migrated to us, deleted", ours(), deleted(), migrated(DRIVER), in_tree(), Release),
        ] {
            let metadata =
                json!({"finalizers": finalizers, "deletionTimestamp": deletion, "annotations": annotations});
            let volume = volume(json!({"metadata": metadata, "spec": spec}));
            assert_eq!(decide(&volume, DRIVER, FINALIZER), expected, "{name}");
        }
    }
}

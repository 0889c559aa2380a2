//! Decides what becomes of a volume and its claim.

use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use kubernetes::object::annotation::{MIGRATED_TO, PROVISIONED_BY, PROVISIONER, PROVISIONER_BETA};
use translation::{Plugin, Plugins, Translation as _, TranslationError};

/// Who uses a volume now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Users {
    /// The nodes that it is attached to, or is to be.
    pub(crate) nodes: Vec<String>,
    /// The pods that mount its claim and have not ended, as `namespace/name`.
    pub(crate) pods: Vec<String>,
}

/// The volume as it would be stored: a CSI volume of the driver, which also counts as the one that made it.
///
/// # Errors
/// The volume cannot be translated.
pub(crate) fn converted(
    plugins: Plugins,
    plugin: Plugin,
    volume: PersistentVolume,
) -> Result<PersistentVolume, TranslationError> {
    let mut volume = plugins.to_csi(volume)?;
    rename(&mut volume.metadata, plugin, &[PROVISIONED_BY]);
    Ok(volume)
}

/// The claim as it would be stored: for the driver.
pub(crate) fn converted_claim(plugin: Plugin, mut claim: DynamicObject) -> DynamicObject {
    rename(&mut claim.metadata, plugin, &[PROVISIONER, PROVISIONER_BETA]);
    claim
}

/// Puts the driver's name where these annotations have the plugin's. A converted object is migrated to nobody.
fn rename(metadata: &mut ObjectMeta, plugin: Plugin, keys: &[&str]) {
    let Some(annotations) = &mut metadata.annotations else { return };
    annotations.remove(MIGRATED_TO);
    for (_, value) in annotations.iter_mut().filter(|(key, _)| keys.contains(&key.as_str())) {
        if value == plugin.name() {
            plugin.driver().clone_into(value);
        }
    }
}

/// What stands against converting the volume now.
pub(crate) fn obstacles(
    plugin: Plugin,
    volume: &PersistentVolume,
    converted: &PersistentVolume,
    users: &Users,
) -> Vec<String> {
    let mut found = Vec::new();
    if volume.metadata.deletion_timestamp.is_some() {
        found.push("it is being deleted".to_owned());
    }
    if !users.nodes.is_empty() {
        found.push(format!("it is attached to {}", users.nodes.join(", ")));
    }
    if !users.pods.is_empty() {
        found.push(format!("it is used by {}", users.pods.join(", ")));
    }
    let handle = converted.spec.as_ref().and_then(|spec| spec.csi.as_ref()).map(|csi| &csi.volume_handle);
    if handle.is_some_and(|handle| handle.split('/').any(|part| part == "UNSPECIFIED")) {
        found.push("its handle lacks the project or the zone: both must be known".to_owned());
    }
    if plugin == Plugin::Vsphere {
        found.push(
            "its handle is the path of the disk: the driver must know the disk by an id of its own"
                .to_owned(),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(annotations: Value, spec: Value) -> PersistentVolume {
        serde_json::from_value(json!({"metadata": {"name": "pv", "annotations": annotations}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn the_driver_counts_as_the_maker_of_a_converted_volume() {
        for (before, after) in [
            (
                json!({PROVISIONED_BY: "kubernetes.io/cinder", MIGRATED_TO: "cinder.csi.openstack.org", "a": "b"}),
                json!({PROVISIONED_BY: "cinder.csi.openstack.org", "a": "b"}),
            ),
            (json!({PROVISIONED_BY: "other"}), json!({PROVISIONED_BY: "other"})),
            (json!({}), json!({})),
        ] {
            let given = volume(before, json!({"cinder": {"volumeID": "id"}}));
            let found = converted(Plugins::default(), Plugin::Cinder, given).unwrap();
            assert_eq!(json!(found.metadata.annotations.unwrap_or_default()), after);
            assert_eq!(found.spec.unwrap().csi.unwrap().volume_handle, "id");
        }
    }

    #[test]
    fn a_converted_claim_is_the_drivers() {
        let (plugin, driver) = ("kubernetes.io/cinder", "cinder.csi.openstack.org");
        let annotations = json!({PROVISIONER: plugin, PROVISIONER_BETA: plugin, MIGRATED_TO: driver});
        let claim =
            serde_json::from_value(json!({"metadata": {"name": "c", "annotations": annotations}})).unwrap();
        let found = converted_claim(Plugin::Cinder, claim).metadata.annotations.unwrap();
        assert_eq!(json!(found), json!({PROVISIONER: driver, PROVISIONER_BETA: driver}));
    }

    #[test]
    fn obstacles_are_named() {
        let users =
            Users { nodes: vec!["n1".to_owned(), "n2".to_owned()], pods: vec!["default/web".to_owned()] };
        for (plugin, spec, users, expected) in [
            (Plugin::Cinder, json!({"cinder": {"volumeID": "id"}}), Users::default(), &[][..]),
            (
                Plugin::Cinder,
                json!({"cinder": {"volumeID": "id"}}),
                users,
                &["it is attached to n1, n2", "it is used by default/web"],
            ),
            (
                Plugin::GcePd,
                json!({"gcePersistentDisk": {"pdName": "d"}}),
                Users::default(),
                &["its handle lacks the project or the zone: both must be known"],
            ),
            (
                Plugin::Vsphere,
                json!({"vsphereVolume": {"volumePath": "p"}}),
                Users::default(),
                &["its handle is the path of the disk: the driver must know the disk by an id of its own"],
            ),
        ] {
            let before = volume(json!({}), spec);
            let after = converted(Plugins::default(), plugin, before.clone()).unwrap();
            assert_eq!(obstacles(plugin, &before, &after, &users), expected, "{plugin:?}");
        }
        let mut going = volume(json!({}), json!({"cinder": {"volumeID": "id"}}));
        going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(obstacles(Plugin::Cinder, &going, &going, &Users::default()), ["it is being deleted"]);
    }
}

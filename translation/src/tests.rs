//! What holds for every plugin.

mod driver_made;
mod round_trip;

use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::json;

use crate::fixture::{ALL, inline, to_csi, to_in_tree, volume};
use crate::{Plugin, Translation as _, TranslationError};

#[test]
fn an_object_without_a_matching_source_is_an_error() {
    let none = "the volume has no csi source, and no source of an in-tree plugin that a CSI driver replaces";
    assert_eq!(to_csi(volume(json!({"nfs": {"server": "s", "path": "/"}}))), Err(none.to_owned()));
    assert_eq!(to_csi(json!({"metadata": {"name": "pv"}})), Err(none.to_owned()));
    assert_eq!(inline(json!({"emptyDir": {}}), "ns"), Err(none.to_owned()));
    let csi = "the volume has no csi source";
    assert_eq!(to_in_tree(volume(json!({"cinder": {"volumeID": "id"}}))), Err(csi.to_owned()));
    let other = volume(json!({"csi": {"driver": "driver.example", "volumeHandle": "h"}}));
    assert_eq!(to_in_tree(other), Err("CSI driver driver.example replaces no in-tree plugin".to_owned()));
}

#[test]
fn a_plugin_refuses_the_source_of_another() {
    for plugin in Plugin::ALL {
        let own = plugin.operations();
        let empty = || serde_json::from_value(volume(json!({"nfs": {"server": "s", "path": "/"}}))).unwrap();
        assert_eq!(own.to_csi(empty()), Err(TranslationError::NoSource(plugin.name())));
        assert_eq!(own.to_in_tree(empty()), Err(TranslationError::NotCsi));
        let inline = serde_json::from_value(json!({"name": "v"})).unwrap();
        assert_eq!(own.inline(&inline, "ns"), Err(TranslationError::NoSource(plugin.name())));
    }
}

#[test]
fn only_handles_of_gce_disks_are_repaired() {
    for plugin in Plugin::ALL {
        let repaired = ALL.repaired_handle(plugin, "h", "n");
        assert_eq!(repaired.is_err(), plugin == Plugin::GcePd, "{plugin:?}");
    }
}

#[test]
fn only_two_plugins_change_the_provisioner_of_a_class() {
    for plugin in Plugin::ALL {
        let parameters = [("monitors", "m"), ("adminSecretName", "s")];
        let class = StorageClass {
            provisioner: plugin.name().to_owned(),
            parameters: Some(parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            reclaim_policy: Some("Delete".to_owned()),
            ..StorageClass::default()
        };
        let translated = ALL.class(plugin, class).unwrap();
        let changes = [Plugin::Portworx, Plugin::Rbd].contains(&plugin);
        let expected = if changes { plugin.driver() } else { plugin.name() };
        assert_eq!(translated.provisioner, expected, "{plugin:?}");
        assert_eq!(translated.reclaim_policy.as_deref(), Some("Delete"), "the rest stays");
    }
}

use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use crate::fixture::{ALL, inline, parameters, to_csi, to_in_tree, volume};
use crate::plugin::Plugin::Portworx;
use crate::translation::Translation as _;

#[test]
fn the_secret_of_a_class_is_that_of_every_stage() {
    let stages = [
        "provisioner",
        "controller-publish",
        "node-publish",
        "node-stage",
        "controller-expand",
        "node-expand",
    ];
    let mut expected = json!({"repl": "2", "fs": "ext4"});
    for stage in stages {
        expected[format!("csi.storage.k8s.io/{stage}-secret-name")] = "s".into();
        expected[format!("csi.storage.k8s.io/{stage}-secret-namespace")] = "n".into();
    }
    let given = json!({
        "repl": "2", "fs": "ext4", "openstorage.io/auth-secret-name": "s", "OpenStorage.io/auth-secret-namespace": "n",
    });
    assert_eq!(parameters(Portworx, given), Ok(expected));
}

#[test]
fn the_provisioner_of_a_class_changes() {
    let class =
        StorageClass { provisioner: "kubernetes.io/portworx-volume".to_owned(), ..StorageClass::default() };
    assert_eq!(ALL.class(Portworx, class).unwrap().provisioner, "pxd.portworx.com");
}

#[test]
fn annotations_name_the_secret_of_five_stages() {
    let (name, namespace) = ("openstorage.io/auth-secret-name", "openstorage.io/auth-secret-namespace");
    let secret = json!({"name": "s", "namespace": "n"});
    for (annotations, expected) in [
        (json!({name: "s", namespace: "n"}), Some(secret)),
        (json!({name: "s"}), None),
        (json!({namespace: "n"}), None),
    ] {
        let mut given =
            volume(json!({"portworxVolume": {"volumeID": "id", "fsType": "ext4", "readOnly": true}}));
        given["metadata"]["annotations"] = annotations.clone();
        let mut csi = json!({"driver": "pxd.portworx.com", "volumeHandle": "id", "fsType": "ext4"});
        for stage in ["controllerPublish", "nodeStage", "nodePublish", "controllerExpand", "nodeExpand"] {
            if let Some(secret) = &expected {
                csi[format!("{stage}SecretRef")] = secret.clone();
            }
        }
        assert_eq!(to_csi(given).unwrap()["spec"], json!({"csi": csi}), "{annotations}");
    }
}

#[test]
fn a_volume_comes_back() {
    let csi = json!({"driver": "pxd.portworx.com", "volumeHandle": "id", "fsType": "ext4", "readOnly": true});
    let source = json!({"volumeID": "id", "fsType": "ext4", "readOnly": true});
    assert_eq!(to_in_tree(volume(json!({"csi": csi}))).unwrap()["spec"], json!({"portworxVolume": source}));
}

#[test]
fn a_pods_volume_is_read_by_many_if_read_only() {
    for (read_only, mode) in [(json!(true), "ReadOnlyMany"), (Value::Null, "ReadWriteOnce")] {
        let expected = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pxd.portworx.com-id"},
            "spec": {
                "accessModes": [mode], "volumeMode": "Filesystem",
                "csi": {"driver": "pxd.portworx.com", "volumeHandle": "id", "fsType": "ext4"},
            },
        });
        let source = json!({"portworxVolume": {"volumeID": "id", "fsType": "ext4", "readOnly": read_only}});
        assert_eq!(inline(source, "ns"), Ok(expected));
    }
}

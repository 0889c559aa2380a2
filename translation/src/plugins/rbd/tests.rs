use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use crate::error::TranslationError;
use crate::fixture::{ALL, inline, parameters, to_csi, to_in_tree, volume};
use crate::plugin::Plugin::Rbd;
use crate::translation::{Plugins, Translation as _};

const HANDLE: &str = "rbd.csi.ceph.com/volume-handle";
/// The md5 of "10.70.53.126:6789,10.70.53.156:6789".
const MD5: &str = "7982de6a23b77bce50b1ba9f2e879cce";

#[test]
fn parameters_of_a_class() {
    let secret = |name: &str, namespace: &str| {
        let mut parameters = json!({});
        for stage in ["provisioner", "node-stage", "controller-expand"] {
            parameters[format!("csi.storage.k8s.io/{stage}-secret-name")] = name.into();
            parameters[format!("csi.storage.k8s.io/{stage}-secret-namespace")] = namespace.into();
        }
        parameters
    };
    let monitors = "10.70.53.126:6789,10.70.53.156:6789";
    let mut least = secret("s", "default");
    for (name, value) in [("migration", "true"), ("pool", "rbd"), ("monitors", monitors), ("clusterID", MD5)]
    {
        least[name] = value.into();
    }
    assert_eq!(parameters(Rbd, json!({"monitors": monitors, "adminSecretName": "s"})), Ok(least.clone()));
    let mut most = secret("s", "n");
    for (name, value) in [
        ("migration", "true"),
        ("pool", "p"),
        ("monitors", monitors),
        ("clusterID", MD5),
        ("imageFeatures", "f"),
        ("imageFormat", "2"),
        ("adminId", "root"),
        ("csi.storage.k8s.io/fstype", "xfs"),
    ] {
        most[name] = value.into();
    }
    let given = json!({
        "Monitors": monitors, "adminsecretname": "s", "adminSecretNamespace": "n", "POOL": "p", "imagefeatures": "f",
        "imageFormat": "2", "adminId": "root", "fsType": "xfs", "userId": "dropped",
    });
    assert_eq!(parameters(Rbd, given), Ok(most));
    for (given, missing) in [
        (json!({"monitors": "m"}), "adminSecretName"),
        (json!({"monitors": "m", "adminSecretName": ""}), "adminSecretName"),
        (json!({"adminSecretName": "s"}), "monitors"),
        (json!({"adminSecretName": "s", "monitors": ""}), "monitors"),
    ] {
        assert_eq!(parameters(Rbd, given), Err(format!("the class lacks the parameter {missing}")));
    }
}

#[test]
fn a_volume_without_a_noted_handle_gets_one_made_of_its_parts() {
    let secret = json!({"name": "s", "namespace": "n"});
    let source = json!({
        "image": "kubernetes-dynamic-pvc-e0b45b52-7e09-47d3-8f1b-806995fa4412", "pool": "replicapool", "fsType": "ext4",
        "monitors": ["10.70.53.126:6789", "10.70.53.156:6789"], "secretRef": secret,
    });
    let csi = json!({
        "driver": "rbd.csi.ceph.com", "fsType": "ext4",
        "volumeHandle": format!("mig_mons-{MD5}_image-e0b45b52-7e09-47d3-8f1b-806995fa4412_7265706c696361706f6f6c"),
        "nodeStageSecretRef": secret, "controllerExpandSecretRef": secret,
        "volumeAttributes": {
            "clusterID": MD5, "imageFeatures": "layering", "imageFormat": "", "journalPool": "", "migration": "true",
            "imageName": "kubernetes-dynamic-pvc-e0b45b52-7e09-47d3-8f1b-806995fa4412", "pool": "replicapool",
            "staticVolume": "true", "tryOtherMounters": "true",
        },
    });
    let given = volume(json!({"rbd": source, "accessModes": ["ReadWriteMany"]}));
    assert_eq!(to_csi(given).unwrap()["spec"], json!({"csi": csi, "accessModes": ["ReadWriteOnce"]}));
}

#[test]
fn a_noted_handle_is_taken_with_its_cluster() {
    let mut given = volume(json!({"rbd": {"image": "i", "monitors": ["m"], "readOnly": true}}));
    given["metadata"]["annotations"] = json!({
        HANDLE: "h", "clusterID": "c", "imageFeatures": "deep", "imageFormat": "2", "journalPool": "j",
    });
    let spec = to_csi(given).unwrap()["spec"].clone();
    let attributes = json!({
        "clusterID": "c", "imageFeatures": "deep", "imageFormat": "2", "journalPool": "j", "imageName": "i", "pool": "",
        "migration": "true", "tryOtherMounters": "true",
    });
    let csi = json!({"driver": "rbd.csi.ceph.com", "volumeHandle": "h", "volumeAttributes": attributes});
    assert_eq!(spec, json!({"csi": csi, "accessModes": ["ReadOnlyMany"]}));
}

#[test]
fn a_volume_comes_back_with_annotations_and_without_monitors() {
    let csi = json!({
        "driver": "rbd.csi.ceph.com", "volumeHandle": "h", "fsType": "ext4", "readOnly": true,
        "volumeAttributes": {"clusterID": "c", "imageName": "i", "pool": "p", "imageFeatures": "f", "journalPool": "j"},
        "nodeStageSecretRef": {"name": "s", "namespace": "n"},
    });
    let translated = to_in_tree(volume(json!({"csi": csi}))).unwrap();
    let source = json!({
        "image": "i", "pool": "p", "user": "admin", "monitors": [""], "fsType": "ext4", "readOnly": true,
        "secretRef": {"name": "s", "namespace": "n"},
    });
    assert_eq!(translated["spec"], json!({"rbd": source}));
    let noted =
        json!({HANDLE: "h", "clusterID": "c", "journalPool": "j", "imageFeatures": "f", "imageFormat": ""});
    assert_eq!(translated["metadata"]["annotations"], noted);
    let user =
        json!({"driver": "rbd.csi.ceph.com", "volumeHandle": "h", "volumeAttributes": {"adminId": "root"}});
    assert_eq!(to_in_tree(volume(json!({"csi": user}))).unwrap()["spec"]["rbd"]["user"], "root");
}

#[test]
fn a_pods_volume_has_its_secret_in_the_pods_namespace() {
    for (pool, read_only, secret, expected_pool, mode) in [
        (Value::Null, false, Value::Null, "rbd", "ReadWriteOnce"),
        (json!("p"), true, json!({"name": "s"}), "p", "ReadOnlyMany"),
    ] {
        let source = json!({"rbd": {
            "image": "i", "monitors": ["10.70.53.126:6789", "10.70.53.156:6789"], "pool": pool, "readOnly": read_only,
            "secretRef": secret,
        }});
        let volume = inline(source, "ns").unwrap();
        assert_eq!(volume["metadata"]["name"], "rbd.csi.ceph.com-i");
        assert_eq!(volume["spec"]["accessModes"], json!([mode]));
        let mut csi = json!({
            "driver": "rbd.csi.ceph.com", "volumeHandle": "i",
            "volumeAttributes": {"clusterID": MD5, "pool": expected_pool, "staticVolume": "true", "imageFeatures": "layering"},
        });
        if !secret.is_null() {
            csi["nodeStageSecretRef"] = json!({"name": "s", "namespace": "ns"});
            csi["controllerExpandSecretRef"] = csi["nodeStageSecretRef"].clone();
        }
        assert_eq!(volume["spec"]["csi"], csi);
    }
}

#[test]
fn nothing_is_translated_unless_it_is_asked_for() {
    let without = Plugins::default();
    let error = without.class(Rbd, StorageClass::default()).unwrap_err();
    assert!(matches!(error, TranslationError::NotEnabled { .. }));
    assert!(error.to_string().contains("CSIMigrationRBD"), "{error}");
    assert_eq!((without.of_driver("rbd.csi.ceph.com"), ALL.of_driver("rbd.csi.ceph.com")), (None, Some(Rbd)));
    let in_tree = volume(json!({"rbd": {"image": "i", "monitors": ["m"]}}));
    assert!(without.to_csi(serde_json::from_value(in_tree).unwrap()).is_err());
    let csi = volume(json!({"csi": {"driver": "rbd.csi.ceph.com", "volumeHandle": "h"}}));
    assert!(without.to_in_tree(serde_json::from_value(csi).unwrap()).is_err());
    assert!(without.repaired_handle(Rbd, "h", "n").is_err());
}

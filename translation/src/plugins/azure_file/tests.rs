use serde_json::{Value, json};

use crate::fixture::{inline, parameters, to_csi, to_in_tree, volume};
use crate::plugin::Plugin::AzureFile;

const GROUP: &str = "kubernetes.io/azure-file-resource-group";

#[test]
fn a_class_stays_as_it_is() {
    let given = json!({"fstype": "ext4", "zone": "a", "skuName": "Standard_LRS"});
    assert_eq!(parameters(AzureFile, given.clone()), Ok(given));
}

#[test]
fn the_account_is_read_from_the_secrets_name() {
    for (secret, account) in [
        ("azure-storage-account-acc-secret", "acc"),
        ("azure-storage-account-a-secret-secret", "a-secret"),
        ("azure-storage-account--secret", "azure-storage-account--secret"),
        ("azure-storage-account-acc", "azure-storage-account-acc"),
        ("mine", "mine"),
    ] {
        let source =
            json!({"azureFile": {"secretName": secret, "shareName": "share", "secretNamespace": "sns"}});
        let translated = to_csi(volume(source)).unwrap();
        assert_eq!(translated["spec"]["csi"]["volumeHandle"], format!("#{account}#share#pv#sns"));
    }
}

#[test]
fn the_secrets_namespace_is_the_sources_or_the_claims() {
    let of = |source: Value, claim: Value| {
        let mut source = source;
        (source["secretName"], source["shareName"]) = ("s".into(), "share".into());
        to_csi(volume(json!({"azureFile": source, "claimRef": claim})))
            .map(|volume| volume["spec"]["csi"]["nodeStageSecretRef"]["namespace"].clone())
    };
    let claim = json!({"namespace": "claims", "name": "c"});
    assert_eq!(of(json!({"secretNamespace": "sources"}), claim.clone()), Ok("sources".into()));
    assert_eq!(of(json!({}), claim.clone()), Ok("claims".into()));
    let missing =
        "neither spec.azureFile.secretNamespace nor spec.claimRef tells the namespace of the share's Secret";
    assert_eq!(of(json!({}), Value::Null), Err(missing.to_owned()));
    assert_eq!(of(json!({"secretNamespace": ""}), claim), Err(missing.to_owned()));
}

#[test]
fn a_volume_has_share_secret_and_resource_group() {
    let mut given = volume(json!({
        "azureFile": {"secretName": "s", "shareName": "share", "secretNamespace": "sns", "readOnly": true},
    }));
    given["metadata"]["annotations"] = json!({GROUP: "rg"});
    let csi = json!({
        "driver": "file.csi.azure.com", "volumeHandle": "rg#s#share#pv#sns", "readOnly": true,
        "volumeAttributes": {"sharename": "share"}, "nodeStageSecretRef": {"name": "s", "namespace": "sns"},
    });
    assert_eq!(to_csi(given).unwrap()["spec"], json!({"csi": csi}));
}

#[test]
fn what_attributes_lack_is_in_the_handle() {
    let stage = json!({"name": "staged", "namespace": "there"});
    for (attributes, secret, handle, expected, group) in [
        (
            json!({"shareName": "a", "SecretName": "b", "secretNamespace": "c"}),
            Value::Null,
            "",
            ["a", "b", "c"],
            None,
        ),
        (json!({"sharename": "a", "secretname": "b"}), Value::Null, "rg#acc#x", ["a", "b", "default"], None),
        (json!({"sharename": "a", "secretname": "b"}), stage.clone(), "", ["a", "staged", "there"], None),
        (json!({}), stage, "rg#acc#share#disk", ["share", "staged", "there"], Some("rg")),
        (
            json!({"sharename": "a"}),
            Value::Null,
            "rg#acc#share",
            ["a", "azure-storage-account-acc-secret", "default"],
            Some("rg"),
        ),
        (json!({"secretname": "b"}), Value::Null, "#acc#share#v#n", ["share", "b", "default"], None),
    ] {
        let csi = json!({"driver": "file.csi.azure.com", "volumeHandle": handle, "volumeAttributes": attributes, "nodeStageSecretRef": secret});
        let translated = to_in_tree(volume(json!({"csi": csi}))).unwrap();
        let [share, secret, namespace] = expected;
        let source = json!({"shareName": share, "secretName": secret, "secretNamespace": namespace});
        assert_eq!(translated["spec"]["azureFile"], source);
        assert_eq!(translated["metadata"]["annotations"][GROUP].as_str(), group);
    }
    let csi = json!({"driver": "file.csi.azure.com", "volumeHandle": "rg#acc"});
    let error = to_in_tree(volume(json!({"csi": csi}))).unwrap_err();
    assert_eq!(error, "volume handle rg#acc has no share: it must be <resource group>#<account>#<share>#...");
}

#[test]
fn a_pods_volume_has_its_secret_in_the_pods_namespace() {
    for (namespace, expected) in [("pods", "pods"), ("", "default")] {
        let source =
            json!({"azureFile": {"secretName": "azure-storage-account-a-secret", "shareName": "share"}});
        let handle = format!("#a#share#vol#{expected}");
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": handle},
            "spec": {
                "accessModes": ["ReadWriteMany"], "volumeMode": "Filesystem",
                "csi": {
                    "driver": "file.csi.azure.com", "volumeHandle": handle, "volumeAttributes": {"sharename": "share"},
                    "nodeStageSecretRef": {"name": "azure-storage-account-a-secret", "namespace": expected},
                },
            },
        });
        assert_eq!(inline(source, namespace), Ok(volume));
    }
}

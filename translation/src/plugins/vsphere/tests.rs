use serde_json::{Value, json};

use crate::fixture::{affinity, class, inline, parameters, to_csi, to_in_tree, topology, volume};
use crate::plugin::Plugin::Vsphere;

const GA: &str = "topology.kubernetes.io/zone";
const GA_REGION: &str = "topology.kubernetes.io/region";
const BETA: &str = "failure-domain.beta.kubernetes.io/zone";
const BETA_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const ZONE: &str = "topology.csi.vmware.com/zone";
const REGION: &str = "topology.csi.vmware.com/region";

#[test]
fn only_known_parameters_of_a_class_survive() {
    let given = json!({
        "fstype": "ext4", "StoragePolicyName": "gold", "datastore": "1", "diskFormat": "2", "hostFailuresToTolerate": "3",
        "forceProvisioning": "4", "cacheReservation": "5", "diskStripes": "6", "objectSpaceReservation": "7",
        "iopsLimit": "8", "zone": "z", "other": "o",
    });
    let expected = json!({
        "csi.storage.k8s.io/fstype": "ext4", "storagepolicyname": "gold", "datastore-migrationparam": "1",
        "diskformat-migrationparam": "2", "forceprovisioning-migrationparam": "4", "cachereservation-migrationparam": "5",
        "diskstripes-migrationparam": "6", "objectspacereservation-migrationparam": "7", "iopslimit-migrationparam": "8",
        "csimigration": "true",
    });
    // hostFailuresToTolerate is hostfailurestotolerate in lower case, with its s.
    assert_eq!(parameters(Vsphere, given), Ok(with(expected, "hostfailurestotolerate-migrationparam", "3")));
    assert_eq!(parameters(Vsphere, json!({})), Ok(json!({"csimigration": "true"})));
    assert_eq!(class(Vsphere, json!({}), topology(BETA, &["a"])).unwrap().1, topology(ZONE, &["a"]));
}

fn with(mut object: Value, name: &str, value: &str) -> Value {
    object[name] = value.into();
    object
}

fn labelled(spec: Value, labels: Value) -> Value {
    let mut volume = volume(spec);
    volume["metadata"]["labels"] = labels;
    volume
}

#[test]
fn the_path_is_the_handle_and_the_policy_an_attribute() {
    for (policy, attributes) in [
        (Value::Null, Value::Null),
        ("".into(), Value::Null),
        ("gold".into(), json!({"storagepolicyname": "gold"})),
    ] {
        let source = json!({"volumePath": "[ds] a.vmdk", "fsType": "ext4", "storagePolicyName": policy, "storagePolicyID": "id"});
        let csi = to_csi(volume(json!({"vsphereVolume": source}))).unwrap()["spec"]["csi"].clone();
        assert_eq!((&csi["volumeHandle"], &csi["fsType"]), (&json!("[ds] a.vmdk"), &json!("ext4")));
        assert_eq!(csi["volumeAttributes"], attributes);
    }
}

#[test]
fn zone_and_region_are_translated_each_by_itself() {
    let source = || json!({"volumePath": "p"});
    for (labels, before, after) in [
        (
            json!({}),
            affinity(&[&[(GA, &["z"]), (GA_REGION, &["r"])]]),
            affinity(&[&[(ZONE, &["z"]), (REGION, &["r"])]]),
        ),
        (
            json!({}),
            affinity(&[&[(BETA, &["z"]), (BETA_REGION, &["r"])]]),
            affinity(&[&[(ZONE, &["z"]), (REGION, &["r"])]]),
        ),
        (
            json!({GA: "z__y", GA_REGION: "r"}),
            Value::Null,
            affinity(&[&[(ZONE, &["z__y"]), (REGION, &["r"])]]),
        ),
        (json!({BETA: "z", BETA_REGION: "r"}), Value::Null, affinity(&[&[(ZONE, &["z"]), (REGION, &["r"])]])),
        (
            json!({GA_REGION: "r"}),
            affinity(&[&[(GA, &["z"])]]),
            affinity(&[&[(ZONE, &["z"]), (REGION, &["r"])]]),
        ),
        (json!({BETA_REGION: "r"}), Value::Null, Value::Null),
        (json!({GA: ""}), Value::Null, Value::Null),
    ] {
        let given = labelled(json!({"vsphereVolume": source(), "nodeAffinity": before}), labels.clone());
        assert_eq!(to_csi(given).unwrap()["spec"]["nodeAffinity"], after, "{labels}");
    }
}

#[test]
fn a_volume_comes_back_with_the_path_that_the_driver_told() {
    let csi = json!({
        "driver": "csi.vsphere.vmware.com", "volumeHandle": "id", "fsType": "ext4",
        "volumeAttributes": {"initialvolumefilepath": "[ds] a.vmdk"},
    });
    let required = affinity(&[&[(ZONE, &["z2"]), (REGION, &["r"])], &[(ZONE, &["z1"])]]);
    let expected = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "pv", "labels": {GA: "z1", GA_REGION: "r"}},
        "spec": {
            "vsphereVolume": {"volumePath": "[ds] a.vmdk", "fsType": "ext4"},
            "nodeAffinity": affinity(&[&[(GA, &["z2"]), (GA_REGION, &["r"])], &[(GA, &["z1"])]]),
        },
    });
    assert_eq!(to_in_tree(volume(json!({"csi": csi, "nodeAffinity": required}))), Ok(expected));
    let bare = json!({"driver": "csi.vsphere.vmware.com", "volumeHandle": "id"});
    assert_eq!(to_in_tree(volume(json!({"csi": bare}))).unwrap()["spec"]["vsphereVolume"]["volumePath"], "");
}

#[test]
fn a_pods_volume_keeps_its_policy() {
    let source = json!({"vsphereVolume": {"volumePath": "p", "storagePolicyName": "gold"}});
    let expected = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "csi.vsphere.vmware.com-p"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "csi": {
                "driver": "csi.vsphere.vmware.com", "volumeHandle": "p",
                "volumeAttributes": {"storagepolicyname": "gold"},
            },
        },
    });
    assert_eq!(inline(source, "ns"), Ok(expected));
}

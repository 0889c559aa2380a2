use serde_json::{Value, json};

use crate::fixture::{class, inline, parameters, to_csi, to_in_tree, topology, volume};
use crate::plugin::Plugin::AzureDisk;

const GA: &str = "topology.kubernetes.io/zone";
const CSI: &str = "topology.disk.csi.azure.com/zone";
const URI: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/name";

#[test]
fn parameters_of_a_class_keep_their_names() {
    let given = json!({"fstype": "ext4", "StorageAccountType": "Premium_LRS"});
    assert_eq!(parameters(AzureDisk, given.clone()), Ok(given));
}

#[test]
fn zones_of_digits_become_empty() {
    for (given, topologies, values) in [
        (json!({"zone": "westus-1"}), Value::Null, &["westus-1"][..]),
        (json!({"zones": "westus-1,0"}), Value::Null, &["westus-1", ""]),
        (json!({}), topology(GA, &["0", "12", "1a"]), &["", "", "1a"]),
        (json!({}), topology(CSI, &["2"]), &[""]),
    ] {
        assert_eq!(class(AzureDisk, given, topologies).unwrap().1, topology(CSI, values));
    }
    let other = topology("example.com/rack", &["0"]);
    assert_eq!(class(AzureDisk, json!({}), other.clone()).unwrap().1, other);
    assert!(class(AzureDisk, json!({"zone": "0"}), topology(GA, &["0"])).is_err());
}

#[test]
fn attributes_say_what_the_source_says() {
    let kind = json!({"kind": "Managed"});
    for (source, csi) in [
        (json!({}), json!({"volumeAttributes": kind})),
        (json!({"kind": "managed"}), json!({"volumeAttributes": kind})),
        (json!({"cachingMode": ""}), json!({"volumeAttributes": {"kind": "Managed", "cachingmode": ""}})),
        (
            json!({"cachingMode": "ReadOnly", "fsType": "xfs", "readOnly": true}),
            json!({
                "volumeAttributes": {"kind": "Managed", "cachingmode": "ReadOnly", "fstype": "xfs"},
                "fsType": "xfs", "readOnly": true,
            }),
        ),
    ] {
        let (mut source, mut csi) = (source, csi);
        (source["diskName"], source["diskURI"]) = ("name".into(), URI.into());
        (csi["driver"], csi["volumeHandle"]) = ("disk.csi.azure.com".into(), URI.into());
        assert_eq!(to_csi(volume(json!({"azureDisk": source}))), Ok(volume(json!({"csi": csi}))));
    }
}

#[test]
fn only_managed_disks_have_a_csi_form() {
    for kind in ["Shared", "Dedicated"] {
        let source = json!({"azureDisk": {"diskName": "n", "diskURI": URI, "kind": kind}});
        let text = format!("Azure disks of kind {kind} have no CSI form: only Managed ones have");
        assert_eq!(to_csi(volume(source.clone())), Err(text.clone()));
        assert_eq!(inline(source, "ns"), Err(text));
    }
}

#[test]
fn the_disks_name_is_the_end_of_its_uri() {
    let managed =
        |end: &str| format!("x/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/{end}");
    for (uri, name) in [
        (URI.to_owned(), Some("name")),
        (managed("name"), Some("name")),
        (managed("a/b"), Some("a/b")),
        ("https://account.blob.core.windows.net/vhds/name.vhd".to_owned(), Some("name.vhd")),
        ("http://a/vhds/vhds/b".to_owned(), Some("b")),
        ("http://a/vhds/vhds/".to_owned(), Some("vhds/")),
        (managed(""), None),
        ("/subscriptions/s/providers/Microsoft.Compute/disks/name".to_owned(), None),
        ("https://a/disks/name".to_owned(), None),
        ("name".to_owned(), None),
        (String::new(), None),
    ] {
        let given = volume(json!({"csi": {"driver": "disk.csi.azure.com", "volumeHandle": uri}}));
        match (to_in_tree(given), name) {
            (Ok(translated), Some(name)) => {
                let source = json!({"diskName": name, "diskURI": uri, "kind": "Managed", "fsType": "", "readOnly": false});
                assert_eq!(translated["spec"]["azureDisk"], source);
            }
            (Err(error), None) => {
                assert!(error.starts_with(&format!("{uri} does not name an Azure disk")), "{error}")
            }
            (outcome, _) => panic!("{uri}: {outcome:?}"),
        }
    }
}

#[test]
fn attributes_come_back_however_they_are_spelt() {
    let csi = json!({
        "driver": "disk.csi.azure.com", "volumeHandle": URI, "fsType": "ext4", "readOnly": true,
        "volumeAttributes": {"CachingMode": "None", "FSTYPE": "xfs", "skuName": "x"},
    });
    let source = json!({
        "diskName": "name", "diskURI": URI, "kind": "Managed", "cachingMode": "None", "fsType": "xfs", "readOnly": true,
    });
    assert_eq!(to_in_tree(volume(json!({"csi": csi}))).unwrap()["spec"], json!({"azureDisk": source}));
    let empty = json!({
        "driver": "disk.csi.azure.com", "volumeHandle": URI, "fsType": "ext4",
        "volumeAttributes": {"cachingmode": "", "fstype": ""},
    });
    let source =
        json!({"diskName": "name", "diskURI": URI, "kind": "Managed", "fsType": "ext4", "readOnly": false});
    assert_eq!(to_in_tree(volume(json!({"csi": empty}))).unwrap()["spec"], json!({"azureDisk": source}));
}

#[test]
fn a_pods_volume_is_named_by_the_uri() {
    let source = json!({"azureDisk": {"diskName": "n", "diskURI": URI, "cachingMode": "", "fsType": "xfs"}});
    let expected = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": URI},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "csi": {
                "driver": "disk.csi.azure.com", "volumeHandle": URI, "fsType": "xfs",
                "volumeAttributes": {"kind": "Managed", "fstype": "xfs"},
            },
        },
    });
    assert_eq!(inline(source, "ns"), Ok(expected));
}

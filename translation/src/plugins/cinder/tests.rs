use serde_json::{Value, json};

use crate::fixture::{affinity, class, inline, parameters, to_csi, to_in_tree, topology, volume};
use crate::plugin::Plugin::Cinder;

const GA: &str = "topology.kubernetes.io/zone";
const BETA: &str = "failure-domain.beta.kubernetes.io/zone";
const CSI: &str = "topology.cinder.csi.openstack.org/zone";

#[test]
fn only_the_file_system_is_renamed_in_a_class() {
    for (given, expected) in [
        (json!({"fstype": "xfs"}), json!({"csi.storage.k8s.io/fstype": "xfs"})),
        (json!({"FSType": "xfs"}), json!({"csi.storage.k8s.io/fstype": "xfs"})),
        (json!({"availability": "nova", "Type": "ssd"}), json!({"availability": "nova", "Type": "ssd"})),
        (json!({"zone": "a"}), json!({"zone": "a"})),
        (json!({}), Value::Null),
    ] {
        assert_eq!(parameters(Cinder, given.clone()), Ok(expected), "{given}");
    }
}

#[test]
fn zones_of_allowed_topologies_get_the_drivers_key() {
    for key in [GA, BETA] {
        let (_, translated) = class(Cinder, json!({}), topology(key, &["nova", "east"])).unwrap();
        assert_eq!(translated, topology(CSI, &["nova", "east"]));
    }
    let other = topology("example.com/rack", &["1"]);
    assert_eq!(class(Cinder, json!({}), other.clone()).unwrap().1, other);
}

#[test]
fn a_volume_becomes_csi_and_its_secret_is_dropped() {
    let secret = json!({"name": "s", "namespace": "n"});
    let given = volume(json!({
        "accessModes": ["ReadWriteOnce"],
        "cinder": {"volumeID": "id", "fsType": "ext4", "readOnly": true, "secretRef": secret},
    }));
    let expected = volume(json!({
        "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": "cinder.csi.openstack.org", "volumeHandle": "id", "fsType": "ext4", "readOnly": true},
    }));
    assert_eq!(to_csi(given), Ok(expected));
}

#[test]
fn a_volume_becomes_in_tree_and_gets_no_region() {
    let csi = json!({"driver": "cinder.csi.openstack.org", "volumeHandle": "id", "fsType": "ext4"});
    let given = volume(json!({"csi": csi, "nodeAffinity": affinity(&[&[(CSI, &["nova"])]])}));
    let expected = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "pv", "labels": {GA: "nova"}},
        "spec": {"cinder": {"volumeID": "id", "fsType": "ext4"}, "nodeAffinity": affinity(&[&[(GA, &["nova"])]])},
    });
    assert_eq!(to_in_tree(given), Ok(expected));
}

#[test]
fn a_pods_volume_is_named_after_the_disk() {
    let expected = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "cinder.csi.openstack.org-id"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "csi": {"driver": "cinder.csi.openstack.org", "volumeHandle": "id", "fsType": "ext4", "readOnly": true},
        },
    });
    let source = json!({"cinder": {"volumeID": "id", "fsType": "ext4", "readOnly": true}});
    assert_eq!(inline(source, "ns"), Ok(expected));
}

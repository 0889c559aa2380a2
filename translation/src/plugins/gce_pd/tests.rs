use serde_json::{Value, json};

use crate::fixture::{ALL, affinity, class, inline, parameters, to_csi, to_in_tree, topology, volume};
use crate::plugin::Plugin::GcePd;
use crate::translation::Translation as _;

const GA: &str = "topology.kubernetes.io/zone";
const BETA: &str = "failure-domain.beta.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const BETA_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const CSI: &str = "topology.gke.io/zone";

fn csi(handle: &str) -> Value {
    json!({"driver": "pd.csi.storage.gke.io", "volumeHandle": handle})
}

#[test]
fn parameters_and_zones_of_a_class() {
    let renamed = json!({"csi.storage.k8s.io/fstype": "ext4", "type": "pd-ssd"});
    assert_eq!(parameters(GcePd, json!({"fstype": "ext4", "type": "pd-ssd"})), Ok(renamed));
    for (given, topologies, expected) in [
        (json!({"zone": "us-central1-a"}), Value::Null, topology(CSI, &["us-central1-a"])),
        (json!({"zones": "a,b"}), Value::Null, topology(CSI, &["a", "b"])),
        (json!({}), topology(GA, &["a"]), topology(CSI, &["a"])),
        (json!({}), topology(BETA, &["a"]), topology(CSI, &["a"])),
        (json!({}), topology("other", &["a"]), topology("other", &["a"])),
        (json!({}), Value::Null, Value::Null),
    ] {
        assert_eq!(
            class(GcePd, given.clone(), topologies).map(|(_, topologies)| topologies),
            Ok(expected),
            "{given}"
        );
    }
    assert!(class(GcePd, json!({"zones": "a"}), topology(CSI, &["a"])).is_err());
}

#[test]
fn the_zone_label_makes_the_handle() {
    for (labels, expected) in [
        (json!({}), Ok("projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d")),
        (json!({GA: "us-central1-a"}), Ok("projects/UNSPECIFIED/zones/us-central1-a/disks/d")),
        (json!({GA: ""}), Ok("projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d")),
        (
            json!({BETA: "us-central1-b", GA: "us-central1-a"}),
            Ok("projects/UNSPECIFIED/zones/us-central1-b/disks/d"),
        ),
        (json!({BETA: "", GA: "us-central1-a"}), Ok("projects/UNSPECIFIED/zones/us-central1-a/disks/d")),
        (json!({GA: "us-central1-a__us-central1-c"}), Ok("projects/UNSPECIFIED/regions/us-central1/disks/d")),
        (
            json!({GA: "us-central1-a__us-east1-c"}),
            Err("the zones [us-central1-a, us-east1-c] are of 2 regions"),
        ),
        (json!({GA: "one__two"}), Err("zone \"one\" does not tell its region")),
        (json!({GA: "__"}), Err("zone \"\" does not tell its region")),
    ] {
        let mut given = volume(json!({"gcePersistentDisk": {"pdName": "d"}}));
        given["metadata"]["labels"] = labels.clone();
        match (to_csi(given), expected) {
            (Ok(translated), Ok(handle)) => {
                assert_eq!(translated["spec"]["csi"]["volumeHandle"], handle, "{labels}")
            }
            (Err(error), Err(text)) => assert!(error.starts_with(text), "{error}"),
            (outcome, _) => panic!("{labels}: {outcome:?}"),
        }
    }
}

#[test]
fn source_and_partition_are_carried_over() {
    for (partition, expected) in [(Value::Null, ""), (json!(0), ""), (json!(2), "2")] {
        let source = json!({"pdName": "d", "fsType": "ext4", "readOnly": true, "partition": partition});
        let translated = to_csi(volume(json!({"gcePersistentDisk": source}))).unwrap();
        let csi = json!({
            "driver": "pd.csi.storage.gke.io", "volumeHandle": "projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d",
            "fsType": "ext4", "readOnly": true, "volumeAttributes": {"partition": expected},
        });
        assert_eq!(translated["spec"], json!({"csi": csi}));
    }
}

#[test]
fn access_modes_become_what_the_disk_can_do() {
    let (once, many, read, pod) = ("ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod");
    for (modes, expected) in [
        (json!([once]), json!([once])),
        (json!([many]), json!([once])),
        (json!([read]), json!([read])),
        (json!([once, read]), json!([once])),
        (json!([many, read]), json!([once])),
        (json!([pod]), json!([once])),
        (json!([]), json!([once])),
        (Value::Null, Value::Null),
    ] {
        let given = volume(json!({"gcePersistentDisk": {"pdName": "d"}, "accessModes": modes}));
        assert_eq!(to_csi(given).unwrap()["spec"]["accessModes"], expected, "{modes}");
    }
}

#[test]
fn a_volume_comes_back_with_its_region() {
    let handle = "projects/p/zones/us-central1-a/disks/d";
    let given =
        volume(json!({"csi": csi(handle), "nodeAffinity": affinity(&[&[(CSI, &["us-central1-a"])]])}));
    let expected = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "pv", "labels": {GA: "us-central1-a", REGION: "us-central1"}},
        "spec": {
            "gcePersistentDisk": {"pdName": "d"},
            "nodeAffinity": affinity(&[&[(GA, &["us-central1-a"]), (REGION, &["us-central1"])]]),
        },
    });
    assert_eq!(to_in_tree(given), Ok(expected));
}

#[test]
fn labels_of_the_beta_family_stay_beta() {
    let mut given = volume(
        json!({"csi": csi("a/b/c/d/e/f"), "nodeAffinity": affinity(&[&[(CSI, &["eu-west1-b", "eu-west1-a"])]])}),
    );
    given["metadata"]["labels"] = json!({BETA: "eu-west1-a__eu-west1-b"});
    let translated = to_in_tree(given).unwrap();
    let required = affinity(&[&[(BETA, &["eu-west1-b", "eu-west1-a"]), (BETA_REGION, &["eu-west1"])]]);
    assert_eq!(translated["spec"]["nodeAffinity"], required);
    assert_eq!(
        translated["metadata"]["labels"],
        json!({BETA: "eu-west1-a__eu-west1-b", BETA_REGION: "eu-west1"})
    );
}

#[test]
fn the_disk_is_the_sixth_part_of_the_handle() {
    assert_eq!(
        to_in_tree(volume(json!({"csi": csi("1/2/3/4/5/6/7")}))).unwrap()["spec"]["gcePersistentDisk"]["pdName"],
        "6"
    );
    let error = to_in_tree(volume(json!({"csi": csi("1/2/3/4/5")}))).unwrap_err();
    assert_eq!(error, "volume handle 1/2/3/4/5 has 5 parts between slashes, at least 6 are needed");
    let mut bad = csi("1/2/3/4/5/6");
    bad["volumeAttributes"] = json!({"partition": "p"});
    assert_eq!(
        to_in_tree(volume(json!({"csi": bad}))).unwrap_err(),
        "volume attribute partition is p: it must be a number"
    );
}

#[test]
fn a_pods_volume_is_in_an_unknown_zone() {
    for (read_only, mode) in [(true, "ReadOnlyMany"), (false, "ReadWriteOnce")] {
        let volume =
            inline(json!({"gcePersistentDisk": {"pdName": "d", "readOnly": read_only}}), "ns").unwrap();
        assert_eq!(volume["metadata"]["name"], "pd.csi.storage.gke.io-d");
        assert_eq!(volume["spec"]["accessModes"], json!([mode]));
        assert_eq!(volume["spec"]["volumeMode"], "Filesystem");
        assert_eq!(volume["spec"]["csi"]["volumeHandle"], "projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d");
    }
}

#[test]
fn handles_are_repaired_from_the_nodes_id() {
    let node = "projects/p/zones/us-central1-a/instances/n";
    let handle = |project: &str, place: &str| format!("projects/{project}/{place}/disks/d");
    for (given, node, expected) in [
        (handle("UNSPECIFIED", "zones/UNSPECIFIED"), node, Ok(handle("p", "zones/us-central1-a"))),
        (handle("UNSPECIFIED", "zones/z"), node, Ok(handle("p", "zones/z"))),
        (handle("UNSPECIFIED", "regions/UNSPECIFIED"), node, Ok(handle("p", "regions/us-central1"))),
        (handle("UNSPECIFIED", "regions/r"), node, Ok(handle("p", "regions/r"))),
        (handle("other", "zones/UNSPECIFIED"), node, Ok(handle("other", "zones/UNSPECIFIED"))),
        (handle("other", "zones/z"), "n", Ok(handle("other", "zones/z"))),
        (
            handle("UNSPECIFIED", "zones/z"),
            "n",
            Err("node id n has 1 parts between slashes, at least 6 are needed"),
        ),
        (
            handle("UNSPECIFIED", "racks/r"),
            node,
            Err(
                "volume handle projects/UNSPECIFIED/racks/r/disks/d names neither zones nor regions in its third part",
            ),
        ),
        ("d".to_owned(), node, Err("volume handle d has 1 parts between slashes, at least 6 are needed")),
    ] {
        let repaired = ALL.repaired_handle(GcePd, &given, node).map_err(|error| error.to_string());
        assert_eq!(repaired, expected.map_err(str::to_owned), "{given} on {node}");
    }
    let strange = ALL.repaired_handle(GcePd, &handle("UNSPECIFIED", "regions/UNSPECIFIED"), "a/b/c/zone/e/f");
    assert_eq!(
        strange.unwrap_err().to_string(),
        "zone \"zone\" does not tell its region: its name has another form than the provider's zones"
    );
}

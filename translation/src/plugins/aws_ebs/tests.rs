use serde_json::{Value, json};

use crate::fixture::{affinity, class, inline, parameters, to_csi, to_in_tree, topology, volume};
use crate::plugin::Plugin::AwsEbs;

const GA: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const CSI: &str = "topology.ebs.csi.aws.com/zone";

#[test]
fn parameters_of_a_class() {
    for (given, expected) in [
        (json!({"fsType": "xfs"}), json!({"csi.storage.k8s.io/fstype": "xfs"})),
        (json!({"iopsPerGB": "10"}), json!({"iopsPerGB": "10", "allowautoiopspergbincrease": "true"})),
        (
            json!({"iopsPerGB": "10", "allowautoiopspergbincrease": "false"}),
            json!({"iopsPerGB": "10", "allowautoiopspergbincrease": "false"}),
        ),
        (json!({"IOPSPERGB": "10"}), json!({"IOPSPERGB": "10", "allowautoiopspergbincrease": "true"})),
        (json!({"Type": "gp3", "encrypted": "true"}), json!({"Type": "gp3", "encrypted": "true"})),
    ] {
        assert_eq!(parameters(AwsEbs, given.clone()), Ok(expected), "{given}");
    }
}

#[test]
fn zones_of_a_class_become_topologies() {
    for (given, values) in [
        (json!({"zone": "us-east-1a"}), &["us-east-1a"][..]),
        (json!({"Zones": "us-east-1a,us-east-1b"}), &["us-east-1a", "us-east-1b"]),
        (json!({"zones": "a, b,"}), &["a", " b", ""]),
    ] {
        let translated = class(AwsEbs, given.clone(), Value::Null);
        assert_eq!(translated, Ok((Value::Null, topology(CSI, values))), "{given}");
    }
    let both = class(AwsEbs, json!({"zone": "a"}), topology(GA, &["a"])).unwrap_err();
    assert_eq!(both, "the class has allowedTopologies and a parameter zone or zones: remove one of the two");
}

#[test]
fn every_form_of_a_volume_id_gives_the_ebs_id() {
    for (id, expected) in [
        ("vol-0123", Some("vol-0123")),
        ("anything/at all", Some("anything/at all")),
        ("aws:///vol-0123", Some("vol-0123")),
        ("aws://us-east-1a/vol-0123", Some("vol-0123")),
        ("aws://us-east-1a//vol-0123/", Some("vol-0123")),
        ("aws://vol-0123", None),
        ("aws://", None),
        ("aws://us-east-1a/", None),
        ("aws://us-east-1a/disk-1", None),
        ("aws://us-east-1a/vol-1/vol-2", None),
        ("aws://us-east-1a/vol-1?x", None),
        ("aws://us-east-1a/vol-%31", None),
        ("aws://us east/vol-1", None),
    ] {
        let outcome = to_csi(volume(json!({"awsElasticBlockStore": {"volumeID": id}})));
        match expected {
            Some(handle) => assert_eq!(outcome.unwrap()["spec"]["csi"]["volumeHandle"], handle, "{id}"),
            None => assert!(
                outcome.unwrap_err().starts_with(&format!("{id} does not name an EBS volume")),
                "{id}"
            ),
        }
    }
}

#[test]
fn the_partition_is_always_written() {
    for (given, expected) in
        [(json!({}), "0"), (json!({"partition": 0}), "0"), (json!({"partition": 3}), "3")]
    {
        let mut source = given;
        source["volumeID"] = "vol-1".into();
        let translated = to_csi(volume(json!({"awsElasticBlockStore": source}))).unwrap();
        assert_eq!(translated["spec"]["csi"]["volumeAttributes"], json!({"partition": expected}));
    }
}

#[test]
fn a_partition_that_is_no_number_is_an_error() {
    for (text, expected) in
        [("", Err(())), ("x", Err(())), ("4294967297", Err(())), ("0", Ok(Value::Null)), ("7", Ok(json!(7)))]
    {
        let csi = json!({"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1", "volumeAttributes": {"partition": text}});
        let outcome = to_in_tree(volume(json!({"csi": csi})));
        let partition = outcome.map(|volume| volume["spec"]["awsElasticBlockStore"]["partition"].clone());
        assert_eq!(partition.map_err(|_| ()), expected, "{text:?}");
    }
}

#[test]
fn the_region_follows_from_the_zones() {
    for (zones, expected) in [
        (&["us-west-2a"][..], Ok("us-west-2")),
        (&["us-gov-east-1a"], Ok("us-gov-east-1")),
        (&["us-west-2-lax-1a"], Ok("us-west-2")),
        (&["us-east-1-wl1-bos-wlz-1"], Ok("us-east-1")),
        (&["us-west-2a", "us-west-2b"], Ok("us-west-2")),
        (&["us-west-2a", "us-east-1a"], Err("the zones [us-west-2a, us-east-1a] are of 2 regions")),
        (&[], Err("the zones [] are of 0 regions")),
        (&["us-west-10a"], Err("zone \"us-west-10a\" does not tell its region")),
        (&["us-west"], Err("zone \"us-west\" does not tell its region")),
        (&["a-b-c-d-e-f"], Err("zone \"a-b-c-d-e-f\" does not tell its region")),
    ] {
        let csi = json!({"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"});
        let outcome = to_in_tree(volume(json!({"csi": csi, "nodeAffinity": affinity(&[&[(CSI, zones)]])})));
        match expected {
            Ok(region) => {
                let translated = outcome.unwrap();
                let required = affinity(&[&[(GA, zones), (REGION, &[region])]]);
                assert_eq!(translated["spec"]["nodeAffinity"], required, "{zones:?}");
                assert_eq!(translated["metadata"]["labels"], json!({GA: zones.join("__"), REGION: region}));
            }
            Err(text) => {
                let error = outcome.unwrap_err();
                assert!(error.starts_with(text), "{error}");
            }
        }
    }
}

#[test]
fn a_pods_volume_has_the_ebs_id_in_its_name() {
    let source = json!({"awsElasticBlockStore": {"volumeID": "aws://z/vol-1", "fsType": "xfs", "readOnly": true, "partition": 1}});
    let expected = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "ebs.csi.aws.com-vol-1"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "csi": {
                "driver": "ebs.csi.aws.com", "volumeHandle": "vol-1", "fsType": "xfs", "readOnly": true,
                "volumeAttributes": {"partition": "1"},
            },
        },
    });
    assert_eq!(inline(source, ""), Ok(expected));
}

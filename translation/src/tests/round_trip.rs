//! An in-tree volume that becomes a CSI volume and comes back is the volume it was, for the plugins that keep
//! everything: all but vsphere-volume, whose path only the driver tells, and rbd, whose monitors are lost.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{affinity, to_csi, to_in_tree, volume};

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";

/// A family of keys, and zones of one region with that region.
type Place = (&'static str, &'static str, Vec<String>, String);

/// Where a volume is: as the in-tree plugins wrote it, in labels and node affinity.
fn place(letters: &'static str, join: fn(&str, &str) -> String) -> impl Strategy<Value = Option<Place>> {
    let keys = prop::sample::select(vec![
        (ZONE, REGION),
        ("failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region"),
    ]);
    let zones = prop::collection::btree_set(letters, 1..4);
    let place = (keys, "[a-z]{2}-[a-z]{4,8}", 1_u8..9, zones).prop_map(
        move |((zone, region), area, number, zones)| {
            let name = format!("{area}{number}");
            let zones = zones.into_iter().map(|letter| join(&name, &letter)).collect();
            (zone, region, zones, name)
        },
    );
    prop::option::of(place)
}

fn placed(mut given: Value, place: Option<Place>, with_region: bool) -> Value {
    let Some((zone_key, region_key, zones, region)) = place else { return given };
    let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
    given["metadata"]["labels"] = json!({zone_key: zones.join("__"), "app": "x"});
    let mut required = affinity(&[&[(zone_key, &zones), (region_key, &[&region])]]);
    if with_region {
        given["metadata"]["labels"][region_key] = region.into();
    } else {
        required = affinity(&[&[(zone_key, &zones)]]);
    }
    given["spec"]["nodeAffinity"] = required;
    given
}

/// A beta region in the node affinity comes back with the GA key, and the beta one is added beside it.
fn without_beta_region(place: Option<Place>) -> Option<Place> {
    place.filter(|(zone, ..)| *zone == ZONE)
}

fn source(name: &str, fs_type: Option<String>, read_only: bool, rest: Value) -> Value {
    let mut source = rest;
    if let Some(fs_type) = fs_type {
        source["fsType"] = fs_type.into();
    }
    if read_only {
        source["readOnly"] = true.into();
    }
    volume(json!({
        name: source, "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "mountOptions": ["noatime"],
        "claimRef": {"namespace": "ns", "name": "claim", "uid": "u"}, "persistentVolumeReclaimPolicy": "Delete",
        "storageClassName": "gold", "volumeMode": "Filesystem",
    }))
}

fn comes_back(given: Value) -> Result<(), TestCaseError> {
    let there = to_csi(given.clone());
    prop_assert!(there.is_ok(), "{given}: {there:?}");
    let there = there.unwrap_or_default();
    prop_assert!(there["spec"]["csi"]["driver"].is_string());
    prop_assert_eq!(to_in_tree(there), Ok(given));
    Ok(())
}

fn fs_type() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::sample::select(vec!["ext4".to_owned(), "xfs".to_owned(), "ntfs".to_owned()]))
}

proptest! {
    #[test]
    fn cinder(id in "[0-9a-f-]{1,36}", fs in fs_type(), ro: bool, at in place("[a-z]{1,8}", |name, zone| format!("{zone}-{name}"))) {
        comes_back(placed(source("cinder", fs, ro, json!({"volumeID": id})), at, false))?;
    }

    #[test]
    fn gce_pd(name in "[a-z0-9-]{1,30}", fs in fs_type(), ro: bool, partition in 0_i32..5, at in place("[a-f]", |name, letter| format!("{name}-{letter}"))) {
        let mut rest = json!({"pdName": name});
        if partition != 0 {
            rest["partition"] = partition.into();
        }
        comes_back(placed(source("gcePersistentDisk", fs, ro, rest), without_beta_region(at), true))?;
    }

    #[test]
    fn aws_ebs(id in "vol-[0-9a-f]{8,17}", fs in fs_type(), ro: bool, partition in 0_i32..5, at in place("[a-f]", |name, letter| {
        // us-east1 is us-east-1 here.
        let (area, number) = name.split_at(name.len() - 1);
        format!("{area}-{number}{letter}")
    })) {
        let at = without_beta_region(at).map(|(zone, key, zones, region)| {
            let (area, number) = region.split_at(region.len() - 1);
            (zone, key, zones, format!("{area}-{number}"))
        });
        let mut rest = json!({"volumeID": id});
        if partition != 0 {
            rest["partition"] = partition.into();
        }
        comes_back(placed(source("awsElasticBlockStore", fs, ro, rest), at, true))?;
    }

    #[test]
    fn azure_disk(name in "[a-z0-9-]{1,20}", fs in "[a-z0-9]{2,5}", ro: bool, cache in prop::option::of("None|ReadOnly|ReadWrite"), at in place("[a-f1-3]", |name, letter| format!("{name}-{letter}"))) {
        let uri = format!("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/{name}");
        let mut rest = json!({"diskName": name, "diskURI": uri, "kind": "Managed", "readOnly": ro});
        if let Some(cache) = cache {
            rest["cachingMode"] = cache.into();
        }
        comes_back(placed(source("azureDisk", Some(fs), false, rest), at, true))?;
    }

    #[test]
    fn azure_file(share in "[a-z0-9-]{1,20}", secret in "[a-z0-9-]{1,20}", ns in "[a-z]{1,10}", ro: bool, group in prop::option::of("[a-z]{1,10}")) {
        let rest = json!({"shareName": share, "secretName": secret, "secretNamespace": ns});
        let mut given = source("azureFile", None, ro, rest);
        if let Some(group) = group {
            given["metadata"]["annotations"] = json!({"kubernetes.io/azure-file-resource-group": group});
        }
        comes_back(given)?;
    }

    /// `readOnly` is lost, as upstream loses it.
    #[test]
    fn portworx(id in "[0-9]{1,20}", fs in fs_type()) {
        comes_back(source("portworxVolume", fs, false, json!({"volumeID": id})))?;
    }

    #[test]
    fn a_vsphere_volume_that_the_driver_made_keeps_its_path(path in "[a-z0-9 /.\\[\\]-]{1,30}", fs in fs_type()) {
        let csi = json!({
            "driver": "csi.vsphere.vmware.com", "volumeHandle": path, "fsType": fs,
            "volumeAttributes": {"initialvolumefilepath": path},
        });
        let translated = to_csi(to_in_tree(volume(json!({"csi": csi}))).unwrap()).unwrap();
        prop_assert_eq!(translated["spec"]["csi"]["volumeHandle"].as_str(), Some(path.as_str()));
    }

    #[test]
    fn an_rbd_volume_that_the_driver_made_keeps_its_handle(handle in "[a-z0-9-]{1,30}", cluster in "[a-z0-9]{1,8}", image in "[a-z0-9-]{1,20}") {
        let attributes = json!({
            "clusterID": cluster, "imageName": image, "pool": "p", "imageFeatures": "layering", "imageFormat": "2",
            "journalPool": "j",
        });
        let csi = json!({"driver": "rbd.csi.ceph.com", "volumeHandle": handle, "volumeAttributes": attributes.clone()});
        let translated = to_csi(to_in_tree(volume(json!({"csi": csi}))).unwrap()).unwrap();
        let found = &translated["spec"]["csi"];
        prop_assert_eq!(&found["volumeHandle"], &json!(handle));
        for (name, value) in attributes.as_object().unwrap() {
            prop_assert_eq!(&found["volumeAttributes"][name], value);
        }
    }
}

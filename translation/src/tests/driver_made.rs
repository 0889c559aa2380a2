//! A CSI volume as its driver made it, which becomes an in-tree volume (as the provisioner stores it) and a CSI volume again (as
//! the attacher needs it): what the driver must know is the same. And what one way there and back may lose, a second loses
//! nothing more of.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::Plugin;
use crate::fixture::{affinity, to_csi, to_in_tree, volume};

/// Plugin, topology key of its driver, and the zones that the plugin's regions can be read from.
const PLACES: [(Plugin, &str, [&str; 2]); 5] = [
    (Plugin::Cinder, "topology.cinder.csi.openstack.org/zone", ["nova", "east"]),
    (Plugin::AwsEbs, "topology.ebs.csi.aws.com/zone", ["us-east-1a", "us-east-1b"]),
    (Plugin::GcePd, "topology.gke.io/zone", ["us-central1-a", "us-central1-b"]),
    (Plugin::AzureDisk, "", ["", ""]),
    (Plugin::Portworx, "", ["", ""]),
];

/// A volume of the plugin's driver: with everything that one of its volumes can have.
fn made(plugin: Plugin, id: &str, number: u8, read_only: bool, zones: &[&str], key: &str) -> Value {
    let (handle, attributes) = match plugin {
        // The project is not kept: the node tells it.
        Plugin::GcePd => {
            let place = match zones {
                [zone] => format!("zones/{zone}"),
                [_, ..] => "regions/us-central1".to_owned(),
                [] => "zones/UNSPECIFIED".to_owned(),
            };
            let partition = if number == 0 { String::new() } else { number.to_string() };
            (format!("projects/UNSPECIFIED/{place}/disks/{id}"), json!({"partition": partition}))
        }
        Plugin::AwsEbs => (format!("vol-{id}"), json!({"partition": number.to_string()})),
        Plugin::AzureDisk => {
            let uri = format!("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/{id}");
            (uri, json!({"kind": "Managed", "cachingmode": "None", "fstype": "xfs"}))
        }
        _ => (id.to_owned(), Value::Null),
    };
    let mut csi = json!({"driver": plugin.driver(), "volumeHandle": handle, "fsType": "xfs", "volumeAttributes": attributes});
    if read_only && plugin != Plugin::Portworx {
        csi["readOnly"] = true.into();
    }
    let mut spec = json!({
        "csi": csi, "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Delete",
        "claimRef": {"namespace": "ns", "name": "claim", "uid": "u"}, "mountOptions": ["noatime"],
    });
    if !zones.is_empty() && !key.is_empty() {
        spec["nodeAffinity"] = affinity(&[&[(key, zones)]]);
    }
    volume(spec)
}

/// What the driver is told of a volume: everything but labels, and the regions that the way back has added.
fn essence(mut volume: Value) -> Value {
    if let Some(metadata) = volume["metadata"].as_object_mut() {
        metadata.remove("labels");
    }
    let terms =
        volume.pointer_mut("/spec/nodeAffinity/required/nodeSelectorTerms").and_then(Value::as_array_mut);
    for term in terms.into_iter().flatten() {
        if let Some(expressions) = term["matchExpressions"].as_array_mut() {
            expressions.retain(|one| !one["key"].as_str().is_some_and(|key| key.ends_with(".io/region")));
        }
    }
    crate::fixture::pruned(volume)
}

proptest! {
    #[test]
    fn a_volume_that_the_driver_made_is_the_same_to_it(
        (plugin, key, zones) in prop::sample::select(PLACES.to_vec()), id in "[a-f0-9]{8,17}", number in 0_u8..4,
        read_only: bool, count in 0_usize..3,
    ) {
        let given = made(plugin, &id, number, read_only, zones.get(..count).unwrap_or_default(), key);
        let in_tree = to_in_tree(given.clone());
        prop_assert!(in_tree.is_ok(), "{given}: {in_tree:?}");
        let in_tree = in_tree.unwrap_or_default();
        prop_assert!(in_tree["spec"]["csi"].is_null());
        prop_assert_eq!(to_csi(in_tree).map(essence), Ok(essence(given)));
    }

    #[test]
    fn an_azure_share_is_the_same_to_its_driver(
        group in "[a-z]{0,8}", account in "[a-z0-9]{3,10}", share in "[a-z0-9]{1,20}", namespace in "[a-z]{1,8}", noted: bool,
    ) {
        let attributes = json!({"sharename": share});
        let secret = json!({"name": format!("azure-storage-account-{account}-secret"), "namespace": namespace});
        let csi = json!({
            "driver": "file.csi.azure.com", "volumeHandle": format!("{group}#{account}#{share}#pv#{namespace}"),
            "nodeStageSecretRef": secret, "volumeAttributes": if noted { attributes.clone() } else { Value::Null },
        });
        let again = to_csi(to_in_tree(volume(json!({"csi": csi.clone()}))).unwrap_or_default()).unwrap_or_default();
        // The group is noted beside the volume when its handle had to be read.
        let read = if noted { String::new() } else { group };
        prop_assert_eq!(&again["spec"]["csi"]["volumeHandle"], &json!(format!("{read}#{account}#{share}#pv#{namespace}")));
        prop_assert_eq!(&again["spec"]["csi"]["nodeStageSecretRef"], &csi["nodeStageSecretRef"]);
        prop_assert_eq!(&again["spec"]["csi"]["volumeAttributes"], &attributes);
    }

    #[test]
    fn the_secrets_of_a_portworx_volume_are_the_annotations(name in "[a-z]{1,8}", namespace in "[a-z]{1,8}") {
        let mut given = volume(json!({"portworxVolume": {"volumeID": "1"}}));
        given["metadata"]["annotations"] =
            json!({"openstorage.io/auth-secret-name": name, "openstorage.io/auth-secret-namespace": namespace});
        prop_assert_eq!(to_in_tree(to_csi(given.clone()).unwrap_or_default()), Ok(given));
    }

    /// Also for vsphere-volume, whose path only the driver tells, for rbd, whose monitors are lost, and for labels that name
    /// zones without a node affinity.
    #[test]
    fn what_is_lost_is_lost_once(
        which in 0_usize..8, id in "[a-f0-9]{8,17}", read_only: bool, labelled: bool, beta: bool, zones in 1_usize..3,
    ) {
        let source = match which {
            0 => json!({"awsElasticBlockStore": {"volumeID": format!("aws:///vol-{id}"), "readOnly": read_only}}),
            1 => json!({"gcePersistentDisk": {"pdName": id, "partition": 2, "readOnly": read_only}}),
            2 => json!({"azureDisk": {
                "diskName": "x", "diskURI": format!("https://account.blob.core.windows.net/vhds/{id}"), "kind": "managed",
            }}),
            3 => json!({"azureFile": {"secretName": "s", "shareName": id, "secretNamespace": "n", "readOnly": read_only}}),
            4 => json!({"cinder": {"volumeID": id, "secretRef": {"name": "s", "namespace": "n"}}}),
            5 => json!({"vsphereVolume": {"volumePath": format!("[ds] {id}.vmdk"), "storagePolicyName": "gold"}}),
            6 => json!({"portworxVolume": {"volumeID": id, "readOnly": read_only}}),
            _ => json!({"rbd": {"image": format!("kubernetes-dynamic-pvc-{id}"), "monitors": ["a:6789", "b:6789"], "pool": "p"}}),
        };
        let mut given = volume(source);
        given["spec"]["accessModes"] = json!(["ReadWriteMany"]);
        if labelled {
            let family = if beta { "failure-domain.beta.kubernetes.io" } else { "topology.kubernetes.io" };
            let names = ["us-east-1a", "us-east-1b"];
            let names = if which == 1 { ["us-central1-a", "us-central1-b"] } else { names };
            given["metadata"]["labels"] = json!({format!("{family}/zone"): names[..zones].join("__")});
        }
        let around = |volume: Value| to_in_tree(to_csi(volume)?);
        let once = around(given.clone());
        prop_assert!(once.is_ok(), "{given}: {once:?}");
        let once = once.unwrap_or_default();
        // A region of the beta family is added anew each time, as upstream adds it.
        let essence = if beta { essence } else { |volume| volume };
        prop_assert_eq!(around(once.clone()).map(essence), Ok(essence(once)));
    }
}

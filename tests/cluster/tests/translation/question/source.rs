//! Random sources of volumes, and what else only one plugin has.

use fastrand::Rng;
use serde_json::{Value, json};
use translation::Plugin;

use super::{maybe, once_in, pairs, pick};

/// The parameters that the plugin's class translation knows, beside zones and file system.
pub(super) fn parameters(plugin: Plugin) -> &'static [&'static str] {
    match plugin {
        Plugin::AwsEbs => &["iopsPerGB", "allowautoiopspergbincrease"],
        Plugin::GcePd | Plugin::AzureDisk | Plugin::AzureFile => &["csi.storage.k8s.io/fstype"],
        Plugin::Cinder => &["availability", "csi.storage.k8s.io/fstype"],
        Plugin::Vsphere => &[
            "storagepolicyname",
            "datastore",
            "diskformat",
            "hostFailuresToTolerate",
            "forceprovisioning",
            "cachereservation",
            "diskstripes",
            "objectspacereservation",
            "iopslimit",
        ],
        Plugin::Portworx => {
            &["openstorage.io/auth-secret-name", "openstorage.io/auth-secret-namespace", "repl"]
        }
        Plugin::Rbd => &["imageFeatures", "pool", "imageFormat", "adminId", "adminSecretNamespace", "userId"],
    }
}

/// The driver's keys for topologies.
pub(super) fn topology_keys(plugin: Plugin) -> &'static [&'static str] {
    match plugin {
        Plugin::AwsEbs => &["topology.ebs.csi.aws.com/zone"],
        Plugin::GcePd => &["topology.gke.io/zone"],
        Plugin::AzureDisk => &["topology.disk.csi.azure.com/zone"],
        Plugin::Cinder => &["topology.cinder.csi.openstack.org/zone"],
        Plugin::Vsphere => &["topology.csi.vmware.com/zone", "topology.csi.vmware.com/region"],
        Plugin::AzureFile | Plugin::Portworx | Plugin::Rbd => &["example.com/zone"],
    }
}

/// The spec of an in-tree volume.
pub(super) fn in_tree(rng: &mut Rng, plugin: Plugin) -> Value {
    let mut spec = inline(rng, plugin);
    match plugin {
        Plugin::AzureFile => {
            maybe(rng, &mut spec["azureFile"], "secretNamespace", |rng| {
                pick(rng, &["", "secrets", "default"]).into()
            });
        }
        Plugin::Cinder => maybe(rng, &mut spec["cinder"], "secretRef", secret),
        Plugin::Rbd => {
            // In a pod it has no namespace.
            spec["rbd"]["secretRef"] = Value::Null;
            maybe(rng, &mut spec["rbd"], "secretRef", secret);
        }
        Plugin::AwsEbs | Plugin::GcePd | Plugin::AzureDisk | Plugin::Vsphere | Plugin::Portworx => {}
    }
    spec
}

fn secret(rng: &mut Rng) -> Value {
    match rng.u8(0..4) {
        0 => json!({"name": "s"}),
        1 => json!({}),
        _ => json!({"name": "s", "namespace": "n"}),
    }
}

/// The source of a pod's volume.
pub(super) fn inline(rng: &mut Rng, plugin: Plugin) -> Value {
    let (field, mut source) = match plugin {
        Plugin::AwsEbs => ("awsElasticBlockStore", json!({"volumeID": ebs_id(rng)})),
        Plugin::GcePd => ("gcePersistentDisk", json!({"pdName": pick(rng, &["disk", "a-b", ""])})),
        Plugin::AzureDisk => ("azureDisk", azure_disk(rng)),
        Plugin::AzureFile => (
            "azureFile",
            json!({"secretName": azure_secret(rng), "shareName": pick(rng, &["share", "a#b", ""])}),
        ),
        Plugin::Cinder => ("cinder", json!({"volumeID": pick(rng, &["id", "1-2-3", ""])})),
        Plugin::Vsphere => ("vsphereVolume", vsphere(rng)),
        Plugin::Portworx => ("portworxVolume", json!({"volumeID": pick(rng, &["1", ""])})),
        Plugin::Rbd => ("rbd", rbd(rng)),
    };
    if plugin != Plugin::AzureFile {
        maybe(rng, &mut source, "fsType", |rng| pick(rng, &["ext4", "xfs", ""]).into());
    }
    if plugin != Plugin::Vsphere {
        maybe(rng, &mut source, "readOnly", |rng| rng.bool().into());
    }
    if [Plugin::AwsEbs, Plugin::GcePd].contains(&plugin) {
        maybe(rng, &mut source, "partition", |rng| rng.i32(-1..4).into());
    }
    json!({field: source})
}

fn ebs_id(rng: &mut Rng) -> String {
    let known = ["vol-0123", "aws:///vol-0123", "aws://us-west-2a/vol-0123"];
    let odd = [
        "",
        "vol",
        "disk/1",
        "aws://",
        "aws:///",
        "aws://vol-1",
        "aws:///vol-1/vol-2",
        "aws://us-west-2a//vol-1/",
        "aws://us-west-2a/disk",
        "aws://us-west-2a/vol-1?x=y",
        "aws://us-west-2a/vol-%31",
        "aws://us west/vol-1",
        "AWS://us-west-2a/vol-1",
    ];
    if once_in(rng, 4) { pick(rng, &odd) } else { pick(rng, &known) }
}

fn azure_uri(rng: &mut Rng) -> String {
    let known = [
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/name",
        "https://account.blob.core.windows.net/vhds/name.vhd",
    ];
    let odd = [
        "",
        "http",
        "HTTP://a/vhds/b",
        "http://a/vhds/vhds/b",
        "http://a/vhds/vhds/",
        "http://a/vhds/",
        "httpx://a/b/vhds/c",
        "http:/a/vhds/b",
        "x/subscriptions//resourceGroups//providers/Microsoft.Compute/disks/a/b",
        "/resourceGroups/g/subscriptions/s/providers/Microsoft.Compute/disks/a",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/providers/Microsoft.Compute/disks/",
        "/subscriptions/s/resourcegroups/g/providers/Microsoft.Compute/disks/a",
    ];
    if once_in(rng, 3) { pick(rng, &odd) } else { pick(rng, &known) }
}

fn azure_disk(rng: &mut Rng) -> Value {
    let mut source = json!({"diskName": "name", "diskURI": azure_uri(rng)});
    maybe(rng, &mut source, "cachingMode", |rng| pick(rng, &["None", "ReadOnly", ""]).into());
    maybe(rng, &mut source, "kind", |rng| pick(rng, &["Managed", "managed", "Managed", "Shared"]).into());
    source
}

fn azure_secret(rng: &mut Rng) -> String {
    let known = ["azure-storage-account-acc-secret", "mine"];
    let odd = [
        "",
        "azure-storage-account--secret",
        "azure-storage-account-secret",
        "azure-storage-account-a-secret-secret",
        "x-azure-storage-account-a-secret-x",
        "azure-storage-account-azure-storage-account--secret",
    ];
    if once_in(rng, 3) { pick(rng, &odd) } else { pick(rng, &known) }
}

fn vsphere(rng: &mut Rng) -> Value {
    let mut source = json!({"volumePath": pick(rng, &["[ds] kubevols/a.vmdk", "p", ""])});
    maybe(rng, &mut source, "storagePolicyName", |rng| pick(rng, &["gold", ""]).into());
    maybe(rng, &mut source, "storagePolicyID", |_| "id".into());
    source
}

fn rbd(rng: &mut Rng) -> Value {
    let monitors: Vec<String> =
        (0..rng.usize(1..4)).map(|_| pick(rng, &["10.0.0.1:6789", "10.0.0.2:6789", ""])).collect();
    let image = pick(rng, &["image", "kubernetes-dynamic-pvc-1-2", "kubernetes-dynamic-pvc-", ""]);
    let mut source = json!({"image": image, "monitors": monitors});
    maybe(rng, &mut source, "pool", |rng| pick(rng, &["p", "replicapool", ""]).into());
    maybe(rng, &mut source, "user", |_| "u".into());
    maybe(rng, &mut source, "keyring", |_| "/k".into());
    maybe(rng, &mut source, "secretRef", |rng| json!({"name": pick(rng, &["s", ""])}));
    source
}

/// The spec of a CSI volume of the plugin's driver.
pub(super) fn csi(rng: &mut Rng, plugin: Plugin) -> Value {
    let mut csi = json!({"driver": plugin.driver(), "volumeHandle": handle(rng, plugin)});
    maybe(rng, &mut csi, "fsType", |rng| pick(rng, &["ext4", "xfs", ""]).into());
    maybe(rng, &mut csi, "readOnly", |rng| rng.bool().into());
    maybe(rng, &mut csi, "volumeAttributes", |rng| attributes(rng, plugin));
    maybe(rng, &mut csi, "nodeStageSecretRef", secret);
    maybe(rng, &mut csi, "controllerPublishSecretRef", secret);
    json!({"csi": csi})
}

fn attributes(rng: &mut Rng, plugin: Plugin) -> Value {
    let own: &[&str] = match plugin {
        Plugin::AwsEbs | Plugin::GcePd => &["partition"],
        Plugin::AzureDisk => &["cachingmode", "fstype", "kind"],
        Plugin::AzureFile => &["sharename", "secretname", "secretnamespace"],
        Plugin::Vsphere => &["initialvolumefilepath", "storagepolicyname"],
        Plugin::Rbd => {
            &["imageName", "pool", "adminId", "clusterID", "journalPool", "imageFeatures", "imageFormat"]
        }
        Plugin::Cinder | Plugin::Portworx => &[],
    };
    let names: Vec<&str> =
        own.iter().chain(own).chain(&["storage.kubernetes.io/csiProvisionerIdentity"]).copied().collect();
    pairs(rng, &names, |rng, name| match name {
        "partition" => {
            pick(rng, &["", "0", "1", "2", "+3", "-1", "x", "1x", " 1", "4294967297", "99999999999999999999"])
        }
        _ => pick(rng, &["a", "b", ""]),
    })
}

/// A volume's handle.
pub(super) fn handle(rng: &mut Rng, plugin: Plugin) -> String {
    match plugin {
        Plugin::GcePd => {
            let project = pick(rng, &["UNSPECIFIED", "UNSPECIFIED", "p", ""]);
            let kind = pick(rng, &["zones", "zones", "regions", "racks"]);
            let place = pick(rng, &["UNSPECIFIED", "us-central1-a", "us-central1"]);
            let end = pick(rng, &["disks/d", "disks/d", "disks/d", "disks", "disks/d/e", "disks/"]);
            format!("projects/{project}/{kind}/{place}/{end}")
        }
        Plugin::AzureDisk => azure_uri(rng),
        Plugin::AzureFile => {
            pick(rng, &["rg#acc#share#disk#ns", "#acc#share#", "rg#acc#share", "##", "rg#acc", "h", ""])
        }
        Plugin::AwsEbs | Plugin::Cinder | Plugin::Vsphere | Plugin::Portworx | Plugin::Rbd => {
            pick(rng, &["vol-1", "id", "a/b", ""])
        }
    }
}

/// A node's id.
pub(super) fn node_id(rng: &mut Rng) -> String {
    let known =
        ["projects/p/zones/us-central1-a/instances/n", "projects/p/zones/us-central1-f/instances/n/x"];
    let odd = ["projects/p/zones/zone/instances/n", "projects/p/zones/z", "n", ""];
    if once_in(rng, 3) { pick(rng, &odd) } else { pick(rng, &known) }
}

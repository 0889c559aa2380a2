//! Volumes of in-tree plugins whose driver has taken over: their objects stay as they are, and the driver gets the
//! translated ones.

use std::time::Duration;

use attacher::Config;
use csi::v1::volume_capability::AccessType;
use csi::v1::volume_capability::access_mode::Mode;
use csi::v1::{ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest};
use serde_json::{Value, json};
use sim::{Publication, Reply, Sidecar, Volume, World};
use tonic::Code;
use translation::Plugins;

use crate::harness::{Case, calls, config, object, world_with, writes};
use crate::objects::{VA, attachment, csi_node_with, secret, with};

const CINDER: &str = "cinder.csi.openstack.org";
const GCE: &str = "pd.csi.storage.gke.io";
const PORTWORX: &str = "pxd.portworx.com";
const RBD: &str = "rbd.csi.ceph.com";

/// Handles as they are translated.
const UNKNOWN_ZONE: &str = "projects/UNSPECIFIED/zones/UNSPECIFIED/disks/disk";
const KNOWN_ZONE: &str = "projects/UNSPECIFIED/zones/us-central1-a/disks/disk";
const IMAGE: &str = "mig_mons-6f8f57715090da2632453988d9a1501b_image-i_70";
/// The id of [`UNKNOWN_ZONE`] in the driver's list.
const LISTED_DISK: &str = "projects/p/zones/us-central1-a/disks/disk";

/// The attacher beside a driver that has volumes of every plugin.
static MIGRATED: Sidecar<Config> = Sidecar {
    keep: attacher::KEEP,
    config,
    driver: |config| &config.driver,
    duty: attacher::attach,
    world: || {
        let world = world_with(&[]);
        world.driver.change_model(|model| {
            for id in ["vol-1", "1", UNKNOWN_ZONE, KNOWN_ZONE, LISTED_DISK, IMAGE] {
                let volume = Volume { id: id.to_owned(), name: id.to_owned(), ..Volume::default() };
                model.volumes.insert(id.to_owned(), volume);
            }
        });
        world
    },
    calls,
    writes,
};

/// A case of the driver that has taken over a plugin.
fn case(name: &'static str, driver: &'static str, objects: impl IntoIterator<Item = Value>) -> Case {
    MIGRATED
        .case(name, objects)
        .config(|config| config.driver = driver.into())
        .config(|config| config.finalizer = attacher::finalizer(driver).into())
}

/// Volume `pv1` with this in-tree source, migrated to the driver.
fn in_tree(driver: &str, source: Value) -> Value {
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "pv1", "annotations": {"pv.kubernetes.io/migrated-to": driver}},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Retain", "mountOptions": ["noatime"],
        },
    });
    with(volume, json!({"spec": source}))
}

fn va(driver: &str) -> Value {
    with(attachment(VA, "pv1", "node1"), json!({"spec": {"attacher": driver}}))
}

fn node(driver: &str, id: &str) -> Value {
    csi_node_with("node1", json!([{"name": driver, "nodeID": id, "topologyKeys": []}]))
}

fn finalizer(driver: &str) -> Value {
    json!({"metadata": {"finalizers": [attacher::finalizer(driver)]}})
}

fn published(world: &World) -> ControllerPublishVolumeRequest {
    let calls = world.driver.calls();
    calls.iter().find_map(|call| call.request::<ControllerPublishVolumeRequest>()).expect("a call").clone()
}

const ATTACHED: [&str; 3] = ["protect pv1", "save", "attached"];

#[tokio::test(start_paused = true)]
async fn a_cinder_volume_is_attached_with_its_translated_source() {
    let before = in_tree(CINDER, json!({"cinder": {"volumeID": "vol-1", "fsType": "xfs", "readOnly": true}}));
    let world = case("cinder", CINDER, [before.clone(), va(CINDER), node(CINDER, "n1")])
        .ends_with(&["publish vol-1 n1 Ok"], &ATTACHED)
        .await;
    let request = published(&world);
    assert!(request.readonly && request.volume_context.is_empty() && request.secrets.is_empty());
    let access_type = request.volume_capability.and_then(|capability| capability.access_type);
    let Some(AccessType::Mount(mount)) = access_type else { panic!("not mounted: {access_type:?}") };
    assert_eq!((mount.fs_type.as_str(), mount.mount_flags), ("xfs", vec!["noatime".to_owned()]));
    // The object has a finalizer more, and nothing else is new.
    let volume = object(&world, "persistentvolumes", "pv1");
    assert_eq!(
        (&volume["spec"]["cinder"], &volume["spec"]["csi"]),
        (&before["spec"]["cinder"], &Value::Null)
    );
    let finalizers = volume["metadata"]["finalizers"].as_array().expect("finalizers");
    assert!(finalizers.contains(&json!("external-attacher/cinder-csi-openstack-org")), "{finalizers:?}");
    assert_eq!(object(&world, "volumeattachments", VA)["status"]["attached"], json!(true));
}

/// What an administrator made by hand has no annotation: it is read when an attachment names it, and let go afterwards.
#[tokio::test(start_paused = true)]
async fn a_volume_made_by_hand_is_attached_and_let_go() {
    let volume = with(
        in_tree(CINDER, json!({"cinder": {"volumeID": "vol-1"}})),
        json!({"metadata": {"annotations": null}}),
    );
    let world = case("by hand", CINDER, [volume, va(CINDER), node(CINDER, "n1")])
        .ends_with(&["publish vol-1 n1 Ok"], &ATTACHED)
        .await;
    world.api.delete("volumeattachments", VA);
    tokio::time::sleep(Case::QUIET).await;
    assert_eq!(calls(&world), ["publish vol-1 n1 Ok", "unpublish vol-1 n1 Ok"]);
    assert_eq!(writes(&world), [&ATTACHED[..], &["unbind", "release pv1"]].concat());
    let finalizers = &object(&world, "persistentvolumes", "pv1")["metadata"]["finalizers"];
    assert_eq!(*finalizers, json!(["kubernetes.io/pv-protection"]));
}

/// The Go attacher writes the translated handle nowhere.
#[tokio::test(start_paused = true)]
async fn a_cinder_volume_is_detached_with_its_translated_handle() {
    let volume = with(in_tree(CINDER, json!({"cinder": {"volumeID": "vol-1"}})), finalizer(CINDER));
    let theirs = with(with(va(CINDER), finalizer(CINDER)), json!({"status": {"attached": true}}));
    let world = case("cinder", CINDER, [volume, theirs, node(CINDER, "n1")])
        .deleted("volumeattachments", VA)
        .ends_with(&["unpublish vol-1 n1 Ok"], &["unbind"])
        .await;
    let calls = world.driver.calls();
    let request = calls.iter().find_map(|call| call.request::<ControllerUnpublishVolumeRequest>());
    assert!(request.expect("a call").secrets.is_empty());
    assert_eq!(object(&world, "volumeattachments", VA), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn the_secret_that_annotations_name_is_sent() {
    let names = json!({"metadata": {"annotations": {
        "openstorage.io/auth-secret-name": "publish", "openstorage.io/auth-secret-namespace": "secrets",
    }}});
    let volume =
        with(in_tree(PORTWORX, json!({"portworxVolume": {"volumeID": "1", "readOnly": true}})), names);
    let objects = [volume, va(PORTWORX), node(PORTWORX, "n1"), secret(json!({"token": "dA=="}))];
    let world = case("portworx", PORTWORX, objects).ends_with(&["publish 1 n1 Ok"], &ATTACHED).await;
    let request = published(&world);
    assert_eq!(request.secrets.get("token").map(String::as_str), Some("t"));
    assert!(!request.readonly, "the translation loses it, as upstream's does");
}

/// In tree, a disk of Google's may be used in any mode.
#[tokio::test(start_paused = true)]
async fn a_gce_disk_is_attached_in_a_mode_that_csi_knows() {
    let zone = json!({
        "metadata": {"labels": {"topology.kubernetes.io/zone": "us-central1-a"}},
        "spec": {"accessModes": ["ReadWriteMany", "ReadOnlyMany"]},
    });
    let volume = with(in_tree(GCE, json!({"gcePersistentDisk": {"pdName": "disk"}})), zone);
    let call = format!("publish {KNOWN_ZONE} n1 Ok");
    let world = case("gce", GCE, [volume, va(GCE), node(GCE, "n1")]).ends_with(&[&call], &ATTACHED).await;
    let mode = published(&world).volume_capability.and_then(|capability| capability.access_mode);
    assert_eq!(mode.expect("a mode").mode(), Mode::SingleNodeWriter);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_translated_is_an_attach_error() {
    const EBS: &str = "ebs.csi.aws.com";
    let bad = in_tree(EBS, json!({"awsElasticBlockStore": {"volumeID": "aws://zone/disk"}}));
    let error = "attach error: failed to translate in tree pv to CSI: aws://zone/disk does not name an EBS volume: it \
        must be vol-<id>, aws:///vol-<id> or aws://<zone>/vol-<id>";
    case("aws", EBS, [bad, va(EBS), node(EBS, "n1")]).ends_with(&[], &[error]).await;
}

/// The attach/detach controller has translated it already.
#[tokio::test(start_paused = true)]
async fn an_inline_volume_of_a_migrated_driver_is_attached_as_it_is() {
    let spec = json!({
        "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
        "csi": {"driver": CINDER, "volumeHandle": "vol-1"},
    });
    let inline = json!({"spec": {"source": {"persistentVolumeName": null, "inlineVolumeSpec": spec}}});
    case("inline", CINDER, [with(va(CINDER), inline), node(CINDER, "n1")])
        .ends_with(&["publish vol-1 n1 Ok"], &["save", "attached"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn rbd_volumes_are_translated_only_if_the_gate_is_on() {
    let volume = || in_tree(RBD, json!({"rbd": {"image": "i", "monitors": ["m"], "pool": "p"}}));
    let objects = || [volume(), va(RBD), node(RBD, "n1")];
    let error = "attach error: failed to translate in tree pv to CSI: volumes of in-tree plugin kubernetes.io/rbd are \
        not translated to CSI driver rbd.csi.ceph.com unless the feature gate CSIMigrationRBD is on";
    case("off", RBD, objects()).ends_with(&[], &[error]).await;
    case("on", RBD, objects())
        .config(|config| config.plugins = Plugins { rbd: true })
        .ends_with(&[&format!("publish {IMAGE} n1 Ok")], &ATTACHED)
        .await;
}

/// The list names project and zone. The handle of an in-tree volume does not, but the node's id does. The scripted driver
/// takes two handles for two volumes, so it never lists what it is asked to publish here.
#[tokio::test(start_paused = true)]
async fn handles_are_repaired_before_they_are_looked_for_in_the_list() {
    const NODE: &str = "projects/p/zones/us-central1-a/instances/node1";
    const LISTED: &str = "ListVolumes Ok";
    let again = format!("publish {UNKNOWN_ZONE} {NODE} Ok");
    let compared = &["ListVolumes Unavailable", LISTED, LISTED][..];
    for (name, is_there, is_listed, expected, written) in [
        ("listed", true, true, compared, &[][..]),
        ("listed, and its object is gone", false, true, compared, &[]),
        (
            "not listed",
            true,
            false,
            &["ListVolumes Unavailable", LISTED, &again, LISTED, &again],
            &["attached"],
        ),
    ] {
        let volume = with(in_tree(GCE, json!({"gcePersistentDisk": {"pdName": "disk"}})), finalizer(GCE));
        let noted = json!({
            "metadata": {"annotations": {
                "csi.alpha.kubernetes.io/node-id": NODE, "mooring.dev/volume-handle": UNKNOWN_ZONE,
            }},
            "status": {"attached": true},
        });
        let attached = with(with(va(GCE), finalizer(GCE)), noted);
        let volume = Some(volume).filter(|_| is_there);
        case(name, GCE, volume.into_iter().chain([attached, node(GCE, NODE)]))
            .config(|config| config.can.lists_nodes = true)
            .config(|config| config.reconcile_sync = Duration::from_secs(20))
            .driver("ListVolumes", [Reply::error(Code::Unavailable, "not yet")])
            .meanwhile(move |world| {
                world.driver.change_model(|model| {
                    let volume = model.volumes.get_mut(LISTED_DISK).expect("a volume");
                    if is_listed {
                        let publication = Publication { readonly: false, capability: None };
                        volume.published.insert(NODE.to_owned(), publication);
                    }
                });
            })
            .ends_with(expected, written)
            .await;
    }
}

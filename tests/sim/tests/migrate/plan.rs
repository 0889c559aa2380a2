//! `mooring migrate --dry-run` on a cluster with volumes of every sort.

use migrate::{MigrateError, Options, plan};
use serde_json::{Value, json};
use sim::World;
use translation::Plugins;

fn volume(name: &str, spec: Value) -> Value {
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    });
    volume["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    volume
}

/// A bound cinder volume that a pod uses, two that are free, one that never can be, and others that are no concern.
fn world() -> World {
    let world = World::default();
    let claim_ref = json!({"namespace": "default", "name": "data", "uid": "u"});
    let mut bound =
        volume("pv-bound", json!({"cinder": {"volumeID": "vol-1", "fsType": "xfs"}, "claimRef": claim_ref}));
    bound["metadata"]["annotations"] = json!({
        "pv.kubernetes.io/provisioned-by": "kubernetes.io/cinder", "pv.kubernetes.io/migrated-to": "cinder.csi.openstack.org",
    });
    let objects = [
        bound,
        volume("pv-free", json!({"portworxVolume": {"volumeID": "1"}})),
        volume("pv-rbd", json!({"rbd": {"image": "i", "monitors": ["m"]}})),
        volume("pv-shared", json!({"azureDisk": {"diskName": "d", "diskURI": "u", "kind": "Shared"}})),
        volume("pv-csi", json!({"csi": {"driver": "driver.example", "volumeHandle": "h"}})),
        volume("pv-nfs", json!({"nfs": {"server": "s", "path": "/"}})),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "default", "annotations": {
                "volume.kubernetes.io/storage-provisioner": "kubernetes.io/cinder",
            }},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "volumeName": "pv-bound",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "containers": [{"name": "main", "image": "i"}],
                "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
            },
        }),
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "va"},
            "spec": {
                "attacher": "cinder.csi.openstack.org", "nodeName": "node1",
                "source": {"persistentVolumeName": "pv-bound"},
            },
        }),
    ];
    objects.into_iter().for_each(|object| drop(world.api.put(object)));
    // Bound both ways, as kube-controller-manager leaves them.
    let claim = world.api.get("persistentvolumeclaims", "data").unwrap();
    world.api.edit("persistentvolumeclaims", "data", |claim| claim["status"] = json!({"phase": "Bound"}));
    world.api.edit("persistentvolumes", "pv-bound", |volume| {
        volume["spec"]["claimRef"]["uid"] = claim["metadata"]["uid"].clone();
    });
    world
}

#[tokio::test(start_paused = true)]
async fn each_in_tree_volume_is_shown_and_nothing_is_written() {
    let world = world();
    let report = plan(&world.client(), &Options::default()).await.unwrap();
    let names: Vec<_> =
        report.entries.iter().map(|entry| (entry.volume.as_str(), entry.is_ready())).collect();
    assert_eq!(names, [("pv-bound", false), ("pv-free", true), ("pv-rbd", false), ("pv-shared", false)]);
    let bound = report.entries[0].to_string();
    let expected = [
        "PersistentVolume pv-bound, claim default/data: from kubernetes.io/cinder to cinder.csi.openstack.org",
        "  ! not now: it is attached to node1",
        "  ! not now: it is used by default/web",
        "  - metadata.annotations.\"pv.kubernetes.io/migrated-to\": cinder.csi.openstack.org",
        "  - metadata.annotations.\"pv.kubernetes.io/provisioned-by\": kubernetes.io/cinder",
        "  + metadata.annotations.\"pv.kubernetes.io/provisioned-by\": cinder.csi.openstack.org",
        "  - spec.cinder.fsType: xfs",
        "  - spec.cinder.volumeID: vol-1",
        "  + spec.csi.driver: cinder.csi.openstack.org",
        "  + spec.csi.fsType: xfs",
        "  + spec.csi.volumeHandle: vol-1",
        "  claim - metadata.annotations.\"volume.kubernetes.io/storage-provisioner\": kubernetes.io/cinder",
        "  claim + metadata.annotations.\"volume.kubernetes.io/storage-provisioner\": cinder.csi.openstack.org",
    ];
    assert_eq!(bound.lines().collect::<Vec<_>>(), expected);
    let text = report.to_string();
    assert!(text.contains("! never: Azure disks of kind Shared have no CSI form"), "{text}");
    assert!(text.contains("! not now: volumes of kubernetes.io/rbd are converted only with --rbd"), "{text}");
    assert!(text.ends_with("4 in-tree volumes: 1 ready, 2 not now, 1 never. Nothing was changed."), "{text}");
    assert!(world.api.requests().iter().all(|request| !request.is_write()));
    assert!(world.driver.calls().is_empty());
}

fn only(name: &str, plugins: Plugins) -> Options {
    let mut options = Options::default().of(plugins);
    options.only = Some(name.to_owned());
    options
}

#[tokio::test(start_paused = true)]
async fn one_volume_can_be_asked_for_and_rbd_too() {
    let world = world();
    let report = plan(&world.client(), &only("pv-rbd", Plugins { rbd: true })).await.unwrap();
    assert_eq!((report.entries.len(), report.entries[0].is_ready()), (1, true));
    for name in ["pv-csi", "no-such-volume"] {
        let error = plan(&world.client(), &only(name, Plugins::default())).await.unwrap_err();
        assert!(matches!(error, MigrateError::NotFound(_)), "{error}");
    }
}

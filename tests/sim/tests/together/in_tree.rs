//! The whole life of an in-tree volume with both sidecars: class, claim, volume, attachment, and back to nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use base::leadership::Leadership;
use csi::v1::controller_service_capability::rpc::Type;
use kubernetes::object::Scope;
use process::Caches;
use serde_json::{Value, json};
use sim::{Settings, World, attach_detach};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::{attacher_config, provisioner_config};

const DRIVER: &str = "cinder.csi.openstack.org";
const PLUGIN: &str = "kubernetes.io/cinder";
const SECOND: Duration = Duration::from_secs(1);

/// One life of a process with both sidecars.
async fn both(world: World) {
    let (host, delivery) = world.host(DRIVER, CancellationToken::new());
    let keep = provisioner::KEEP.and(attacher::KEEP);
    let mut caches = Caches::new(Scope { driver: DRIVER.into(), keep, in_tree: Some(PLUGIN.into()) });
    let leads = Leadership::always;
    let duties = vec![
        provisioner::provision(host.seat(leads(), "provisioner"), &mut caches, provisioner_config(DRIVER))
            .unwrap(),
        attacher::attach(host.seat(leads(), "attacher"), &mut caches, attacher_config(DRIVER)),
    ];
    tokio::join!(host.run_duties(caches, duties), delivery);
}

/// The objects of the migration guide: a class of the plugin, a claim, and a pod.
fn class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "standard"},
        "provisioner": PLUGIN, "parameters": {"fsType": "xfs", "availability": "nova"}, "reclaimPolicy": "Delete",
        "mountOptions": ["noatime"],
    })
}

fn claim() -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "standard",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "nodeName": "node1", "containers": [{"name": "main", "image": "i"}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    })
}

fn node() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": "node1"},
        "spec": {"drivers": [{"name": DRIVER, "nodeID": "node1-id", "topologyKeys": []}]},
    })
}

/// Without what the API server gives each object anew.
fn stable(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
        metadata.remove(field);
    }
    object
}

/// The calls that change something, without the prefix of their names.
fn calls(world: &World) -> Vec<String> {
    let reads = |method: &str| {
        method.starts_with("Get") || method.starts_with("Probe") || method.contains("Capabilities")
    };
    let calls = world.driver.calls();
    calls.iter().filter(|call| !reads(&call.method)).map(|call| call.method.to_string()).collect()
}

/// A world with the class, the node and the claim, and what kube-controller-manager does in it.
fn world() -> (World, impl Sized) {
    let mut settings = Settings::default();
    settings.controller.extend([Type::PublishUnpublishVolume]);
    let world = World::new(settings);
    for object in [class(), node(), claim()] {
        world.api.put(object);
    }
    let controllers = (world.binder(), attach_detach::start(&world.api, Duration::from_millis(5)));
    (world, controllers)
}

/// The claim has its volume, which is one of the plugin. The volume's object.
fn provisioned(world: &World, id: &str) -> Value {
    let claim = world.api.get("persistentvolumeclaims", "default/data").unwrap();
    assert_eq!(claim["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"], DRIVER);
    assert_eq!(claim["status"]["phase"], "Bound");
    let name = claim["spec"]["volumeName"].as_str().unwrap();
    let volume = stable(world.api.get("persistentvolumes", name).unwrap());
    assert_eq!(volume["spec"]["claimRef"]["uid"], claim["metadata"]["uid"]);
    let mut spec = volume["spec"].clone();
    spec.as_object_mut().unwrap().remove("claimRef");
    assert_eq!(
        spec,
        json!({
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "mountOptions": ["noatime"],
            "cinder": {"volumeID": id, "fsType": "xfs"}, "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": "standard", "volumeMode": "Filesystem",
        })
    );
    assert_eq!(
        volume["metadata"],
        json!({
            "name": name,
            "annotations": {
                "pv.kubernetes.io/provisioned-by": PLUGIN, "pv.kubernetes.io/migrated-to": DRIVER,
                "volume.kubernetes.io/provisioner-deletion-secret-name": "",
                "volume.kubernetes.io/provisioner-deletion-secret-namespace": "",
            },
            "finalizers": ["external-provisioner.volume.kubernetes.io/finalizer", "kubernetes.io/pv-protection"],
        })
    );
    volume
}

/// The pod has the volume attached. The volume's object has a finalizer more than `before`.
fn attached(world: &World, before: &Value, id: &str) {
    let name = &before["metadata"]["name"];
    let attachment = world.api.list("volumeattachments")[0].clone();
    let spec = json!({"attacher": DRIVER, "nodeName": "node1", "source": {"persistentVolumeName": name}});
    assert_eq!(attachment["spec"], spec);
    assert_eq!(attachment["status"]["attached"], true);
    assert_eq!(attachment["metadata"]["annotations"]["mooring.dev/volume-handle"], json!(id));
    assert_eq!(world.driver.publications(), [(id.to_owned(), "node1-id".to_owned())]);
    let mut volume = stable(world.api.get("persistentvolumes", name.as_str().unwrap()).unwrap());
    let finalizers = volume["metadata"]["finalizers"].as_array_mut().unwrap();
    let all = finalizers.len();
    finalizers.retain(|name| name != "external-attacher/cinder-csi-openstack-org");
    assert_eq!(finalizers.len(), all - 1);
    assert_eq!(volume, *before);
}

#[tokio::test(start_paused = true)]
async fn a_cinder_volume_lives_and_dies_in_tree() {
    let (world, _controllers) = world();
    let running = world.run(3600 * SECOND, both);
    sleep(30 * SECOND).await;
    let id = world.driver.volumes().into_keys().next().unwrap();
    let volume = provisioned(&world, &id);

    world.api.put(pod());
    sleep(30 * SECOND).await;
    attached(&world, &volume, &id);

    world.api.delete("pods", "default/web");
    sleep(30 * SECOND).await;
    assert_eq!((world.api.count("volumeattachments"), world.driver.publications()), (0, vec![]));

    world.api.delete("persistentvolumeclaims", "default/data");
    sleep(60 * SECOND).await;
    assert_eq!(world.api.count("persistentvolumeclaims") + world.api.count("persistentvolumes"), 0);
    assert!(world.driver.volumes().is_empty());
    assert_eq!(
        calls(&world),
        ["CreateVolume", "ControllerPublishVolume", "ControllerUnpublishVolume", "DeleteVolume"]
    );
    let class_now = world.api.get("storageclasses", "standard").unwrap();
    assert_eq!(class_now["parameters"], class()["parameters"]);
    assert_eq!(running.panics(), Vec::<String>::new());
}

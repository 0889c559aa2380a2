//! Classes and volumes of in-tree plugins whose driver has taken over.

use std::time::Duration;

use base::leadership::Leadership;
use csi::v1::volume_capability::AccessType;
use csi::v1::{CreateVolumeRequest, DeleteVolumeRequest};
use provisioner::{Config, NodeSettings};
use serde_json::{Value, json};
use sim::crash::{self, Scenario};
use sim::objects::secret;
use sim::{Reply, World};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use translation::Plugins;

use crate::capacity::PUBLISHING;
use crate::harness::{
    FINALIZER, bound, calls, claim, class, config, events, no_volumes, sidecar_with, writes,
};

const QUIET: Duration = Duration::from_secs(120);
const CINDER: &str = "cinder.csi.openstack.org";
const AZURE: &str = "disk.csi.azure.com";
const EBS: &str = "ebs.csi.aws.com";
const PORTWORX: &str = "pxd.portworx.com";
const RBD: &str = "rbd.csi.ceph.com";
/// Cinder's zone, in the driver's words and in the plugin's.
const KEY: &str = "topology.cinder.csi.openstack.org/zone";
const LABEL: &str = "topology.kubernetes.io/zone";

/// One life of the provisioner of this driver.
async fn provisioner_of(world: World, driver: &str, plugins: Plugins) {
    let config = Config { driver: driver.into(), plugins, ..config() };
    sidecar_with(world, config, Leadership::always(), CancellationToken::new()).await;
}

async fn cinder(world: World) {
    provisioner_of(world, CINDER, Plugins::default()).await;
}

/// Class `fast` of the plugin.
fn class_of(plugin: &str, parameters: Value) -> Value {
    let mut class = class();
    class["provisioner"] = plugin.into();
    class["parameters"] = parameters;
    class
}

/// A world in which the provisioner of `driver` has run with these objects for a while.
async fn run_with(driver: &'static str, plugins: Plugins, objects: impl IntoIterator<Item = Value>) -> World {
    let world = World::default();
    objects.into_iter().for_each(|object| drop(world.api.put(object)));
    let binder = world.binder();
    let running = world.run(Duration::from_secs(1), move |world| provisioner_of(world, driver, plugins));
    tokio::time::sleep(QUIET).await;
    running.stop();
    drop(binder);
    world
}

fn created(world: &World) -> CreateVolumeRequest {
    world.driver.calls_of("CreateVolume")[0].request::<CreateVolumeRequest>().unwrap().clone()
}

fn failures(world: &World) -> Vec<String> {
    events(world).into_iter().filter(|event| event.contains("Failed")).collect()
}

#[tokio::test(start_paused = true)]
async fn an_in_tree_claim_gets_an_in_tree_volume_of_the_driver() {
    let parameters = json!({"fstype": "xfs", "availability": "nova"});
    let world =
        run_with(CINDER, Plugins::default(), [class_of("kubernetes.io/cinder", parameters), claim("data")])
            .await;
    assert_eq!(
        (calls(&world), writes(&world)),
        (vec!["CreateVolume Some(Ok)".to_owned()], vec!["create persistentvolumes 201".to_owned()])
    );
    // The driver gets what a class of its own would say.
    let request = created(&world);
    assert_eq!(json!(request.parameters), json!({"availability": "nova"}));
    let Some(AccessType::Mount(mount)) = &request.volume_capabilities[0].access_type else {
        panic!("no mount")
    };
    assert_eq!(mount.fs_type, "xfs");
    // The object is what the plugin would have made.
    let claim = world.api.get("persistentvolumeclaims", "data").unwrap();
    let volume = world.api.list("persistentvolumes")[0].clone();
    let id = world.driver.volumes().into_keys().next().unwrap();
    assert_eq!(volume["spec"]["cinder"], json!({"volumeID": id, "fsType": "xfs"}));
    assert_eq!(volume["spec"]["csi"], Value::Null);
    assert_eq!(volume["spec"]["storageClassName"], "fast");
    assert_eq!(volume["spec"]["claimRef"]["uid"], claim["metadata"]["uid"]);
    assert_eq!(claim["status"]["phase"], "Bound");
    let annotations = &volume["metadata"]["annotations"];
    assert_eq!(annotations["pv.kubernetes.io/provisioned-by"], "kubernetes.io/cinder");
    assert_eq!(annotations["pv.kubernetes.io/migrated-to"], CINDER);
    assert!(volume["metadata"]["finalizers"].as_array().unwrap().contains(&json!(FINALIZER)));
    assert_eq!(failures(&world), Vec::<String>::new());
}

/// The class and the volume name the plugin's label, the driver its own.
#[tokio::test(start_paused = true)]
async fn driver_is_told_its_own_zones_and_the_object_the_plugin_s() {
    let world = World::default();
    world.api.put(sim::objects::node("node-1", json!({KEY: "nova", LABEL: "nova"})));
    let registered = json!([{"name": CINDER, "nodeID": "n", "topologyKeys": [KEY]}]);
    world.api.put(sim::objects::csi_node_with("node-1", registered));
    let mut class = class_of("kubernetes.io/cinder", json!({}));
    class["allowedTopologies"] = json!([{"matchLabelExpressions": [{"key": LABEL, "values": ["nova"]}]}]);
    world.api.put(class);
    world.api.put(claim("data"));
    let _binder = world.binder();
    let _running = world.run(Duration::from_secs(1), |world| async move {
        let mut config = Config { driver: CINDER.into(), ..config() };
        config.can.topology = true;
        sidecar_with(world, config, Leadership::always(), CancellationToken::new()).await;
    });
    bound(&world, "data").await;
    let wanted = created(&world).accessibility_requirements.unwrap();
    assert_eq!(json!(wanted.requisite[0].segments), json!({KEY: "nova"}));
    let volume = world.api.list("persistentvolumes")[0].clone();
    let expressions = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"];
    assert_eq!(*expressions, json!([{"key": LABEL, "operator": "In", "values": ["nova"]}]));
}

#[tokio::test(start_paused = true)]
async fn its_volume_is_deleted_by_the_id_in_its_source() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(class_of("kubernetes.io/cinder", json!({})));
    world.api.put(claim("data"));
    let _running = world.run(Duration::from_secs(1), cinder);
    bound(&world, "data").await;
    let id = world.driver.volumes().into_keys().next().unwrap();
    world.api.clear_requests();
    world.driver.clear_calls();
    world.api.delete("persistentvolumeclaims", "data");
    no_volumes(&world).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(calls(&world), ["DeleteVolume Some(Ok)"]);
    let request = world.driver.calls_of("DeleteVolume")[0].request::<DeleteVolumeRequest>().unwrap().clone();
    assert_eq!(request.volume_id, id);
    assert_eq!(writes(&world), ["delete persistentvolumes 200", "patch persistentvolumes 200"]);
    assert!(world.driver.volumes().is_empty());
    assert_eq!(failures(&world), Vec::<String>::new());
}

/// Its id is in its object only, which is read just before the call.
#[tokio::test(start_paused = true)]
async fn an_object_removed_by_force_is_told_before_its_volume_leaks() {
    let world = World::default();
    world.api.put(json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": "pv", "finalizers": [FINALIZER],
            "annotations": {"pv.kubernetes.io/provisioned-by": "kubernetes.io/cinder", "pv.kubernetes.io/migrated-to": CINDER},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Delete",
            "cinder": {"volumeID": "1"}, "claimRef": {"namespace": "default", "name": "gone", "uid": "gone"},
        },
        "status": {"phase": "Bound"},
    }));
    let _running = world.run(Duration::from_secs(1), cinder);
    tokio::time::sleep(QUIET).await;
    world.api.delay_watch(Duration::from_secs(10));
    world.api.edit("persistentvolumes", "pv", |volume| volume["status"]["phase"] = json!("Released"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.api.edit("persistentvolumes", "pv", |volume| volume["metadata"]["finalizers"] = json!([]));
    world.api.delete("persistentvolumes", "pv");
    tokio::time::sleep(QUIET).await;
    assert_eq!((calls(&world), writes(&world), world.api.count("persistentvolumes")), (vec![], vec![], 0));
    let text = "VolumeFailedDelete: persistentvolume pv is gone, and with it the id of its volume: delete it at the storage system";
    assert_eq!(failures(&world), [text]);
}

/// The scripted driver gives ids that are no URIs of Azure disks.
#[tokio::test(start_paused = true)]
async fn a_volume_that_cannot_be_translated_back_is_deleted() {
    let objects = || [class_of("kubernetes.io/azure-disk", json!({})), claim("data")];
    let world = run_with(AZURE, Plugins::default(), objects()).await;
    assert!(world.driver.volumes().is_empty());
    assert_eq!((world.api.count("persistentvolumes"), writes(&world)), (0, vec![]));
    let made = calls(&world);
    let pairs: Vec<_> = made.chunks(2).collect();
    assert!(pairs.len() > 3, "it is tried again, in vain: {made:?}");
    assert!(pairs.iter().all(|pair| *pair == ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)"]), "{made:?}");
    let said = failures(&world);
    let text = "created volume cannot be translated to one of the in-tree plugin: id-of-pvc-";
    assert!(said.iter().all(|event| event.contains(text)), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_deleted_is_asked_for_again() {
    let world = World::default();
    let _binder = world.binder();
    world.api.put(class_of("kubernetes.io/azure-disk", json!({})));
    world.api.put(claim("data"));
    world.driver.script("DeleteVolume", (0..5).map(|_| Reply::error(Code::Internal, "no")));
    let _running =
        world.run(Duration::from_secs(1), |world| provisioner_of(world, AZURE, Plugins::default()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The claim goes, but the volume is not forgotten.
    world.api.delete("persistentvolumeclaims", "data");
    tokio::time::sleep(QUIET).await;
    let failed = vec!["DeleteVolume Some(Internal)".to_owned(); 5];
    let again = ["CreateVolume Some(Ok)", "DeleteVolume Some(Ok)"].map(str::to_owned);
    assert_eq!(calls(&world), [vec!["CreateVolume Some(Ok)".to_owned()], failed, again.to_vec()].concat());
    assert!(world.driver.volumes().is_empty());
    assert!(failures(&world)[0].contains("deleting it failed"), "{:?}", failures(&world));
}

#[tokio::test(start_paused = true)]
async fn a_class_that_cannot_be_translated_fails_its_claims() {
    let mut class = class_of("kubernetes.io/aws-ebs", json!({"zone": "us-east-1a"}));
    class["allowedTopologies"] = json!([{"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["us-east-1a"]}]}]);
    let world = run_with(EBS, Plugins::default(), [class, claim("data")]).await;
    assert_eq!((calls(&world), writes(&world)), (vec![], vec![]));
    let text = "ProvisioningFailed: failed to translate storage class: the class has allowedTopologies and a parameter \
        zone or zones: remove one of the two";
    assert!(failures(&world).iter().all(|event| event == text), "{:?}", failures(&world));
    assert!(!failures(&world).is_empty());
}

/// Its affinity is in the plugin's words, the node's segment in the driver's.
#[tokio::test(start_paused = true)]
async fn a_node_deletes_the_in_tree_volumes_that_it_reaches() {
    for (zone, called) in [("nova", vec!["DeleteVolume Some(Ok)".to_owned()]), ("elsewhere", vec![])] {
        let world = World::default();
        world.api.put(json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {
                "name": "pv", "finalizers": [FINALIZER],
                "annotations": {
                    "pv.kubernetes.io/provisioned-by": "kubernetes.io/cinder", "pv.kubernetes.io/migrated-to": CINDER,
                },
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Delete",
                "cinder": {"volumeID": "1"}, "claimRef": {"namespace": "default", "name": "gone", "uid": "gone"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": LABEL, "operator": "In", "values": [zone]}]},
                ]}},
            },
            "status": {"phase": "Released"},
        }));
        let node = NodeSettings {
            name: "node-1".into(),
            segments: [(KEY.to_owned(), "nova".to_owned())].into(),
            immediate: true,
            base_delay: Duration::from_secs(20),
            max_delay: Duration::from_secs(60),
        };
        let running = world.run(Duration::from_secs(1), move |world| {
            let config = Config { driver: CINDER.into(), node: Some(node.clone()), ..config() };
            PUBLISHING.live(world, config, Leadership::always(), CancellationToken::new())
        });
        tokio::time::sleep(QUIET).await;
        running.stop();
        assert_eq!(calls(&world), called, "{zone}");
    }
}

/// Nobody but the plugin's own volumes needs the class translated.
#[tokio::test(start_paused = true)]
async fn a_class_that_cannot_be_translated_keeps_no_csi_volume() {
    let mut class = class_of("kubernetes.io/aws-ebs", json!({"zone": "us-east-1a"}));
    class["allowedTopologies"] = json!([{"matchLabelExpressions": [{"key": "topology.kubernetes.io/zone", "values": ["us-east-1a"]}]}]);
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": "pv", "finalizers": [FINALIZER], "annotations": {"pv.kubernetes.io/provisioned-by": EBS},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "fast",
            "persistentVolumeReclaimPolicy": "Delete", "csi": {"driver": EBS, "volumeHandle": "vol-1"},
            "claimRef": {"namespace": "default", "name": "gone", "uid": "gone"},
        },
        "status": {"phase": "Released"},
    });
    let world = run_with(EBS, Plugins::default(), [class, volume]).await;
    assert_eq!((calls(&world), failures(&world)), (vec!["DeleteVolume Some(Ok)".to_owned()], vec![]));
}

#[tokio::test(start_paused = true)]
async fn the_secret_of_a_deletion_is_in_the_translated_class() {
    let parameters =
        json!({"openstorage.io/auth-secret-name": "s", "openstorage.io/auth-secret-namespace": "ns"});
    // As the in-tree plugin left it: without annotations that name a Secret.
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": "pv", "finalizers": [FINALIZER],
            "annotations": {"pv.kubernetes.io/provisioned-by": "kubernetes.io/portworx-volume"},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "fast",
            "persistentVolumeReclaimPolicy": "Delete", "portworxVolume": {"volumeID": "1"},
            "claimRef": {"namespace": "default", "name": "gone", "uid": "gone"},
        },
        "status": {"phase": "Released"},
    });
    let objects = [
        class_of("kubernetes.io/portworx-volume", parameters),
        secret("ns", "s", json!({"token": "dA=="})),
        volume,
    ];
    let world = run_with(PORTWORX, Plugins::default(), objects).await;
    assert_eq!(calls(&world), ["DeleteVolume Some(Ok)"]);
    let request = world.driver.calls_of("DeleteVolume")[0].request::<DeleteVolumeRequest>().unwrap().clone();
    assert_eq!((request.volume_id.as_str(), request.secrets["token"].as_str()), ("1", "t"));
    assert_eq!(world.api.count("persistentvolumes"), 0);
}

/// Kubernetes has no migration of rbd any more: an administrator names the driver in the claim.
#[tokio::test(start_paused = true)]
async fn rbd_classes_are_served_only_if_the_gate_is_on() {
    let parameters = json!({"monitors": "m", "adminSecretName": "s", "adminSecretNamespace": "ns"});
    let mut claim = claim("data");
    claim["metadata"]["annotations"] = json!({
        "volume.kubernetes.io/storage-provisioner": "kubernetes.io/rbd", "pv.kubernetes.io/migrated-to": RBD,
    });
    let objects =
        [class_of("kubernetes.io/rbd", parameters), secret("ns", "s", json!({"key": "dA=="})), claim];
    let off = run_with(RBD, Plugins::default(), objects.clone()).await;
    assert_eq!((calls(&off), writes(&off), events(&off)), (vec![], vec![], vec![]));
    let on = run_with(RBD, Plugins { rbd: true }, objects).await;
    assert_eq!(calls(&on), ["CreateVolume Some(Ok)"]);
    assert_eq!(created(&on).secrets["key"], "t");
    assert!(on.api.list("persistentvolumes")[0]["spec"]["rbd"].is_object());
}

#[test]
fn a_crash_anywhere_in_an_in_tree_claim_s_life_leaves_nothing() {
    let life = Scenario::new(cinder, |world: World| async move {
        let _binder = world.binder();
        world.api.put(claim("data"));
        bound(&world, "data").await;
        assert_eq!(world.driver.volumes().len(), 1);
        world.api.delete("persistentvolumeclaims", "data");
        no_volumes(&world).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .prepare(|world| drop(world.api.put(class_of("kubernetes.io/cinder", json!({})))))
    .check(|world| {
        let left = world.driver.volumes();
        if left.is_empty() { Ok(()) } else { Err(format!("leaked: {left:?}")) }
    });
    let report = crash::everywhere(&life);
    assert!(report.steps.iter().any(|step| step.is_rpc("DeleteVolume")));
    assert!(report.fired >= 2 * report.steps.len());
}

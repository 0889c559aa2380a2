//! The same classes, claims and pods of in-tree plugins under the Go sidecars and under ours: provisioned, attached, grown,
//! detached, deleted; equal objects at each moment, equal events, and equal requests to the driver (docs/upstream/migration.md).
//!
//! The driver is ours under the name of the one that replaced the plugin, with ids as that one has them (`ids`). With ids of
//! another form a volume cannot become one of gce-pd, azure-disk or azure-file: ours leaves none then, the Go provisioner
//! forgets it. Neither Kubernetes nor the Go sidecars translate rbd any more.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cluster::binaries::Binary;
use cluster::implementation::Implementation;
use cluster::node::NodeDriver;
use cluster::stand::{Replica, Stand, has_hosts};
use cluster::wait;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ServiceAccount};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use translation::Plugin;

use crate::ids::{self, StandIn};

const LIMIT: Duration = Duration::from_secs(120);
/// Both have every right: which ones ours need is shown elsewhere.
const RIGHTS: &str = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all}, \
    rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]}";

/// Where each plugin has the id.
const SOURCES: [&str; 7] = [
    "/spec/cinder/volumeID",
    "/spec/awsElasticBlockStore/volumeID",
    "/spec/portworxVolume/volumeID",
    "/spec/gcePersistentDisk/pdName",
    "/spec/azureDisk/diskName",
    "/spec/azureFile/shareName",
    "/spec/vsphereVolume/volumePath",
];

/// A driver of a plugin's CSI name, on a node of the plugin's name.
struct Site<'a> {
    stand: &'a Stand,
    plugin: Plugin,
    /// The name of the node, of the class and of the driver's socket.
    short: &'static str,
    /// The driver's ids are as those of the plugin's own driver.
    lives: bool,
}

impl Site<'_> {
    fn volumes(&self) -> PathBuf {
        let folder = self.stand.control_plane.folder().join(format!("volumes-{}", self.short));
        folder.join("drivers").join(self.plugin.driver())
    }

    /// That of the driver, or of what stands before it.
    fn socket(&self, end: &str) -> PathBuf {
        self.stand.control_plane.folder().join(format!("csi-{}.{end}", self.short))
    }

    fn made(&self) -> usize {
        let names = std::fs::read_dir(self.volumes()).into_iter().flatten().flatten();
        names.filter(|entry| entry.file_name().len() == 36).count()
    }

    /// The three sidecars of the controller.
    fn sidecars(&self, who: Implementation) -> Vec<Replica> {
        let socket = self.socket(if self.lives { "ids" } else { "sock" });
        let address = format!("--csi-address={}", socket.display());
        let flags = [address.as_str(), "--kube-api-qps=100", "--kube-api-burst=200"];
        let slow = [&flags[..], &["--retry-interval-start=500ms"]].concat();
        [(Binary::CsiProvisioner, &slow[..]), (Binary::CsiAttacher, &flags), (Binary::CsiResizer, &slow)]
            .map(|(sidecar, flags)| {
                let name = format!("{}-{who:?}-{}", self.short, sidecar.name()).to_lowercase();
                who.start(self.stand, sidecar, &name, flags)
            })
            .into()
    }

    async fn get(&self, path: &str) -> Value {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        self.stand.client.request(request).await.unwrap_or_default()
    }

    async fn claim(&self) -> Value {
        self.get(&format!("/api/v1/namespaces/{}/persistentvolumeclaims/data", self.stand.namespace)).await
    }

    async fn items(&self, path: &str) -> Vec<Value> {
        self.get(path).await["items"].as_array().cloned().unwrap_or_default()
    }

    async fn volume_objects(&self) -> Vec<Value> {
        self.items("/api/v1/persistentvolumes").await
    }

    async fn attachments(&self) -> Vec<Value> {
        self.items("/apis/storage.k8s.io/v1/volumeattachments").await
    }

    async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl FnMut() -> F) {
        if let Err(error) = wait::until_true(what, LIMIT, holds).await {
            panic!("{error} of {}: {:#}", self.short, self.claim().await);
        }
    }

    /// Everything there is, once it no longer changes.
    async fn seen(&self) -> Value {
        let look = async || {
            let objects = [vec![self.claim().await], self.volume_objects().await, self.attachments().await];
            json!(objects.concat().iter().map(|object| self.cut(object)).collect::<Vec<_>>())
        };
        let mut last = look().await;
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = look().await;
            if now == last {
                break;
            }
            last = now;
        }
        self.new_names().await.hidden(&last)
    }

    /// Names and ids that are new in each run.
    async fn new_names(&self) -> NewNames {
        let claim = self.claim().await;
        let uid = claim["metadata"]["uid"].as_str().unwrap_or("-").to_owned();
        let mut names = vec![(uid, "CLAIM")];
        for volume in self.volume_objects().await {
            for pointer in SOURCES {
                let id = volume.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                names.push((ids::own(self.plugin, id), "VOLUME"));
            }
        }
        names.retain(|(name, _)| !name.is_empty());
        NewNames(names)
    }

    /// An object without what is counted, timed, or ours alone.
    fn cut(&self, object: &Value) -> Value {
        let mut object = object.clone();
        strip(&mut object);
        if object["spec"]["attacher"].is_string() {
            // A hash of the volume's id.
            object["metadata"]["name"] = json!("ATTACHMENT");
        }
        object
    }

    /// Type, reason and, if it is wanted, text of each event that a sidecar wrote about the claim.
    async fn events(&self, with_text: bool) -> Vec<String> {
        let claim = self.claim().await;
        let uid = claim["metadata"]["uid"].as_str().unwrap_or_default();
        let path = format!(
            "/api/v1/namespaces/{}/events?fieldSelector=involvedObject.uid={uid}",
            self.stand.namespace
        );
        let events = self.items(&path).await;
        let by_sidecar = |event: &&Value| {
            let component = event["source"]["component"].as_str().unwrap_or_default();
            component.contains(self.plugin.driver())
        };
        let word = |event: &Value| match with_text {
            true => format!("{} {} {}", event["type"], event["reason"], event["message"]),
            false => format!("{} {}", event["type"], event["reason"]),
        };
        let mut words: Vec<String> = events.iter().filter(by_sidecar).map(word).collect();
        words.sort();
        words.dedup();
        words
    }

    async fn ask(&self) {
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": self.short,
                "resources": {"requests": {"storage": "1Mi"}},
            },
        });
        self.stand.control_plane.apply_object(claim, &self.stand.namespace).await.expect("a claim");
    }

    async fn forget(&self) {
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.stand.client.clone(), &self.stand.namespace);
        claims.delete("data", &DeleteParams::default()).await.expect("deleted");
        let gone = async || {
            self.claim().await.is_null() && self.volume_objects().await.is_empty() && self.made() == 0
        };
        self.until("the end of the volume", gone).await;
    }

    /// What there is while these sidecars serve a claim.
    async fn under(&self, who: Implementation) -> BTreeMap<&'static str, Value> {
        let flags = [
            "--enable-attach",
            "--enable-topology=false",
            "--disable-node-expansion",
            &format!("--drivername={}", self.plugin.driver()),
        ];
        let mut driver = self.stand.driver_of(self.short, &flags);
        let node = NodeDriver {
            name: self.plugin.driver().to_owned(),
            node_id: self.short.to_owned(),
            ..NodeDriver::default()
        };
        self.stand.control_plane.node(self.short, &BTreeMap::new(), &[node]).await.expect("a node");
        let stand_in = ids::before(&self.socket("sock"), &self.socket("ids"), self.plugin).await;
        let mut sidecars = self.sidecars(who);
        let seen = if self.lives { self.life(&stand_in, who).await } else { self.failure(who).await };
        for process in &mut sidecars {
            process.kill();
        }
        if !self.lives && who == Implementation::Go {
            // Without its provisioner nobody holds the claim.
            let claims: Api<PersistentVolumeClaim> =
                Api::namespaced(self.stand.client.clone(), &self.stand.namespace);
            claims.delete("data", &DeleteParams::default()).await.expect("deleted");
            self.until("the end of the claim", async || self.claim().await.is_null()).await;
            // It gives its DeleteVolume no volume id, and the volume stays.
            assert_ne!(self.made(), 0, "upstream has mended this: compare what is left as well");
        }
        drop(stand_in);
        driver.kill();
        seen
    }

    /// The life of a claim; what there is after each step of it.
    async fn life(&self, driver: &StandIn, who: Implementation) -> BTreeMap<&'static str, Value> {
        let mut seen = BTreeMap::new();
        self.ask().await;
        self.until("a bound claim", async || self.claim().await["status"]["phase"] == "Bound").await;
        let migrated = async || {
            let key = "/metadata/annotations/pv.kubernetes.io~1migrated-to";
            self.volume_objects().await.iter().all(|volume| volume.pointer(key).is_some())
        };
        self.until("a volume that is migrated", migrated).await;
        seen.insert("1 provisioned", self.seen().await);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
            "spec": {
                "nodeName": self.short, "containers": [{"name": "main", "image": "i"}],
                "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
            },
        });
        self.stand.control_plane.apply_object(pod, &self.stand.namespace).await.expect("a pod");
        let attached = async || {
            let all = self.attachments().await;
            all.len() == 1 && all.iter().all(|one| one["status"]["attached"] == true)
        };
        self.until("an attachment", attached).await;
        seen.insert("2 attached", self.seen().await);
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.stand.client.clone(), &self.stand.namespace);
        let more = json!({"spec": {"resources": {"requests": {"storage": "3Mi"}}}});
        let patch = kube::api::Patch::Merge(&more);
        claims.patch("data", &kube::api::PatchParams::default(), &patch).await.expect("patched");
        let grown = async || self.claim().await["status"]["capacity"]["storage"] == "3Mi";
        self.until("growth", grown).await;
        seen.insert("3 grown", self.seen().await);
        let pods: Api<Pod> = Api::namespaced(self.stand.client.clone(), &self.stand.namespace);
        pods.delete("web", &DeleteParams::default().grace_period(0)).await.expect("deleted");
        self.until("no attachment", async || self.attachments().await.is_empty()).await;
        seen.insert("4 detached", self.seen().await);
        let names = self.new_names().await;
        let events = self.events(true).await;
        assert!(events.len() >= 3, "{events:?}");
        seen.insert("5 events", names.hidden(&json!(events)));
        self.forget().await;
        let mut asked = driver.asked();
        for method in [
            "CreateVolume",
            "ControllerPublishVolume",
            "ControllerExpandVolume",
            "ControllerUnpublishVolume",
            "DeleteVolume",
        ] {
            // The Go sidecars sometimes send a request twice.
            let times = asked.iter().filter(|one| one.starts_with(method)).count();
            assert!(times == 1 || (times > 1 && who == Implementation::Go), "{asked:?}");
        }
        asked.sort();
        asked.dedup();
        seen.insert("6 requests", names.hidden(&json!(asked)));
        seen
    }

    /// A claim whose volume cannot become an in-tree one: the events about it.
    async fn failure(&self, who: Implementation) -> BTreeMap<&'static str, Value> {
        self.ask().await;
        let failed = async || {
            self.events(false).await.iter().any(|event| event == "\"Warning\" \"ProvisioningFailed\"")
        };
        self.until("a failure", failed).await;
        let events = json!(self.events(false).await);
        if who == Implementation::Ours {
            // Between two attempts there is no volume, and none is left when nobody wants one any more.
            self.until("no volume", async || self.made() == 0).await;
            self.forget().await;
        }
        BTreeMap::from([("events", events)])
    }
}

/// Names and ids that are new in each run, and what each of them is.
struct NewNames(Vec<(String, &'static str)>);

impl NewNames {
    /// What was seen, the same in each run.
    fn hidden(&self, seen: &Value) -> Value {
        let hide = |text: String, (name, word): &(String, &str)| text.replace(name, word);
        serde_json::from_str(&self.0.iter().fold(seen.to_string(), hide)).expect("JSON")
    }
}

/// Removes what is counted and timed, and the annotations of ours that upstream does not have.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| {
                let uncounted = [
                    "resourceVersion",
                    "managedFields",
                    "creationTimestamp",
                    "lastTransitionTime",
                    "lastProbeTime",
                    "lastPhaseTransitionTime",
                    "generation",
                ];
                !uncounted.contains(&key.as_str()) && !key.starts_with("mooring.dev/")
            });
            if map.contains_key("finalizers") && map.contains_key("name") {
                // The uid of the object itself: that of the claim is told by its holder.
                map.remove("uid");
            }
            // Sets, whoever came first.
            for set in ["finalizers", "conditions"] {
                if let Some(Value::Array(list)) = map.get_mut(set) {
                    list.sort_by_key(ToString::to_string);
                }
            }
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_tree_volumes_live_the_same_life_under_both() {
    if !has_hosts("the sidecars beside the Go sidecars, with in-tree volumes") {
        return;
    }
    let stand = Stand::with("both", &[], "csi-sidecars", RIGHTS).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(stand.client.clone(), &stand.namespace);
    let account = async || accounts.get_opt("default").await.ok()?;
    wait::until("the default service account", LIMIT, account).await.expect("an account");
    for (plugin, short, lives) in [
        (Plugin::Cinder, "cinder", true),
        (Plugin::AwsEbs, "ebs", true),
        (Plugin::Portworx, "portworx", true),
        (Plugin::GcePd, "gce", true),
        (Plugin::AzureDisk, "azuredisk", true),
        (Plugin::AzureFile, "azurefile", true),
        (Plugin::Vsphere, "vsphere", true),
        (Plugin::GcePd, "gce-uuid", false),
        (Plugin::AzureDisk, "azuredisk-uuid", false),
        (Plugin::AzureFile, "azurefile-uuid", false),
    ] {
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": short},
            "provisioner": plugin.name(), "parameters": if plugin == Plugin::Portworx { json!({}) } else { json!({"fsType": "xfs"}) },
            "reclaimPolicy": "Delete", "allowVolumeExpansion": true, "mountOptions": ["noatime"],
        });
        let driver = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": plugin.driver()},
            "spec": {"attachRequired": true},
        });
        for object in [class, driver] {
            stand.control_plane.apply_object(object, "").await.expect("applied");
        }
        let mut ends = Vec::new();
        for who in [Implementation::Ours, Implementation::Go] {
            let site = Site { stand: &stand, plugin, short, lives };
            ends.push(site.under(who).await);
        }
        let [ours, go] = &ends[..] else { panic!("two runs") };
        for (moment, object) in go {
            assert_eq!(Some(object), ours.get(moment), "{short}: {moment}, the Go sidecars' on the left");
        }
        println!("{short}: {} moments equal", go.len());
    }
}

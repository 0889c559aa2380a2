//! A control plane with volumes of kubernetes.io/cinder, and our driver under the name of the one that replaced it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::built::executable;
use cluster::stand::Stand;
use cluster::wait;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{DeleteParams, ListParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

pub(crate) const LIMIT: Duration = Duration::from_secs(240);
pub(crate) const CSI: &str = "cinder.csi.openstack.org";
pub(crate) const IN_TREE: &str = "kubernetes.io/cinder";

pub(crate) struct Site {
    pub(crate) stand: Stand,
    /// The executable: built once, before anything is timed or killed.
    mooring: PathBuf,
}

/// Every phase that a claim has had since the watch began.
pub(crate) struct Phases {
    seen: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Phases {
    /// No claim was ever anything but bound.
    pub(crate) async fn only_bound(self) {
        // What was written last has arrived by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.task.abort();
        let seen = std::mem::take(&mut *self.seen.lock().expect("a lock"));
        let other: Vec<&String> = seen.iter().filter(|phase| !phase.ends_with(" Bound")).collect();
        assert!(!seen.is_empty() && other.is_empty(), "{other:?}");
    }
}

impl Site {
    /// Without sidecars, for volumes that nobody has made.
    pub(crate) async fn bare(name: &str) -> Self {
        Self::with_driver(name).await
    }

    pub(crate) async fn with_driver(name: &str) -> Self {
        let rbac = concat!(
            include_str!("../../../../manifests/rbac/provisioner.yaml"),
            "\n---\n",
            include_str!("../../../../manifests/rbac/attacher.yaml")
        );
        let flags = ["--enable-attach", &format!("--drivername={CSI}")];
        let stand = Stand::with(name, &flags, "csi-sidecars", rbac).await;
        for object in [
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": CSI},
                "spec": {"attachRequired": true},
            }),
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "standard"},
                "provisioner": IN_TREE, "parameters": {"fsType": "xfs"}, "reclaimPolicy": "Delete",
            }),
        ] {
            stand.control_plane.apply_object(object, "").await.expect("applied");
        }
        Self { stand, mooring: executable("mooring", "mooring").expect("mooring") }
    }

    pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
        &self,
        what: &str,
        look: impl FnMut() -> F,
    ) -> T {
        wait::until(what, LIMIT, look).await.expect("in time")
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.stand.client.clone(), &self.stand.namespace)
    }

    /// So many claims with volumes that the provisioner, which must run, has made.
    pub(crate) async fn provisioned(&self, count: usize) {
        let claims = self.stand.claims(count, "standard").await;
        let bound = async || {
            let all = claims.list(&ListParams::default()).await.ok()?.items;
            let is_bound = |claim: &PersistentVolumeClaim| {
                claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
            };
            (all.len() == count && all.iter().all(is_bound)).then_some(())
        };
        self.until("the claims to be bound", bound).await;
        // kube-controller-manager says of each volume that it is migrated.
        let told = async || {
            let volumes = self.list("/api/v1/persistentvolumes").await;
            let annotation = "/metadata/annotations/pv.kubernetes.io~1migrated-to";
            volumes.iter().all(|volume| volume.pointer(annotation).is_some()).then_some(())
        };
        self.until("the volumes to be migrated", told).await;
    }

    /// A volume without a claim.
    pub(crate) async fn lonely(&self, name: &str, policy: &str) -> String {
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}, "storageClassName": "none",
                "persistentVolumeReclaimPolicy": policy, "cinder": {"volumeID": format!("id-of-{name}"), "fsType": "xfs"},
            },
        });
        self.stand.control_plane.apply_object(volume, "").await.expect("applied");
        let path = format!("/api/v1/persistentvolumes/{name}");
        let available = async || (self.get(&path).await["status"]["phase"] == "Available").then_some(());
        self.until("the volume to be available", available).await;
        name.to_owned()
    }

    /// A volume and its claim, bound to each other, made by hand.
    pub(crate) async fn pair(&self, name: &str) {
        let namespace = &self.stand.namespace;
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": IN_TREE}},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}, "storageClassName": "standard",
                "persistentVolumeReclaimPolicy": "Delete", "cinder": {"volumeID": format!("id-of-{name}")},
                "claimRef": {"namespace": namespace, "name": name},
            },
        });
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "annotations": {"volume.kubernetes.io/storage-provisioner": IN_TREE}},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "volumeName": name, "storageClassName": "standard",
                "resources": {"requests": {"storage": "1Mi"}},
            },
        });
        for object in [volume, claim] {
            self.stand.control_plane.apply_object(object, namespace).await.expect("applied");
        }
        let bound = async || {
            let both = [self.claim(name).await, self.volume(name).await];
            let migrated = "/metadata/annotations/pv.kubernetes.io~1migrated-to";
            let bound = both.iter().all(|object| object["status"]["phase"] == "Bound");
            (bound && both[1].pointer(migrated).is_some()).then_some(())
        };
        self.until("the claim to be bound", bound).await;
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        self.stand.client.request(request).await.unwrap_or_default()
    }

    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        self.get(path).await["items"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) async fn volume(&self, name: &str) -> Value {
        self.get(&format!("/api/v1/persistentvolumes/{name}")).await
    }

    pub(crate) async fn claim(&self, name: &str) -> Value {
        let namespace = &self.stand.namespace;
        self.get(&format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")).await
    }

    /// Sends a merge patch.
    pub(crate) async fn patch(&self, path: &str, patch: Value) -> Result<Value, kube::Error> {
        let request = http::Request::patch(path)
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string().into_bytes());
        self.stand.client.request(request.expect("a request")).await
    }

    /// Every volume and claim, by kind and name, without what the server counts and times.
    pub(crate) async fn objects(&self) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        let claims = format!("/api/v1/namespaces/{}/persistentvolumeclaims", self.stand.namespace);
        for (kind, path) in [("volume", "/api/v1/persistentvolumes"), ("claim", &claims)] {
            for mut object in self.list(path).await {
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    let uncounted =
                        ["resourceVersion", "managedFields", "creationTimestamp", "finalizers", "generation"];
                    metadata.retain(|key, _| !uncounted.contains(&key.as_str()));
                    if kind == "volume" {
                        metadata.remove("uid");
                    }
                }
                if let Some(status) = object["status"].as_object_mut() {
                    status.retain(|key, _| !matches!(key.as_str(), "lastPhaseTransitionTime" | "conditions"));
                }
                if let Some(holder) = object["spec"]["claimRef"].as_object_mut() {
                    holder.remove("resourceVersion");
                }
                found.insert(
                    format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or_default()),
                    object,
                );
            }
        }
        found
    }

    /// Waits until the objects are these: kube-controller-manager has its annotations to write.
    pub(crate) async fn settle(&self, expected: &BTreeMap<String, Value>) {
        let same = async || (self.objects().await == *expected).then_some(());
        let _ = wait::until("the objects", Duration::from_secs(10), same).await;
    }

    /// The ids of the volumes that the driver has.
    pub(crate) fn driver_volumes(&self) -> Vec<String> {
        let folder = self.stand.control_plane.folder().join("volumes/drivers").join(CSI);
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> =
            names.filter(|name| name.len() == 36 && name.matches('-').count() == 4).collect();
        names.sort();
        names
    }

    pub(crate) async fn delete_claims(&self) {
        let (claims, all) = (self.claims(), ListParams::default());
        claims.delete_collection(&DeleteParams::default(), &all).await.expect("deleted");
    }

    /// The undo file.
    pub(crate) fn file(&self) -> String {
        self.stand.control_plane.folder().join("undo.jsonl").display().to_string()
    }

    /// The command, with the administrator's rights.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.mooring);
        command.arg("migrate").args(args).env("KUBECONFIG", self.stand.control_plane.kubeconfig());
        command
    }

    /// Runs the command to its end; gives its exit code, and all that it said.
    pub(crate) async fn migrate_with(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = self.command(args);
        let output =
            tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("started");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// The same, for a command that has nothing to complain of.
    pub(crate) async fn migrate(&self, args: &[&str]) -> String {
        let (code, text) = self.migrate_with(args).await;
        assert_eq!(code, Some(0), "{args:?}: {text}");
        text
    }

    /// Watches the phases of the namespace's claims from now on.
    pub(crate) fn watch_phases(&self) -> Phases {
        let (claims, seen) = (self.claims(), Arc::new(Mutex::new(Vec::new())));
        let shared = seen.clone();
        let task = tokio::spawn(async move {
            let mut version = "0".to_owned();
            loop {
                let params = WatchParams::default().timeout(290);
                let Ok(stream) = claims.watch(&params, &version).await else { continue };
                let mut stream = stream.boxed();
                while let Ok(Some(event)) = stream.try_next().await {
                    if let WatchEvent::Error(error) = &event {
                        // What the watch has missed nobody knows.
                        shared.lock().expect("a lock").push(format!("the watch: {}", error.message));
                        return;
                    }
                    if let WatchEvent::Added(claim) | WatchEvent::Modified(claim) = event {
                        let phase = claim.status.and_then(|status| status.phase).unwrap_or_default();
                        let name = claim.metadata.name.unwrap_or_default();
                        shared.lock().expect("a lock").push(format!("{name} {phase}"));
                        version = claim.metadata.resource_version.unwrap_or_default();
                    }
                }
            }
        });
        Phases { seen, task }
    }

    /// What keeps claims from being called Lost goes with the last volume.
    pub(crate) async fn no_policy_is_left(&self) {
        for kind in ["validatingadmissionpolicies", "validatingadmissionpolicybindings"] {
            let all = self.list(&format!("/apis/admissionregistration.k8s.io/v1/{kind}")).await;
            let ours = all.iter().filter(|one| one["metadata"]["name"] == "mooring-migrate");
            assert_eq!(ours.count(), 0, "{kind}");
        }
    }

    /// The reasons of the events about claims.
    pub(crate) async fn claim_events(&self) -> Vec<String> {
        let path = format!(
            "/api/v1/namespaces/{}/events?fieldSelector=involvedObject.kind=PersistentVolumeClaim",
            self.stand.namespace
        );
        let events = self.list(&path).await;
        events.iter().filter_map(|event| event["reason"].as_str()).map(str::to_owned).collect()
    }
}

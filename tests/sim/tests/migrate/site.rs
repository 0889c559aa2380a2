//! A cluster with an in-tree volume that a claim has, `data`, and one that is free, `free`.

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use migrate::{MigrateError, Options, Outcome, Progress, convert, undo};
use serde_json::{Value, json};
use sim::{Binder, World};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const VOLUMES: &str = "persistentvolumes";
pub(crate) const CLAIMS: &str = "persistentvolumeclaims";
pub(crate) const MARK: &str = "mooring.dev/migrating";
pub(crate) const RETAINED: &str = "mooring.dev/policy-before";
const IN_TREE: &str = "kubernetes.io/cinder";

pub(crate) fn claim(name: &str, volume: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default", "annotations": {
            "volume.kubernetes.io/storage-provisioner": IN_TREE,
        }},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeName": volume, "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}

pub(crate) fn volume(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": IN_TREE}},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Delete", "cinder": {"volumeID": format!("id-of-{name}")},
        },
    })
}

/// A cluster with the volumes, and an undo file.
pub(crate) struct Site {
    pub(crate) world: World,
    folder: tempfile::TempDir,
    lost: JoinHandle<()>,
    _binder: Binder,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.lost.abort();
    }
}

impl Site {
    pub(crate) async fn new() -> Site {
        let world = World::default();
        let binder = world.binder();
        let mut data = volume("data");
        data["spec"]["claimRef"] = json!({"namespace": "default", "name": "data"});
        for object in [data, volume("free"), claim("data", "data")] {
            world.api.put(object);
        }
        let api = world.api.clone();
        // No claim is ever called Lost while its volume is being replaced.
        let lost = tokio::spawn(async move {
            let mut changes = api.changes();
            while changes.changed().await.is_ok() {
                for claim in api.list(CLAIMS) {
                    let is_marked = !claim["metadata"]["annotations"][MARK].is_null();
                    assert!(!is_marked || claim["status"]["phase"] == "Bound", "{claim}");
                }
            }
        });
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let site = Site { world, folder: folder.unwrap(), lost, _binder: binder };
        site.rest().await;
        assert_eq!(site.get(CLAIMS, "data")["status"]["phase"], "Bound");
        site
    }

    pub(crate) fn get(&self, plural: &str, name: &str) -> Value {
        self.world.api.get(plural, name).unwrap_or_default()
    }

    /// kube-controller-manager has seen everything.
    pub(crate) async fn rest(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!self.lost.is_finished(), "a claim was called Lost");
    }

    /// The undo file.
    pub(crate) fn options(&self) -> Options {
        Options::with_file(self.folder.path().join("undo"))
    }

    /// One command.
    pub(crate) async fn run(&self, client: &Client, back: bool) -> Outcome {
        self.run_with(client, &self.options(), back).await.unwrap()
    }

    pub(crate) async fn run_with(
        &self,
        client: &Client,
        options: &Options,
        back: bool,
    ) -> Result<Outcome, MigrateError> {
        let (mut progress, stop) = (Progress::silent(), CancellationToken::new());
        let ended = match back {
            false => convert(client, options, &mut progress, &stop).await,
            true => undo(client, options, &mut progress, &stop).await,
        };
        self.rest().await;
        ended
    }

    pub(crate) async fn run_alone(&self, back: bool) -> Outcome {
        self.run(&self.world.client(), back).await
    }

    /// The parts of every volume and claim that a conversion changes.
    pub(crate) fn parts(&self) -> Value {
        let part = |object: Value| {
            let annotations = object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
            let mut spec = object["spec"].clone();
            spec["claimRef"] = Value::Null;
            json!([object["metadata"]["name"], annotations, spec])
        };
        let objects =
            [VOLUMES, CLAIMS].map(|plural| self.world.api.list(plural).into_iter().map(part).collect());
        let [volumes, claims]: [Vec<Value>; 2] = objects;
        json!([volumes, claims])
    }

    /// What keeps claims from being called Lost goes with the last volume.
    pub(crate) fn no_policy_is_left(&self, told: &str) {
        for kind in ["validatingadmissionpolicies", "validatingadmissionpolicybindings"] {
            assert_eq!(self.world.api.count(kind), 0, "{told}");
        }
    }
}

/// What a volume is, wherever it is on its way.
pub(crate) fn id(volume: &Value) -> Value {
    let spec = &volume["spec"];
    if spec["csi"].is_null() {
        spec["cinder"]["volumeID"].clone()
    } else {
        spec["csi"]["volumeHandle"].clone()
    }
}

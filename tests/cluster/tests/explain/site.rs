//! One control plane for all states, with our sidecars and driver.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cluster::binaries::Binary;
use cluster::built::executable;
use cluster::implementation::Implementation;
use cluster::stand::{Replica, Stand};
use cluster::wait::until_true;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
};
use kube::core::TypeMeta;
use serde_json::{Value, json};

use crate::state::{State, class, lease, object};

/// How long a state may take to come about.
const LIMIT: Duration = Duration::from_secs(30);

/// The driver that runs.
pub(crate) const DRIVER: &str = "hostpath.csi.k8s.io";

/// Everything that the states need.
pub(crate) struct Site {
    pub(crate) stand: Stand,
    mooring: PathBuf,
    /// Of an account with the sample role of `mooring explain`.
    kubeconfig: PathBuf,
    _sidecars: Vec<Replica>,
}

impl Site {
    /// Starts it.
    pub(crate) async fn up(sidecars: Implementation) -> Self {
        let roles = [
            include_str!("../../../../manifests/rbac/provisioner.yaml"),
            include_str!("../../../../manifests/rbac/attacher.yaml"),
            include_str!("../../../../manifests/rbac/resizer.yaml"),
        ];
        let flags = [
            "--enable-attach",
            "--max-volume-size=1073741824",
            "--enable-controller-modify-volume",
            "--accepted-mutable-parameter-names=speed",
            "--disable-online-expansion",
        ];
        let stand = Stand::scheduled_with("explain", &flags, "mooring", &roles.join("\n---\n")).await;
        stand.control_plane.serve_snapshots().await.expect("snapshots");
        let binaries = [Binary::CsiProvisioner, Binary::CsiAttacher, Binary::CsiResizer];
        let start = |binary: Binary| sidecars.start(&stand, binary, binary.name(), &["--leader-election"]);
        let sidecars = binaries.map(start).into();
        let reader = include_str!("../../../../manifests/rbac/explain.yaml");
        let kubeconfig =
            stand.control_plane.service_account("default", "reader", reader).await.expect("an account");
        let mooring = executable("mooring", "mooring").expect("mooring");
        let site = Self { stand, mooring, kubeconfig, _sidecars: sidecars };
        site.furnish().await;
        site
    }

    /// Nodes and classes that many states use.
    async fn furnish(&self) {
        let driver = |name: &str, keys: &[&str], count: Option<i32>| {
            let mut entry = json!({"name": name, "nodeID": "node-1", "topologyKeys": keys});
            if let Some(count) = count {
                entry["allocatable"] = json!({"count": count});
            }
            entry
        };
        let ours = [driver(DRIVER, &[], None), driver("keyed.example.com", &["example.com/zone"], None)];
        let full = [driver("full.example.com", &[], Some(0))];
        for (name, drivers) in
            [("node-1", ours.as_slice()), ("node-2", &[]), ("node-full", &full), ("node-lost", &ours)]
        {
            let annotations = json!({"volumes.kubernetes.io/controller-managed-attach-detach": "true"});
            let labels = json!({"kubernetes.io/hostname": name});
            let room = json!({"pods": "100", "cpu": "4", "memory": "8Gi"});
            let mut status = json!({"allocatable": room, "capacity": room});
            if name == "node-lost" {
                let since = "2026-01-02T03:04:05Z";
                status["conditions"] =
                    json!([{"type": "Ready", "status": "Unknown", "lastTransitionTime": since}]);
            }
            let metadata = json!({"annotations": annotations, "labels": labels});
            let node = json!({"metadata": metadata, "status": status});
            self.put(object("v1", "Node", name, node), "").await;
            self.put(object("storage.k8s.io/v1", "CSINode", name, json!({"spec": {"drivers": drivers}})), "")
                .await;
        }
        let late = json!({"volumeBindingMode": "WaitForFirstConsumer"});
        self.put(class("keyed", "keyed.example.com", late), "").await;
        self.put(lease("keyed-example-com", "2099-01-02T03:04:05.000000Z"), "default").await;
        let grows = json!({"allowVolumeExpansion": true});
        self.put(class("gone", "gone.example.com", grows), "").await;
        self.put(class("csi", DRIVER, json!({"allowVolumeExpansion": true})), "").await;
    }

    /// Makes the objects of a state, in a namespace that is called as the state.
    pub(crate) async fn make(&self, state: &State) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": state.name}});
        self.stand.control_plane.apply_object(namespace, "").await.expect("a namespace");
        for object in &state.objects {
            self.put(object.clone(), state.name).await;
        }
    }

    /// Makes one object, with its status. `bound` waits until it is bound, `attached` until the
    /// claim is attached somewhere, `later` is then merged into it, `deleted` deletes it,
    /// and `freed` takes its finalizers away.
    pub(crate) async fn put(&self, mut object: Value, namespace: &str) {
        let fields = object.as_object_mut().expect("an object");
        let status = fields.remove("status");
        let deleted = fields.remove("deleted").is_some();
        let freed = fields.remove("freed").is_some();
        let is_bound = fields.remove("bound").is_some();
        let is_attached = fields.remove("attached").is_some();
        let later = fields.remove("later");
        // A content names its snapshot by uid too.
        if let Some(uid) = object.pointer_mut("/spec/volumeSnapshotRef/uid") {
            let snapshot = object_of("snapshot.storage.k8s.io/v1", "VolumeSnapshot");
            let snapshot = self.api(&snapshot, Some(namespace)).get("snap").await.expect("a snapshot");
            *uid = json!(snapshot.metadata.uid);
        }
        let made = self.stand.control_plane.apply_object(object.clone(), namespace).await;
        let made = made.unwrap_or_else(|error| panic!("{namespace}: {error:?}"));
        let api = self.api(&object, made.metadata.namespace.as_deref());
        let name = made.metadata.name.expect("a name");
        if let Some(status) = status {
            let patch = Patch::Merge(json!({"status": status}));
            api.patch_status(&name, &PatchParams::default(), &patch).await.expect("a status");
        }
        if is_attached {
            let attached = async || {
                let kind = object_of("storage.k8s.io/v1", "VolumeAttachment");
                let claim =
                    self.api(&object_of("v1", "PersistentVolumeClaim"), Some(namespace)).get("data").await;
                let volume = claim.map(|claim| claim.data["spec"]["volumeName"].clone()).unwrap_or_default();
                let all = self
                    .api(&kind, None)
                    .list(&ListParams::default())
                    .await
                    .map(|all| all.items)
                    .unwrap_or_default();
                all.iter().any(|it| {
                    it.data["status"]["attached"] == true
                        && it.data["spec"]["source"]["persistentVolumeName"] == volume
                })
            };
            until_true(&format!("{namespace}: a volume to be attached"), LIMIT, attached)
                .await
                .expect("attached");
        }
        if is_bound || later.is_some() {
            let bound = async || api.get(&name).await.is_ok_and(|it| it.data["status"]["phase"] == "Bound");
            until_true(&format!("{namespace}: {name} to be bound"), LIMIT, bound).await.expect("bound");
        }
        if let Some(later) = later {
            api.patch(&name, &PatchParams::default(), &Patch::Merge(later)).await.expect("patched");
        }
        if deleted {
            api.delete(&name, &DeleteParams::background()).await.expect("deleted");
        }
        if freed {
            let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            api.patch(&name, &PatchParams::default(), &free).await.expect("freed");
        }
    }

    fn api(&self, object: &Value, namespace: Option<&str>) -> Api<DynamicObject> {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let types = TypeMeta { api_version: text("/apiVersion"), kind: text("/kind") };
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types).expect("a kind"));
        match namespace {
            Some(namespace) => Api::namespaced_with(self.stand.client.clone(), namespace, &resource),
            None => Api::all_with(self.stand.client.clone(), &resource),
        }
    }

    /// The kubeconfig of who asks.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The executable.
    pub(crate) fn mooring(&self) -> &Path {
        &self.mooring
    }

    /// A command line of `mooring explain`.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.mooring);
        command.arg("explain").args(args).env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// What it says, without what differs from run to run.
    pub(crate) async fn explain(&self, args: &[&str]) -> String {
        let mut command = self.command(args);
        let output =
            tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("run");
        let text = [output.stdout, output.stderr].concat();
        masked(&String::from_utf8_lossy(&text))
    }

    /// Waits until the state's object is explained as it should be. Gives what is wrong otherwise.
    pub(crate) async fn check(
        &self,
        state: &State,
        expected: &str,
        compared: impl Fn(&str) -> String,
    ) -> Result<(), String> {
        let end = Instant::now() + LIMIT;
        loop {
            let said = self.explain(&state.args()).await;
            if compared(said.trim()) == expected {
                return self.says_more(state, &said).await;
            }
            if Instant::now() >= end {
                return Err(format!("---- {}: expected\n{expected}\n---- but it says\n{said}\n", state.name));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// The answer says what the last event of the object does not.
    async fn says_more(&self, state: &State, said: &str) -> Result<(), String> {
        let name = state.ask.split(' ').nth(1).unwrap_or_default();
        let kind = GroupVersionKind::gvk("", "v1", "Event");
        let events: Api<DynamicObject> =
            Api::all_with(self.stand.client.clone(), &ApiResource::from_gvk(&kind));
        let of = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let mut events = events.list(&of).await.expect("events").items;
        events.retain(|event| {
            ["default", state.name].contains(&event.metadata.namespace.as_deref().unwrap_or(""))
        });
        let last = events.iter().max_by_key(|event| event.data["lastTimestamp"].as_str().map(str::to_owned));
        let message = last.and_then(|event| event.data["message"].as_str()).unwrap_or_default();
        let known = |line: &&str| message.contains(line.split_once(':').map_or("", |(_, text)| text.trim()));
        let answers = ["  happened:", "  who acts:", "  run:"];
        let new = said.lines().filter(|line| answers.iter().any(|start| line.starts_with(start)));
        let is_error = said.starts_with("mooring explain: ");
        match (is_error || new.clone().count() >= answers.len()) && !new.clone().any(|line| known(&line)) {
            true => Ok(()),
            false => Err(format!("{}: the last event says as much: {message}", state.name)),
        }
    }
}

/// An object of a kind, for its API.
fn object_of(api_version: &str, kind: &str) -> Value {
    object(api_version, kind, "", json!({}))
}

/// Times, uids and hashes as words.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    for line in text.lines() {
        // Kubernetes 1.36 says this otherwise; and what the scheduler says of preemption has no bearing.
        let line = line.replace("Multi-Attach error for volume", "Waiting for detach for volume");
        let line = line.split(" preemption: ").next().unwrap_or_default();
        let line = match line.split_once("  since:     ") {
            Some((before, _)) => format!("{before}  since:     TIME (AGE)"),
            None => line.split(' ').map(word).collect::<Vec<_>>().join(" "),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(masked, "{line}");
    }
    masked
}

/// A word whose uids are called UID, and its hashes HASH.
fn word(word: &str) -> String {
    let is_hex = |text: &str| text.chars().all(|letter| letter == '-' || letter.is_ascii_hexdigit());
    let is_uid = |text: &str| is_hex(text) && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let is_hash = |text: &str| is_hex(text) && !text.contains('-');
    let mut out = String::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let (name, length) = match (rest.get(..64), rest.get(..36)) {
            (Some(hash), _) if is_hash(hash) => ("HASH", 64),
            (_, Some(uid)) if is_uid(uid) => ("UID", 36),
            _ => (rest.get(..first.len_utf8()).unwrap_or_default(), first.len_utf8()),
        };
        out.push_str(name);
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

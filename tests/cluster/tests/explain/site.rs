//! One control plane for all states, with our sidecars and driver.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use cluster::built::executable;
use cluster::stand::{Replica, Stand};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
};
use kube::core::TypeMeta;
use serde_json::{Value, json};

use crate::state::State;

/// How long a state may take to come about.
const LIMIT: Duration = Duration::from_secs(30);

/// Everything that the states need.
pub(crate) struct Site {
    pub(crate) stand: Stand,
    mooring: PathBuf,
    _sidecars: Vec<Replica>,
}

impl Site {
    /// Starts it.
    pub(crate) async fn up() -> Self {
        let roles = [
            include_str!("../../../../manifests/rbac/provisioner.yaml"),
            include_str!("../../../../manifests/rbac/attacher.yaml"),
            include_str!("../../../../manifests/rbac/resizer.yaml"),
        ];
        let flags = ["--enable-attach", "--max-volume-size=1073741824", "--enable-controller-modify-volume"];
        let stand = Stand::scheduled_with("explain", &flags, "mooring", &roles.join("\n---\n")).await;
        stand.control_plane.serve_snapshots().await.expect("snapshots");
        let sidecars = ["csi-provisioner", "csi-attacher", "csi-resizer"];
        let start = |sidecar: &&str| stand.sidecar(sidecar, sidecar, &["--leader-election"]);
        let sidecars = sidecars.iter().map(start).collect();
        let mooring = executable("mooring", "mooring").expect("mooring");
        Self { stand, mooring, _sidecars: sidecars }
    }

    /// Makes the objects of a state, in a namespace that is called as the state.
    pub(crate) async fn make(&self, state: &State) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": state.name}});
        self.stand.control_plane.apply_object(namespace, "").await.expect("a namespace");
        for object in &state.objects {
            self.put(object.clone(), state.name).await;
        }
    }

    /// Makes one object, with its status; `deleted` asks for its deletion.
    pub(crate) async fn put(&self, mut object: Value, namespace: &str) {
        let fields = object.as_object_mut().expect("an object");
        let status = fields.remove("status");
        let deleted = fields.remove("deleted").is_some();
        let later = fields.remove("later");
        let made = self.stand.control_plane.apply_object(object.clone(), namespace).await;
        let made = made.unwrap_or_else(|error| panic!("{namespace}: {error:?}"));
        let api = self.api(&object, made.metadata.namespace.as_deref());
        let name = made.metadata.name.expect("a name");
        if let Some(status) = status {
            let patch = Patch::Merge(json!({"status": status}));
            api.patch_status(&name, &PatchParams::default(), &patch).await.expect("a status");
        }
        if let Some(later) = later {
            api.patch(&name, &PatchParams::default(), &Patch::Merge(later)).await.expect("patched");
        }
        if deleted {
            api.delete(&name, &DeleteParams::background()).await.expect("deleted");
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

    /// A command line of `mooring explain`.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.mooring);
        command.arg("explain").args(args).env_remove("KUBECONFIG");
        if !args.iter().any(|arg| arg.starts_with("--kubeconfig")) {
            command.arg(format!("--kubeconfig={}", self.stand.control_plane.kubeconfig().display()));
        }
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
    pub(crate) async fn check(&self, state: &State, expected: &str) -> Result<(), String> {
        let end = Instant::now() + LIMIT;
        loop {
            let said = self.explain(&state.args()).await;
            if said.trim() == expected {
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
        let answers = ["  waits for:", "  who acts:"];
        let new = said.lines().filter(|line| answers.iter().any(|start| line.starts_with(start)));
        match new.clone().count() >= 2 && !new.clone().any(|line| known(&line)) {
            true => Ok(()),
            false => Err(format!("{}: the last event says as much: {message}", state.name)),
        }
    }
}

/// Times and uids as words.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    for line in text.lines() {
        let line = match line.split_once("  since:     ") {
            Some((before, _)) => format!("{before}  since:     TIME (AGE)"),
            None => line.split(' ').map(word).collect::<Vec<_>>().join(" "),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(masked, "{line}");
    }
    masked
}

/// A word whose uids are called UID.
fn word(word: &str) -> String {
    const UID: usize = 36;
    let is_uid = |text: &str| {
        text.len() == UID
            && text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
            && text.chars().all(|letter| letter == '-' || letter.is_ascii_hexdigit())
    };
    let mut out = String::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        match rest.get(..UID).filter(|text| is_uid(text)) {
            Some(_) => {
                out.push_str("UID");
                rest = rest.get(UID..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
    }
    out
}

//! Looks at every change whether a source is there as long as it has to be.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csi::ErrorClass;
use csi::v1::CreateVolumeRequest;
use serde_json::Value;
use sim::{Call, World};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Status;

/// What has gone wrong since [`watch`]. It ends when this is dropped.
pub(super) struct Watched {
    wrong: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl Watched {
    pub(super) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().iter().cloned().collect()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// From now on, no source disappears while a request that names it is open: it was sent, it is written down, and the driver has given no
/// final answer to it, or its volume has no object yet.
pub(super) fn watch(world: &World) -> Watched {
    let wrong = Arc::<Mutex<BTreeSet<String>>>::default();
    let (found, world, mut changes) = (wrong.clone(), world.clone(), world.api.changes());
    let task = tokio::spawn(async move {
        let mut volumes = BTreeSet::new();
        loop {
            // A call changes nothing at the API server: look again now and then while something is written down.
            let again = if written(&world).is_empty() { Duration::MAX } else { Duration::from_millis(250) };
            if timeout(again, changes.changed()).await.is_ok_and(|changed| changed.is_err()) {
                break;
            }
            let names = world.api.list("persistentvolumes").into_iter();
            volumes.extend(names.filter_map(|one| one["metadata"]["name"].as_str().map(str::to_owned)));
            for (name, plural, source) in written(&world) {
                if is_open(&world, &name, &volumes) && world.api.get(plural, &source).is_none() {
                    found.lock().unwrap().insert(format!("{plural} {source} is gone, but {name} needs it"));
                }
            }
        }
    });
    Watched { wrong, task }
}

/// What is written down: the volume's name, and its source's resource and key.
fn written(world: &World) -> Vec<(String, &'static str, String)> {
    let leases = world.api.list("leases");
    let annotations = leases.iter().filter_map(|lease| lease.pointer("/metadata/annotations")?.as_object());
    let texts = annotations.flat_map(|all| all.values()).filter_map(Value::as_str);
    texts.filter_map(|text| source_of(&serde_json::from_str(text).ok()?)).collect()
}

fn source_of(intent: &Value) -> Option<(String, &'static str, String)> {
    let claim = &intent["claim"];
    let source = ["dataSource", "dataSourceRef"]
        .into_iter()
        .map(|field| &claim["spec"][field])
        .find(|one| one.is_object())?;
    let namespace = source["namespace"].as_str().or_else(|| claim["metadata"]["namespace"].as_str())?;
    let plural = match source["kind"].as_str()? {
        "VolumeSnapshot" => "volumesnapshots",
        _ => "persistentvolumeclaims",
    };
    Some((intent["name"].as_str()?.to_owned(), plural, format!("{namespace}/{}", source["name"].as_str()?)))
}

fn is_for(call: &Call, name: &str) -> bool {
    call.request::<CreateVolumeRequest>().is_some_and(|request| request.name == name)
}

/// Whether the request is open. `volumes`: those that have ever had an object.
fn is_open(world: &World, name: &str, volumes: &BTreeSet<String>) -> bool {
    let calls = world.driver.calls_of("CreateVolume");
    let Some(last) = calls.iter().rfind(|call| is_for(call, name)) else { return false };
    let is_refused = last.code.is_some_and(|code| {
        code != tonic::Code::Ok && csi::class(&Status::new(code, "")) == ErrorClass::Final
    });
    !volumes.contains(name) && !is_refused
}

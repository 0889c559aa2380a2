//! An API server, a driver, and lives of a process between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csi::Connection;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::{ApiServer, admission};
use crate::binder::{self, Binder};
use crate::driver::{Driver, Settings};
use crate::steps::{Fault, Life, Steps};

/// A process under test: called for each of its lives, with a world whose client and connection end with that life.
pub type Process = Arc<dyn Fn(World) -> BoxFuture<'static, ()> + Send + Sync>;

/// The world as one life of the process under test sees it; clones share everything.
#[derive(Debug, Clone)]
pub struct World {
    /// The API server. Its own methods are the test's hands; the process uses [`World::client`].
    pub api: ApiServer,
    /// The driver. Its own methods are the test's hands; the process uses [`World::connection`].
    pub driver: Driver,
    /// What the process asks for, numbered, and what goes wrong at it.
    pub steps: Steps,
    life: Life,
    who: String,
}

impl Default for World {
    fn default() -> World {
        World::new(Settings::default())
    }
}

impl World {
    /// An empty cluster and a driver without volumes.
    pub fn new(settings: Settings) -> World {
        let (api, driver, steps) = (ApiServer::new(), Driver::new(settings), Steps::default());
        let (disturbed_api, disturbed_driver) = (api.clone(), driver.clone());
        steps.disturb_by(move |fault| match fault {
            Fault::BreakWatches => {
                disturbed_api.expire_history();
                disturbed_api.break_watches() > 0
            }
            Fault::RestartDriver => disturbed_driver.restart() > 0,
            _ => false,
        });
        World { api, driver, life: Life::new(steps.clone()), steps, who: "sidecar".to_owned() }
    }

    /// The process's client: its requests are steps, and it falls silent when the process dies. In
    /// [`ApiServer::requests`] and [`ApiServer::grant_only`] it is called `sidecar`.
    pub fn client(&self) -> kube::Client {
        self.api.client_of(&self.who, self.life.clone())
    }

    /// The process's connection to the driver: its calls are steps, and it is cut when the process dies.
    pub fn connection(&self) -> Connection {
        self.driver.connection_of(Some(self.life.clone()))
    }

    /// The same world for another process, called `who`, with a life of its own. Both share the steps.
    pub fn other(&self, who: &str) -> World {
        World { life: Life::new(self.steps.clone()), who: who.to_owned(), ..self.clone() }
    }

    /// Starts the binder of kube-controller-manager, 5 ms behind every change.
    pub fn binder(&self) -> Binder {
        binder::start(&self.api, Duration::from_millis(5))
    }

    /// Starts `process` and keeps it running: when it dies or ends, it is started again after `pause`.
    pub fn run<P, F>(&self, pause: Duration, process: P) -> Running
    where
        P: Fn(World) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.keep_running(pause, Arc::new(move |world| Box::pin(process(world))))
    }

    pub(crate) fn keep_running(&self, pause: Duration, process: Process) -> Running {
        let state = Arc::new(Mutex::new(RunState { life: self.life.clone(), lives: 0, panics: Vec::new() }));
        let (world, shared) = (self.clone(), state.clone());
        let task = tokio::spawn(async move {
            loop {
                let world = world.other(&world.who);
                {
                    let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    state.life = world.life.clone();
                    state.lives += 1;
                }
                let life = world.life.clone();
                let mut process = AbortOnDrop(tokio::spawn(process(world)));
                let ended = tokio::select! {
                    ended = &mut process.0 => ended,
                    () = life.ended() => Ok(()),
                };
                // Tasks that it left behind get no more answers.
                life.kill();
                drop(process);
                if let Err(error) = ended
                    && error.is_panic()
                {
                    let panic = message_of(error.into_panic().as_ref());
                    shared.lock().unwrap_or_else(PoisonError::into_inner).panics.push(panic);
                }
                tokio::time::sleep(pause).await;
            }
        });
        Running { task: AbortOnDrop(task), state }
    }

    /// What there is, in a form that runs can be compared by: every object but events and leases, without versions, times
    /// and the like; and the driver's volumes, publications and snapshots.
    pub fn end_state(&self) -> BTreeMap<String, Value> {
        let mut state = BTreeMap::new();
        for (name, mut object) in self.api.everything(&["events", "leases"]) {
            normalise(&mut object);
            admission::remove_at(&mut object, "/metadata/uid");
            let generated =
                object.pointer("/metadata/generateName").and_then(Value::as_str).map(str::to_owned);
            match generated {
                // The letters depend on how many were made before: only what it says counts.
                Some(prefix) => {
                    admission::remove_at(&mut object, "/metadata/name");
                    let plural = name.split(' ').next().unwrap_or_default();
                    state.insert(format!("{plural} {prefix}* {object}"), json!(true));
                }
                None => {
                    state.insert(name, object);
                }
            }
        }
        let model = self.driver.model();
        for (id, volume) in &model.volumes {
            let nodes: Vec<String> = volume.published.keys().cloned().collect();
            let text = json!({
                "name": volume.name,
                "capacity": volume.capacity,
                "parameters": volume.parameters,
                "mutable": volume.mutable_parameters,
                "published": nodes,
            });
            state.insert(format!("driver's volume {id}"), text);
        }
        for (id, snapshot) in &model.snapshots {
            state.insert(format!("driver's snapshot {id}"), json!({ "source": snapshot.source }));
        }
        state
    }
}

/// Removes what differs from run to run without meaning: versions, times, managers, the provisioner's identity.
fn normalise(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| {
                !matches!(
                    key.as_str(),
                    "resourceVersion"
                        | "creationTimestamp"
                        | "managedFields"
                        | "generation"
                        | "time"
                        | "lastPhaseTransitionTime"
                        | "lastTransitionTime"
                        | "lastProbeTime"
                )
            });
            for (key, value) in map {
                match key.as_str() {
                    "deletionTimestamp" | "storage.kubernetes.io/csiProvisionerIdentity" => {
                        *value = json!("*")
                    }
                    _ => normalise(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(normalise),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[derive(Debug)]
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct RunState {
    life: Life,
    lives: usize,
    panics: Vec<String>,
}

/// A process that is kept running; dropping this ends it.
#[derive(Debug)]
pub struct Running {
    task: AbortOnDrop<()>,
    state: Arc<Mutex<RunState>>,
}

impl Running {
    fn state(&self) -> std::sync::MutexGuard<'_, RunState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the present life as SIGKILL does; the next begins after the pause.
    pub fn kill(&self) {
        self.state().life.kill();
    }

    /// Kills it for good.
    pub fn stop(self) {
        self.task.0.abort();
        self.kill();
    }

    /// How often it was started.
    pub fn lives(&self) -> usize {
        self.state().lives
    }

    /// The messages of its panics.
    pub fn panics(&self) -> Vec<String> {
        self.state().panics.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a panic said.
pub(crate) fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic".to_owned())
}

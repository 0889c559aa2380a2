//! An API server in memory: storage, watches, patches and admission of kube-apiserver, for the resources that CSI
//! sidecars use.
//!
//! It promises what the real one does to the requests that sidecars make; `tests/against_real.rs` sends the same requests
//! to both. Time is tokio's, so a paused clock works; uids and generated names depend only on the names, so runs can
//! be compared. Not here: server-side apply, tables, garbage collection by owner, protobuf.

mod access;
pub(crate) mod admission;
mod discovery;
mod history;
mod lost;
mod outage;
mod patch;
mod path;
mod policy;
mod read;
mod refusal;
mod resource;
pub(crate) mod selector;
mod served;
mod service;
mod stale;
mod store;
mod watch;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use access::Rights;
pub use access::Rule;
pub(crate) use patch::merge;
use path::Target;
use resource::{RESOURCES, by_kind, by_plural};
use served::Served;
use store::{Key, Kind, Store};
use write::Writer;

/// One request, as it was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The client's name, as given to [`ApiServer::client`].
    pub who: String,
    /// RBAC's word: get list watch create update patch delete deletecollection.
    pub verb: String,
    /// The plural of the resource; a discovery document's path.
    pub resource: String,
    /// `status`, or empty.
    pub subresource: String,
    /// Empty for cluster-scoped objects and for all namespaces.
    pub namespace: String,
    /// Empty for collections; the generated name after a create.
    pub name: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// The body that was sent; null if none.
    pub body: Value,
}

impl Request {
    /// Whether it was meant to change something.
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
            && !self.resource.starts_with("selfsubject")
    }
}

/// How an API server fails to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Connections are refused, and watches end when it begins.
    Refused,
    /// Requests wait for its end and are answered then; watches are silent.
    Hanging,
}

#[derive(Debug)]
struct State {
    store: Store,
    unread: read::Unread,
    requests: Vec<Request>,
    rights: BTreeMap<String, Rights>,
    served: Served,
    disturbance: watch::Disturbance,
    latency: Duration,
    outage: Option<(Outage, tokio::time::Instant)>,
    /// Whether lists may be streamed.
    streams: bool,
}

/// The API server; clones share it.
#[derive(Debug, Clone)]
pub struct ApiServer {
    state: Arc<Mutex<State>>,
    /// The last change's resourceVersion.
    changed: tokio::sync::watch::Sender<u64>,
    /// Counts [`ApiServer::break_watches`].
    breaks: tokio::sync::watch::Sender<u64>,
}

impl Default for ApiServer {
    fn default() -> ApiServer {
        ApiServer::new()
    }
}

impl ApiServer {
    /// An API server with the namespaces `default` and `kube-system`, and nothing else.
    pub fn new() -> ApiServer {
        let state = State {
            store: Store::new(),
            unread: BTreeMap::new(),
            requests: Vec::new(),
            rights: BTreeMap::new(),
            served: Served::default(),
            disturbance: watch::Disturbance::default(),
            latency: Duration::from_millis(1),
            outage: None,
            streams: true,
        };
        let server = ApiServer {
            state: Arc::new(Mutex::new(state)),
            changed: tokio::sync::watch::Sender::new(0),
            breaks: tokio::sync::watch::Sender::new(0),
        };
        for namespace in ["default", "kube-system"] {
            server.ensure_namespace(namespace);
        }
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not hide itself behind a second one here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `change` and wakes the watches.
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        let version = state.store.version;
        drop(state);
        self.changed.send_if_modified(|last| std::mem::replace(last, version) != version);
        result
    }

    /// All requests so far, in the order in which they were answered; those of the methods here are not among them.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// Forgets [`ApiServer::requests`].
    pub fn clear_requests(&self) {
        self.state().requests.clear();
    }

    // ---- the user's hands: at once, with every right, unrecorded ----

    /// Creates the object, or replaces the one of its name; its status is stored too. Missing namespaces are made.
    /// Gives the object as stored.
    ///
    /// # Panics
    /// When the API server refuses it: the test is wrong.
    #[allow(clippy::panic)]
    pub fn put(&self, object: Value) -> Value {
        let target = target_of(&object);
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.ensure_namespace(&target.namespace);
        if !name.is_empty()
            && self.get(target.resource.plural, &reference(&target.namespace, &name)).is_some()
        {
            return self.edit(target.resource.plural, &reference(&target.namespace, &name), |old| {
                let metadata = old.get("metadata").cloned().unwrap_or_default();
                let new = object.pointer("/metadata").cloned().unwrap_or_default();
                *old = object;
                admission::set_at(old, &["metadata"], metadata);
                for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                    match new.get(field) {
                        Some(value) => admission::set_at(old, &["metadata", field], value.clone()),
                        None => admission::remove_at(old, &format!("/metadata/{field}")),
                    }
                }
            });
        }
        match self.create(object) {
            Ok(created) => created,
            Err((code, answer)) => panic!("put refused with {code}: {answer}"),
        }
    }

    /// Creates the object; its status is stored too.
    ///
    /// # Errors
    /// The HTTP status and the Status object of the refusal.
    pub fn create(&self, object: Value) -> Result<Value, (u16, Value)> {
        let mut target = target_of(&object);
        if target.resource.namespaced && target.namespace.is_empty() {
            target.namespace = "default".to_owned();
        }
        let writer = Writer { manager: "user".to_owned(), dry_run: false, sets_status: true };
        self.with(|state| write::create(&mut state.store, &target, object, &writer))
            .map(|(_, object)| object.as_ref().clone())
            .map_err(|refusal| (refusal.code, refusal.body()))
    }

    /// The object `name` (or `namespace/name`) of the resource `plural`.
    pub fn get(&self, plural: &str, name: &str) -> Option<Value> {
        let key = key_of(plural, name);
        self.state().store.objects.get(&key).map(|object| object.as_ref().clone())
    }

    /// All objects of the resource `plural`, in all namespaces, by namespace and name.
    pub fn list(&self, plural: &str) -> Vec<Value> {
        let (index, _) = known(plural);
        self.state().store.list(index, "").map(|object| object.as_ref().clone()).collect()
    }

    /// How many objects the resource `plural` has.
    pub fn count(&self, plural: &str) -> usize {
        let (index, _) = known(plural);
        self.state().store.list(index, "").count()
    }

    /// Changes the object in place, its status and finalizers too. An object being deleted goes with its last finalizer.
    /// Gives the object as stored.
    ///
    /// # Panics
    /// When there is no such object: the test is wrong.
    #[allow(clippy::panic)]
    pub fn edit(&self, plural: &str, name: &str, change: impl FnOnce(&mut Value)) -> Value {
        self.edit_if_there(plural, name, change)
            .unwrap_or_else(|| panic!("there is no {plural} {name} to edit"))
    }

    /// As [`ApiServer::edit`]; `None` when there is no such object.
    pub fn edit_if_there(&self, plural: &str, name: &str, change: impl FnOnce(&mut Value)) -> Option<Value> {
        let key = key_of(plural, name);
        self.with(|state| {
            let old = state.store.objects.get(&key)?.clone();
            let mut new = old.as_ref().clone();
            change(&mut new);
            if new == *old {
                return Some(new);
            }
            let deleting = new.pointer("/metadata/deletionTimestamp").is_some();
            let finalizers =
                new.pointer("/metadata/finalizers").and_then(Value::as_array).map_or(0, Vec::len);
            if finalizers == 0 {
                admission::remove_at(&mut new, "/metadata/finalizers");
            }
            let kind = if deleting && finalizers == 0 { Kind::Deleted } else { Kind::Modified };
            Some(state.store.commit(&key, kind, new).as_ref().clone())
        })
    }

    /// Asks for the object's deletion. Whether there was one; it may stay until its finalizers are gone.
    pub fn delete(&self, plural: &str, name: &str) -> bool {
        let key = key_of(plural, name);
        let (index, resource) = known(plural);
        let Key { namespace, name, .. } = key;
        let target = Target { index, resource, namespace, name: Some(name), subresource: None };
        let writer = Writer { manager: "user".to_owned(), dry_run: false, sets_status: true };
        let options = json!({ "gracePeriodSeconds": 0 });
        self.with(|state| write::delete(&mut state.store, &target, &options, &writer)).is_ok()
    }

    fn ensure_namespace(&self, name: &str) {
        if !name.is_empty() && self.get("namespaces", name).is_none() {
            // Refused only if it is there by now, which is all we want.
            let _ =
                self.create(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
        }
    }

    // ---- disturbances ----

    /// Ends every watch, as a restart of the API server or a proxy does; says how many there were.
    pub fn break_watches(&self) -> usize {
        self.breaks.send_modify(|count| *count += 1);
        self.breaks.receiver_count()
    }

    /// Forgets the history: a watch from before now gets 410, and so does the rest of a list begun before.
    pub fn expire_history(&self) {
        let mut state = self.state();
        state.store.forget();
        state.unread.clear();
    }

    /// From now on every watch event comes twice, or once again.
    pub fn duplicate_events(&self, twice: bool) {
        self.state().disturbance.duplicate = twice;
    }

    /// From now on watch events are seen this long after they happened: caches are stale.
    pub fn delay_watch(&self, delay: Duration) {
        self.state().disturbance.delay = delay;
        self.changed.send_modify(|_| {});
    }

    /// How long a request takes on its way in, and again its answer on its way back. 1 ms unless set.
    pub fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// The client `who` may do only this; everything else is 403. Without this it may do everything.
    pub fn grant_only(&self, who: &str, rules: Vec<Rule>) {
        self.state().rights.insert(who.to_owned(), Rights { rules: Some(rules) });
    }

    /// The `rules` of a Role or ClusterRole in JSON form, for [`ApiServer::grant_only`].
    ///
    /// # Errors
    /// The JSON is not a list of rules.
    pub fn rules(json: Value) -> Result<Vec<Rule>, serde_json::Error> {
        serde_json::from_value(json)
    }

    // ---- waiting ----

    /// Waits until `look` gives something, asking again after each change of any object.
    ///
    /// # Panics
    /// After `limit` (virtual time), naming `what`.
    #[allow(clippy::panic)]
    pub async fn until<T>(&self, what: &str, limit: Duration, look: impl Fn(&ApiServer) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let end = Instant::now() + limit;
        loop {
            changed.borrow_and_update();
            if let Some(found) = look(self) {
                return found;
            }
            // What is looked at may also be the driver, which wakes nobody: look again now and then.
            let again = (Instant::now() + Duration::from_millis(250)).min(end);
            if tokio::time::timeout_at(again, changed.changed()).await.is_err() && Instant::now() >= end {
                panic!("waited {} s for {what}", limit.as_secs());
            }
        }
    }

    /// Tells about every change; the value is the last resourceVersion.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Every object but those of the resources in `without`, by resource and name.
    pub(crate) fn everything(&self, without: &[&str]) -> BTreeMap<String, Value> {
        let state = self.state();
        let name = |key: &Key| {
            let resource = RESOURCES.get(key.index)?;
            let place = reference(&key.namespace, &key.name);
            (!without.contains(&resource.plural)).then(|| format!("{} {place}", resource.plural))
        };
        let objects = state.store.objects.iter();
        objects.filter_map(|(key, object)| Some((name(key)?, object.as_ref().clone()))).collect()
    }
}

/// `namespace/name`, or `name`.
fn reference(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

#[allow(clippy::panic)]
fn known(plural: &str) -> (resource::Index, &'static resource::Resource) {
    by_plural(plural).unwrap_or_else(|| panic!("the API server has no resource {plural}"))
}

/// A namespaced name without its namespace is in `default`.
fn key_of(plural: &str, name: &str) -> Key {
    let (index, resource) = known(plural);
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (namespace, name),
        None if resource.namespaced => ("default", name),
        None => ("", name),
    };
    Key { index, namespace: namespace.to_owned(), name: name.to_owned() }
}

/// Where the object belongs, by its apiVersion, kind and namespace.
#[allow(clippy::panic)]
fn target_of(object: &Value) -> Target {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    let Some((index, resource)) = by_kind(api_version, kind) else {
        panic!("the API server has no kind {kind} in {api_version}: {object}");
    };
    let namespace = match text("/metadata/namespace") {
        "" if resource.namespaced => "default",
        namespace => namespace,
    };
    Target { index, resource, namespace: namespace.to_owned(), name: None, subresource: None }
}

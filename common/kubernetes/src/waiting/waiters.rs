//! The waiters, by object.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::object::{Key, Object};
use crate::secret::SecretRef;
use crate::store::{Change, Store};

/// What somebody waits for. `C` is the sidecar's own enum: it names the kind of object and its condition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum On<C> {
    /// The object of this key, in this condition (see [`Waiting::follow`]).
    Object(C, Key),
    /// This Secret.
    Secret(SecretRef),
}

type Check = Box<dyn Fn(&Key) -> bool + Send + Sync>;

/// Who waits for what. A waiter is an object of one kind; it waits for one object at a time.
pub struct Waiting<C> {
    state: Mutex<State<C>>,
    /// For each condition, a check whether the cache has the object of a key in that condition.
    checks: Mutex<Vec<(C, Check)>>,
    /// Whether a waiter still exists.
    exists: Check,
    wake: Box<dyn Fn(&Key) + Send + Sync>,
    /// Notified when somebody begins to wait for a Secret.
    secret_wanted: Notify,
}

struct State<C> {
    by_object: BTreeMap<On<C>, Waiters>,
    on: HashMap<Key, Wait<C>>,
    /// How many of the objects are Secrets.
    secrets: usize,
    /// How many polls for a Secret did not find it.
    polls: u64,
}

#[derive(Default)]
struct Waiters {
    keys: BTreeSet<Key>,
    /// Number of the last poll that did not find the object.
    missing: u64,
}

struct Wait<C> {
    on: On<C>,
    /// Number of the last poll before the wait began.
    since: u64,
}

impl<C: Copy + Ord + Send + Sync + 'static> Waiting<C> {
    /// Nobody waits yet. The waiters will be objects of `store`; one that is gone stops waiting. `wake` is called for each
    /// waiter when what it waits for has appeared.
    pub fn new<T: Object>(store: &Arc<Store<T>>, wake: impl Fn(&Key) + Send + Sync + 'static) -> Arc<Self> {
        let state = State { by_object: BTreeMap::new(), on: HashMap::new(), secrets: 0, polls: 0 };
        let waiting = Arc::new(Self {
            state: Mutex::new(state),
            checks: Mutex::default(),
            exists: check(store, |_| true),
            wake: Box::new(wake),
            secret_wanted: Notify::new(),
        });
        let told = Arc::downgrade(&waiting);
        store.subscribe(move |change| {
            if let (Change::Removed(old) | Change::Left(old), Some(told)) = (change, told.upgrade()) {
                told.leave(&old.meta().key);
            }
        });
        waiting
    }

    /// From now on, when an object of `store` begins to satisfy `holds`, its waiters under `condition` are woken.
    pub fn follow<T: Object>(
        self: &Arc<Self>,
        condition: C,
        store: &Arc<Store<T>>,
        holds: impl Fn(&T) -> bool + Clone + Send + Sync + 'static,
    ) {
        let checked = (condition, check(store, holds.clone()));
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).push(checked);
        // Weak, to avoid a cycle: the cache owns this subscriber, and the owner of the waiters may own the cache.
        let told = Arc::downgrade(self);
        store.subscribe(move |change| {
            if let (Change::Added(new) | Change::Updated { new, .. }, Some(told)) = (change, told.upgrade())
                && !told.state().on.is_empty()
                && holds(new)
            {
                told.came(&On::Object(condition, new.meta().key.clone()));
            }
        });
    }

    /// `key` waits for this object from now on. If the object exists, or `key` is gone, `key` is woken at once. Whether a
    /// Secret exists cannot be seen here, so it is polled.
    pub fn wait(&self, key: &Key, on: On<C>) {
        self.state().join(key, on.clone());
        let came = match &on {
            On::Object(condition, object) => {
                let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
                checks.iter().any(|(known, holds)| known == condition && holds(object))
            }
            On::Secret(_) => {
                self.secret_wanted.notify_one();
                false
            }
        };
        if came || !(self.exists)(key) {
            self.leave(key);
            (self.wake)(key);
        }
    }

    /// `key` stops waiting. Returns the Secret if `key` waited for one and a poll missed it during that time.
    pub fn leave(&self, key: &Key) -> Option<SecretRef> {
        self.state().leave(key)
    }

    /// Wakes whoever waits for this object, which has appeared.
    pub(super) fn came(&self, on: &On<C>) {
        let woken = self.state().came(on);
        woken.iter().for_each(&self.wake);
    }

    /// A poll did not find the Secret.
    pub(super) fn not_found(&self, place: &SecretRef) {
        let mut state = self.state();
        state.polls += 1;
        let poll = state.polls;
        if let Some(waiters) = state.by_object.get_mut(&On::Secret(place.clone())) {
            waiters.missing = poll;
        }
    }

    /// Whether somebody waits for the Secret.
    pub(super) fn is_wanted(&self, place: &SecretRef) -> bool {
        self.state().by_object.contains_key(&On::Secret(place.clone()))
    }

    /// The Secret to ask for after this one (round-robin), and how many are missing; `None` if nobody waits for one.
    pub(super) fn secret_after(&self, last: Option<&SecretRef>) -> Option<(SecretRef, usize)> {
        let state = self.state();
        let after = |from: Bound<&On<C>>| {
            state.by_object.range((from, Bound::Unbounded)).find_map(|(on, _)| match on {
                On::Secret(place) => Some(place.clone()),
                On::Object(..) => None,
            })
        };
        let first = On::Secret(SecretRef { namespace: String::new(), name: String::new() });
        let next = last.and_then(|last| after(Bound::Excluded(&On::Secret(last.clone()))));
        next.or_else(|| after(Bound::Included(&first))).map(|place| (place, state.secrets))
    }

    /// Resolves when somebody has begun to wait for a Secret since the last call. May also resolve without reason.
    pub(super) async fn secret_wanted(&self) {
        self.secret_wanted.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the cache has an object of a key for which `holds` is true.
fn check<T: Object>(store: &Arc<Store<T>>, holds: impl Fn(&T) -> bool + Send + Sync + 'static) -> Check {
    let store: Weak<Store<T>> = Arc::downgrade(store);
    Box::new(move |key| {
        let found = store.upgrade().and_then(|store| store.get(key));
        found.is_some_and(|object| holds(&object))
    })
}

impl<C: Copy + Ord> State<C> {
    fn join(&mut self, key: &Key, on: On<C>) {
        self.leave(key);
        let waiters = self.by_object.entry(on.clone()).or_default();
        if waiters.keys.is_empty() && matches!(on, On::Secret(_)) {
            self.secrets += 1;
        }
        waiters.keys.insert(key.clone());
        self.on.insert(key.clone(), Wait { on, since: self.polls });
    }

    fn leave(&mut self, key: &Key) -> Option<SecretRef> {
        let Wait { on, since } = self.on.remove(key)?;
        let waiters = self.by_object.get_mut(&on)?;
        waiters.keys.remove(key);
        let missed = waiters.missing > since;
        if waiters.keys.is_empty() {
            self.remove(&on);
        }
        match on {
            On::Secret(place) if missed => Some(place),
            On::Secret(_) | On::Object(..) => None,
        }
    }

    fn came(&mut self, on: &On<C>) -> BTreeSet<Key> {
        let keys = self.remove(on);
        keys.iter().for_each(|key| drop(self.on.remove(key)));
        keys
    }

    fn remove(&mut self, on: &On<C>) -> BTreeSet<Key> {
        let Some(Waiters { keys, .. }) = self.by_object.remove(on) else { return BTreeSet::new() };
        if matches!(on, On::Secret(_)) {
            self.secrets -= 1;
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{CsiNode, Scope, Volume, WireCsiNode, WireVolume};
    use crate::store::{Writer, cache};
    use serde_json::{Value, json};

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Condition {
        There,
        Live,
    }
    use Condition::*;

    /// The waiters are volumes, and what they wait for are nodes: two kinds that are at hand.
    struct World {
        waiters: Writer<Volume>,
        nodes: Writer<CsiNode>,
        waiting: Arc<Waiting<Condition>>,
        woken: Arc<Mutex<Vec<String>>>,
        _stores: (Arc<Store<Volume>>, Arc<Store<CsiNode>>),
    }

    impl World {
        fn new() -> Self {
            let scope = Arc::new(Scope { driver: "d".into(), ..Scope::default() });
            let ((waiters, waits), (nodes, awaited)) = (cache(scope.clone()), cache(scope));
            let woken = Arc::new(Mutex::new(Vec::new()));
            let log = woken.clone();
            let waiting = Waiting::new(&waits, move |key| log.lock().unwrap().push(key.name().to_owned()));
            waiting.follow(There, &awaited, |_| true);
            waiting.follow(Live, &awaited, |node: &CsiNode| !node.meta.deleting);
            for name in ["a", "b", "c"] {
                waiters.apply(volume(name));
            }
            Self { waiters, nodes, waiting, woken, _stores: (waits, awaited) }
        }

        fn wait(&self, name: &str, condition: Condition, node: &str) {
            self.waiting.wait(&Key::cluster(name), On::Object(condition, Key::cluster(node)));
        }

        fn woken(&self) -> Vec<String> {
            std::mem::take(&mut self.woken.lock().unwrap())
        }

        fn is_empty(&self) -> bool {
            let state = self.waiting.state();
            state.by_object.is_empty() && state.on.is_empty() && state.secrets == 0
        }
    }

    fn volume(name: &str) -> WireVolume {
        let csi = json!({"driver": "d", "volumeHandle": name});
        let metadata = json!({"name": name, "uid": name, "resourceVersion": "1"});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"csi": csi}})).unwrap()
    }

    fn node(name: &str, version: u64, deleted: bool) -> WireCsiNode {
        let deletion = if deleted { json!("2026-01-01T00:00:00Z") } else { Value::Null };
        serde_json::from_value(json!({"metadata": {
            "name": name, "uid": name, "resourceVersion": version.to_string(), "deletionTimestamp": deletion,
        }}))
        .unwrap()
    }

    fn secret(name: &str) -> SecretRef {
        SecretRef { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn each_waits_for_one_object_and_is_woken_once() {
        let world = World::new();
        world.wait("a", There, "other");
        world.wait("a", There, "n");
        world.wait("b", Live, "n");
        world.nodes.apply(node("other", 1, false));
        assert!(world.woken().is_empty());
        world.nodes.apply(node("n", 2, true));
        assert_eq!(world.woken(), ["a"], "b waits for a live one");
        world.nodes.apply(node("n", 3, false));
        assert_eq!(world.woken(), ["b"]);
        world.nodes.apply(node("n", 4, false));
        assert!(world.woken().is_empty() && world.is_empty());
    }

    #[test]
    fn what_is_there_already_wakes_at_once() {
        let world = World::new();
        world.nodes.apply(node("n", 1, true));
        world.wait("a", There, "n");
        world.wait("b", Live, "n");
        assert_eq!(world.woken(), ["a"]);
        world.waiting.leave(&Key::cluster("b"));
        assert!(world.is_empty());
    }

    #[test]
    fn who_is_gone_waits_no_more() {
        let world = World::new();
        world.wait("a", There, "n");
        world.waiters.remove(&Key::cluster("a"), &"a".into());
        assert!(world.is_empty());
        world.wait("a", There, "n");
        assert!(world.is_empty());
        assert_eq!(world.woken(), ["a"], "its reconciler finds that out");
    }

    #[test]
    fn secrets_are_polled_in_turn_while_somebody_waits() {
        let (world, keys) = (World::new(), ["a", "b", "c"].map(Key::cluster));
        let waiting = &world.waiting;
        world.wait("a", There, "n");
        assert_eq!(waiting.secret_after(None), None);
        for (key, name) in keys.iter().zip(["two", "one", "two"]) {
            waiting.wait(key, On::Secret(secret(name)));
        }
        let mut last = None;
        for name in ["one", "two", "one", "two"] {
            let next = waiting.secret_after(last.as_ref());
            assert_eq!(next, Some((secret(name), 2)));
            last = next.map(|(place, _)| place);
        }
        waiting.leave(&keys[1]);
        assert_eq!(waiting.secret_after(Some(&secret("one"))), Some((secret("two"), 1)));
        assert_eq!(waiting.secret_after(Some(&secret("two"))), Some((secret("two"), 1)));
        waiting.came(&On::Secret(secret("two")));
        assert_eq!(world.woken(), ["a", "c"]);
        assert_eq!(waiting.secret_after(Some(&secret("two"))), None);
        assert!(world.is_empty());
    }

    #[test]
    fn leave_returns_a_secret_missed_since_the_wait_began() {
        let (world, [a, b]) = (World::new(), ["a", "b"].map(Key::cluster));
        let waiting = &world.waiting;
        let on = || On::Secret(secret("s"));
        waiting.not_found(&secret("s"));
        waiting.wait(&a, on());
        assert_eq!(waiting.leave(&a), None, "a poll before the wait");
        waiting.wait(&a, on());
        waiting.not_found(&secret("another"));
        assert_eq!((waiting.leave(&a), waiting.is_wanted(&secret("s"))), (None, false));
        waiting.wait(&a, on());
        waiting.not_found(&secret("s"));
        waiting.wait(&b, on());
        assert_eq!((waiting.leave(&a), waiting.is_wanted(&secret("s"))), (Some(secret("s")), true));
        assert_eq!((waiting.leave(&b), waiting.is_wanted(&secret("s"))), (None, false));
        assert_eq!(waiting.leave(&a), None, "once");
    }
}

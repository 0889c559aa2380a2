//! Waiting for objects that no cache of this process has.
//!
//! A waiter lists the objects that it read, with their versions. It is woken once, when one of them appears or gets a newer
//! version. How we learn of that depends on the kind:
//! - snapshots, claims and grants are watched, metadata only, only in namespaces where somebody waits, and only while somebody does. There
//!   are at most sixteen such watches: all requests of a process share one HTTP/2 connection, on which kube-apiserver allows a
//!   hundred streams. What has no watch is polled;
//! - Secrets, snapshots' contents, volumes and attributes classes are polled, as `secret.rs` describes: upstream's roles allow
//!   no watch on Secrets, and a watch on the others would be of the whole cluster.
//!
//! In csi-provisioner, `with_secrets` of `provisioner/src/claim/create.rs` finds that a Secret is missing, and
//! `wait_for` of `provisioner/src/claim/source.rs` begins the wait. (If DeleteVolume's Secret is missing, the call is made without it.) When a poll or a watch finds the object, the closure in
//! `Claims::new` (`provisioner/src/claim/reconcile.rs`) adds the claim to the queue, which ends its back-off.
//!
//! While nobody waits, this costs neither requests nor memory. If a watch is forbidden, its waiters wait for the end of
//! their back-off, and one warning says so; polled kinds, such as Secrets, are not affected. A poll that is refused is repeated, and logged at level 2 (`uncached/poll.rs`). The first change
//! wakes a waiter at once; later wake-ups come with growing pauses, up to 60 s ([`floor`](super::floor)).

use std::collections::{BTreeMap, HashMap, hash_map::Entry};
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::metrics::Metrics;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::floor::Floor;
use crate::api::Objects;
use crate::object::{Identity, Key, Object, Scope, Wire, WireGrant, WireSnapshot, WireSourceClaim};
use crate::store::{Change, cache};
use crate::watch::{WatchOptions, reflect};

/// Kinds that can be waited for. Those that are watched come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// VolumeSnapshots.
    Snapshot,
    /// PersistentVolumeClaims.
    Claim,
    /// ReferenceGrants.
    Grant,
    /// Secrets.
    Secret,
    /// VolumeSnapshotContents.
    Content,
    /// PersistentVolumes.
    Volume,
    /// VolumeAttributesClasses, as v1.
    AttributesClass,
    /// VolumeAttributesClasses, as v1beta1.
    AttributesClassBeta,
}

/// The first of the kinds that are always polled.
const FIRST_POLLED: Kind = Kind::Secret;

/// How many watches there are at most, of all kinds together.
const WATCHES: usize = 16;

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its kind.
    pub kind: Kind,
    /// Its key. A key without a name stands for all objects of its namespace; only for kinds that are watched.
    pub key: Key,
    /// In which version; 0 if it was not there. For all objects of a namespace, the version of their list.
    pub version: u64,
}

impl Seen {
    /// The object of this key, in this version; `None` if it was not there.
    pub fn new(kind: Kind, key: Key, version: Option<u64>) -> Self {
        Self { kind, key, version: version.unwrap_or_default() }
    }
}

type Place = (Kind, Key);
type IsNewer = Box<dyn Fn(&Key, u64) -> bool + Send + Sync>;

/// Who waits for which objects. `W` names a waiter.
pub struct Uncached<W> {
    objects: Objects,
    metrics: Arc<Metrics>,
    /// Whether the API server streams its lists.
    streaming: bool,
    wake: Box<dyn Fn(&W) + Send + Sync>,
    state: Mutex<State<W>>,
    /// Notified when somebody begins to wait for an object that is polled.
    wanted: Notify,
    /// Notified when somebody is to be woken later.
    postponed: Notify,
}

impl<W> fmt::Debug for Uncached<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uncached").finish_non_exhaustive()
    }
}

struct State<W> {
    /// By object: its waiters, and the version that each has seen.
    waiters: BTreeMap<Place, HashMap<W, u64>>,
    waits: HashMap<W, Wait>,
    /// By kind and namespace.
    watches: HashMap<(Kind, Box<str>), Watch>,
    /// By kind: whether it was logged that we may not watch it.
    refusals: BTreeMap<Kind, Arc<AtomicBool>>,
    floor: Floor<W>,
}

struct Wait {
    on: Vec<Place>,
    /// Whether it began in the pass that is going on.
    is_new: bool,
}

struct Watch {
    /// Whether an object of this key, or any for a key without a name, is newer than this version.
    is_newer: IsNewer,
    /// It ends when this is dropped.
    _task: JoinSet<()>,
}

impl<W: Clone + Eq + Hash + Send + Sync + 'static> Uncached<W> {
    /// Nobody waits yet. `wake` is called for a waiter when something that it waits for has changed.
    pub fn new(
        objects: Objects,
        metrics: Arc<Metrics>,
        streaming: bool,
        wake: impl Fn(&W) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let state = State {
            waiters: BTreeMap::new(),
            waits: HashMap::new(),
            watches: HashMap::new(),
            refusals: BTreeMap::new(),
            floor: Floor::default(),
        };
        let (wake, state) = (Box::new(wake), Mutex::new(state));
        let (wanted, postponed) = (Notify::new(), Notify::new());
        Arc::new(Self { objects, metrics, streaming, wake, state, wanted, postponed })
    }

    /// `who` waits from now on for a change of what it has seen, and for nothing else.
    pub fn wait(self: &Arc<Self>, who: &W, seen: &[Seen]) {
        let (mut has_changed, mut is_polled) = (false, false);
        {
            let mut state = self.state();
            state.join(who, seen);
            state.floor.looked(who);
            for Seen { kind, key, version } in seen {
                let Some(watch) = self.watch_for(&mut state, *kind, key.namespace()) else {
                    is_polled = true;
                    continue;
                };
                has_changed |= (watch.is_newer)(key, *version);
            }
            if has_changed {
                state.part(who);
            }
        }
        if has_changed {
            self.wake_all(vec![who.clone()]);
        } else if is_polled {
            self.wanted.notify_one();
        }
    }

    /// A pass over `who` has ended. If the pass did not call [`Self::wait`], `who` no longer waits for anything.
    pub fn settle(&self, who: &W) {
        let mut state = self.state();
        match state.waits.get_mut(who) {
            Some(wait) if wait.is_new => wait.is_new = false,
            Some(_) => state.part(who),
            None => {}
        }
        if !state.waits.contains_key(who) {
            state.floor.settle(who);
        }
        state.end_watches();
    }

    /// The object is there, in this version.
    fn changed(&self, kind: Kind, key: &Key, version: u64) {
        let woken = self.state().changed(kind, key, version);
        self.wake_all(woken);
    }

    /// Wakes them, now or when they may be woken again.
    fn wake_all(&self, mut woken: Vec<W>) {
        let count = woken.len();
        {
            let mut state = self.state();
            let now = Instant::now();
            woken.retain(|who| state.floor.may_wake(who, now));
        }
        woken.iter().for_each(&self.wake);
        if woken.len() < count {
            self.postponed.notify_one();
        }
    }

    /// The watch of this kind in this namespace, begun if need be; `None` if objects of the kind are polled there.
    fn watch_for<'a>(
        self: &Arc<Self>,
        state: &'a mut State<W>,
        kind: Kind,
        namespace: &str,
    ) -> Option<&'a Watch> {
        if kind >= FIRST_POLLED {
            return None;
        }
        let is_full = state.watches.len() >= WATCHES;
        let refusal = state.refusals.entry(kind).or_default().clone();
        match state.watches.entry((kind, Box::from(namespace))) {
            Entry::Occupied(watch) => Some(watch.into_mut()),
            Entry::Vacant(_) if is_full => None,
            Entry::Vacant(free) => Some(free.insert(self.watch(kind, namespace, refusal))),
        }
    }

    fn watch(self: &Arc<Self>, kind: Kind, namespace: &str, refusal: Arc<AtomicBool>) -> Watch {
        match kind {
            Kind::Snapshot => self.watch_kind::<WireSnapshot>(kind, namespace, refusal),
            Kind::Grant => self.watch_kind::<WireGrant>(kind, namespace, refusal),
            _ => self.watch_kind::<WireSourceClaim>(kind, namespace, refusal),
        }
    }

    fn watch_kind<K: Wire>(self: &Arc<Self>, kind: Kind, namespace: &str, refusal: Arc<AtomicBool>) -> Watch {
        let (writer, store) = cache::<Identity<K>>(Arc::new(Scope::default()));
        let told = Arc::downgrade(self);
        store.subscribe(move |change| {
            if let (Change::Added(new) | Change::Updated { new, .. }, Some(told)) = (change, told.upgrade()) {
                told.changed(kind, &new.meta().key, new.meta().version);
            }
        });
        let options = WatchOptions {
            streaming: self.streaming,
            metadata_only: true,
            namespace: namespace.to_owned(),
            refusal: Some(refusal),
            ..WatchOptions::default()
        };
        let mut task = JoinSet::new();
        task.spawn(reflect(self.objects.client().clone(), writer, options, self.metrics.clone()));
        let is_newer = move |key: &Key, version: u64| match key.name() {
            "" => store.list().iter().any(|object| object.meta.version > version),
            _ => store.get(key).is_some_and(|object| object.meta.version > version),
        };
        Watch { is_newer: Box::new(is_newer), _task: task }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Clone + Eq + Hash> State<W> {
    fn join(&mut self, who: &W, seen: &[Seen]) {
        self.part(who);
        for Seen { kind, key, version } in seen {
            self.waiters.entry((*kind, key.clone())).or_default().insert(who.clone(), *version);
        }
        let on = seen.iter().map(|seen| (seen.kind, seen.key.clone())).collect();
        self.waits.insert(who.clone(), Wait { on, is_new: true });
    }

    fn part(&mut self, who: &W) {
        for place in self.waits.remove(who).into_iter().flat_map(|wait| wait.on) {
            let Some(waiters) = self.waiters.get_mut(&place) else { continue };
            waiters.remove(who);
            if waiters.is_empty() {
                self.waiters.remove(&place);
            }
        }
    }

    /// Takes those who have not seen this version.
    fn changed(&mut self, kind: Kind, key: &Key, version: u64) -> Vec<W> {
        let mut woken = Vec::new();
        for key in [key.clone(), Key::new(key.namespace(), "")] {
            for (who, seen) in self.waiters.get(&(kind, key)).into_iter().flatten() {
                if version > *seen {
                    woken.push(who.clone());
                }
            }
        }
        woken.iter().for_each(|who| self.part(who));
        woken
    }

    /// Whether no watch shows the changes of this.
    fn is_polled(&self, (kind, key): &Place) -> bool {
        *kind >= FIRST_POLLED || !self.watches.contains_key(&(*kind, Box::from(key.namespace())))
    }

    /// Ends the watches of namespaces in which nobody waits any more.
    fn end_watches(&mut self) {
        let waiters = &self.waiters;
        self.watches.retain(|(kind, namespace), _| {
            let first = waiters.range((*kind, Key::new(namespace, ""))..).next();
            first.is_some_and(|((known, key), _)| known == kind && key.namespace() == &**namespace)
        });
    }
}

mod poll;
#[cfg(test)]
mod tests;

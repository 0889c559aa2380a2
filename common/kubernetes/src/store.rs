//! The cache of one kind: slim objects by key.
//!
//! Two things fill a cache: the watch, which holds the [`Writer`], and the replies of our own writes, through
//! [`Collection`](super::collection::Collection). Everybody else holds the [`Store`] and reads it.
//!
//! Promises:
//! - an object never goes back in time: a watch event older than the reply of our own write changes nothing;
//! - an object in a list replaces the cached one, even if the list's version is older (an etcd restore), unless we
//!   wrote to the object since the list began;
//! - an object that we deleted does not come back with a late event;
//! - an object that we created stays away if the watch shows its deletion before the reply to the creation arrives;
//! - a new list replaces entries one by one: the cache never holds two copies of everything;
//! - subscribers see each change once, in order, and without a lock held.

mod change;
mod passed_over;

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::{Resource, ResourceExt};
use tokio::sync::watch;

pub use change::Change;
use passed_over::PassedOver;

use super::object::{Key, Object, Scope, Uid};

type Subscriber<T> = Box<dyn Fn(&Change<T>) + Send + Sync>;

/// The cache of one kind, to read.
pub struct Store<T> {
    scope: Arc<Scope>,
    state: Mutex<State<T>>,
    subscribers: Mutex<Vec<Arc<Subscriber<T>>>>,
    synced: watch::Sender<bool>,
}

struct State<T> {
    entries: HashSet<Entry<T>>,
    /// uid of objects whose deletion the API server has confirmed to us, until the watch confirms it too.
    gone: HashMap<Key, Gone>,
    /// Names of objects that we are creating, and whether the object may be gone before the reply arrives.
    creations: HashMap<Key, bool>,
    /// Set while a list is read.
    listing: Option<Listing>,
    passed_over: PassedOver,
}

/// What is known while a list is read.
struct Listing {
    /// What was stored when the list began and what it has not named yet.
    unnamed: HashSet<Key>,
    /// What we wrote to, and heard back from, since the list began: the list may be older than the reply.
    written: HashSet<Key>,
}

/// Where an object comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    List,
    Watch,
    /// The reply to our own write.
    Reply,
    /// We have read an object that was passed over.
    Read,
}

/// A deleted object whose earlier events may still arrive.
struct Gone {
    uid: Uid,
    /// Whether it was deleted before the current list began. After that list no event of it can arrive.
    before_list: bool,
}

impl<T> State<T> {
    /// The list, or an event while it is read, names this object.
    fn name(&mut self, key: &Key) {
        if let Some(listing) = &mut self.listing {
            listing.unnamed.remove(key);
        }
    }

    /// Whether the list that is read now may replace what is stored under this key.
    fn may_replace(&self, key: &Key) -> bool {
        self.listing.as_ref().is_some_and(|listing| !listing.written.contains(key))
    }
}

impl<T: Object> State<T> {
    /// Whether we deleted the object, so that this event, list item or reply is out of date.
    fn is_late(&self, key: &Key, uid: &Uid, origin: Origin) -> bool {
        // A list that began after the deletion and still names the object is right: etcd was restored.
        self.gone
            .get(key)
            .is_some_and(|gone| gone.uid == *uid && !(origin == Origin::List && gone.before_list))
    }

    /// Whether the cached object is at least as new as this version. A re-created object has a greater version too.
    fn is_known(&self, key: &Key, version: u64, origin: Origin) -> bool {
        let known =
            self.entries.get(key).is_some_and(|known| version != 0 && known.0.meta().version >= version);
        let same = self.entries.get(key).is_some_and(|known| known.0.meta().version == version);
        known && (same || origin != Origin::List || !self.may_replace(key))
    }
}

/// An object that is found by the key inside it: a separate key would add a tenth to a small object.
struct Entry<T>(Arc<T>);

impl<T: Object> Borrow<Key> for Entry<T> {
    fn borrow(&self) -> &Key {
        &self.0.meta().key
    }
}

impl<T: Object> Hash for Entry<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.meta().key.hash(state);
    }
}

impl<T: Object> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.meta().key == other.0.meta().key
    }
}

impl<T: Object> Eq for Entry<T> {}

impl<T: Object> Store<T> {
    /// Calls `subscriber` with each change from now on. Subscribe before the watch starts.
    ///
    /// The cache may hold objects for other sidecars of this process: If only
    /// some objects concern you, use [`Change::of`].
    pub fn subscribe(&self, subscriber: impl Fn(&Change<T>) + Send + Sync + 'static) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.push(Arc::new(Box::new(subscriber)));
    }

    /// Which fields of the objects the process keeps.
    pub fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// The object of this key.
    pub fn get(&self, key: &Key) -> Option<Arc<T>> {
        self.state().entries.get(key).map(|entry| entry.0.clone())
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<T>> {
        self.state().entries.iter().map(|entry| entry.0.clone()).collect()
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.state().entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resolves when the first list is complete.
    pub async fn synced(&self) {
        // The sender lives in `self`: waiting cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// From now on the cache passes over objects that [need](Object::needs) another one for which `is_there` is false. Call this
    /// before the watch starts. When the other object comes, call [`Collection::take_up`](super::collection::Collection::take_up).
    pub fn pass_over_without(&self, is_there: impl Fn(&Key) -> bool + Send + 'static) {
        self.state().passed_over.without(Box::new(is_there));
    }

    /// Whether there is an object of this key that the cache has passed over.
    pub fn has_passed_over(&self, key: &Key) -> bool {
        self.state().passed_over.has(key)
    }

    /// Stores an object that was passed over and has been read. Nothing is stored if the watch has shown its deletion meanwhile.
    pub(crate) fn take_up(&self, wire: T::Wire) {
        self.put(wire, Origin::Read);
    }

    fn put(&self, wire: T::Wire, origin: Origin) {
        let key = Key::new(&wire.namespace().unwrap_or_default(), &wire.name_any());
        let uid = Uid::from(wire.meta().uid.as_deref().unwrap_or_default());
        let version = super::object::version_number(wire.meta().resource_version.as_deref());
        let change = {
            let mut state = self.state();
            if state.is_late(&key, &uid, origin) || (origin == Origin::Read && !state.passed_over.has(&key)) {
                return;
            }
            match origin {
                // A reply does not show that the list has the object, which may be deleted between the write and the list.
                Origin::Reply | Origin::Read => {
                    if let Some(listing) = &mut state.listing {
                        listing.written.insert(key.clone());
                    }
                }
                Origin::List | Origin::Watch => state.name(&key),
            }
            if state.is_known(&key, version, origin) {
                return;
            }
            match state.passed_over.kept(&key, T::slim(wire, &self.scope), &self.scope) {
                Some(object) => {
                    let new = Arc::new(object);
                    match state.entries.replace(Entry(new.clone())) {
                        Some(Entry(old)) => Change::Updated { old, new },
                        None => Change::Added(new),
                    }
                }
                None => match state.entries.take(&key) {
                    Some(Entry(old)) => Change::Left(old),
                    None => return,
                },
            }
        };
        self.tell(&change);
    }

    /// Replaces the stored object by the reply to our write. If the object is no longer stored, nothing is
    /// stored: the watch may have shown its deletion before the reply arrived. Returns the reply's version.
    pub(crate) fn overlay(&self, wire: T::Wire) -> u64 {
        let key = Key::new(&wire.namespace().unwrap_or_default(), &wire.name_any());
        let version = super::object::version_number(wire.meta().resource_version.as_deref());
        let uid = Uid::from(wire.meta().uid.as_deref().unwrap_or_default());
        let known = self.get(&key).is_some_and(|known| known.meta().uid == uid);
        if known {
            self.put(wire, Origin::Reply);
        }
        version
    }

    /// Hold the result while an object of this name is being created, until the reply arrives.
    pub(crate) fn creation(&self, key: Key) -> Creation<'_, T> {
        let mut state = self.state();
        let late = state.listing.is_some();
        state.creations.insert(key.clone(), late);
        Creation { store: self, key }
    }

    fn remove(&self, key: &Key, uid: &Uid) {
        let removed = {
            let mut state = self.state();
            state.passed_over.forget(key);
            if let Some(late) = state.creations.get_mut(key) {
                *late = true;
            }
            if state.gone.get(key).is_some_and(|gone| gone.uid == *uid) {
                state.gone.remove(key);
            }
            match state.entries.get(key) {
                Some(Entry(known)) if known.meta().uid.is_empty() || known.meta().uid == *uid => {
                    state.entries.take(key)
                }
                Some(_) | None => None,
            }
        };
        if let Some(Entry(removed)) = removed {
            self.tell(&Change::Removed(removed));
        }
    }

    /// The API server has confirmed our deletion of an object. Events that arrive late do not bring it back.
    pub(crate) fn deleted(&self, key: &Key, uid: &Uid) {
        let removed = {
            let mut state = self.state();
            // Not stored, or re-created: the watch has already shown the deletion, and no late event can follow.
            let known = state.entries.get(key).is_some_and(|known| known.0.meta().uid == *uid);
            if known {
                state.gone.insert(key.clone(), Gone { uid: uid.clone(), before_list: false });
                state.entries.take(key)
            } else {
                None
            }
        };
        if let Some(Entry(removed)) = removed {
            self.tell(&Change::Removed(removed));
        }
    }

    fn list_begins(&self) {
        let mut state = self.state();
        let unnamed = state.entries.iter().map(|entry| entry.0.meta().key.clone()).collect();
        state.listing = Some(Listing { unnamed, written: HashSet::new() });
        state.passed_over.forget_all();
        state.gone.values_mut().for_each(|gone| gone.before_list = true);
        // An object that we are creating may be created and deleted before this list, which then does not name it.
        state.creations.values_mut().for_each(|late| *late = true);
    }

    fn list_ends(&self) {
        let gone: Vec<Arc<T>> = {
            let mut state = self.state();
            state.gone.retain(|_, gone| !gone.before_list);
            let unnamed = state.listing.take().into_iter().flat_map(|listing| listing.unnamed);
            unnamed.filter_map(|key| state.entries.take(&key)).map(|Entry(object)| object).collect()
        };
        for object in gone {
            self.tell(&Change::Removed(object));
        }
        self.synced.send_replace(true);
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: &Change<T>) {
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for subscriber in subscribers {
            subscriber(change);
        }
    }
}

/// The end of a cache that the watch holds. Dropping it changes nothing.
pub struct Writer<T: Object>(Arc<Store<T>>);

/// An empty cache: the end to fill, and the end to read.
pub fn cache<T: Object>(scope: Arc<Scope>) -> (Writer<T>, Arc<Store<T>>) {
    let state = State {
        entries: HashSet::new(),
        gone: HashMap::new(),
        creations: HashMap::new(),
        listing: None,
        passed_over: PassedOver::default(),
    };
    let (subscribers, synced) = (Mutex::new(Vec::new()), watch::Sender::new(false));
    let store = Arc::new(Store { scope, state: Mutex::new(state), subscribers, synced });
    (Writer(store.clone()), store)
}

impl<T: Object> Writer<T> {
    /// A list begins. Objects that it has not named by its end are gone.
    pub fn list_begins(&self) {
        self.0.list_begins();
    }

    /// The list names this object.
    pub fn list_item(&self, wire: T::Wire) {
        self.0.put(wire, Origin::List);
    }

    /// An object in a list or a watch event cannot be parsed. The cached object stays as it is.
    pub fn keep(&self, key: &Key) {
        self.0.state().name(key);
    }

    /// The list is complete.
    pub fn list_ends(&self) {
        self.0.list_ends();
    }

    /// The watch saw an object come or change.
    pub fn apply(&self, wire: T::Wire) {
        self.0.put(wire, Origin::Watch);
    }

    /// The watch saw an object go.
    pub fn remove(&self, key: &Key, uid: &Uid) {
        self.0.remove(key, uid);
    }
}

/// An object that is being created (see [`Store::creation`]).
pub(crate) struct Creation<'a, T: Object> {
    store: &'a Store<T>,
    key: Key,
}

impl<T: Object> Creation<'_, T> {
    /// Stores the created object from the reply. If an object of this name may have come and gone meanwhile,
    /// nothing is stored; the watch will show what exists.
    pub(crate) fn done(self, wire: T::Wire) {
        let late = self.store.state().creations.remove(&self.key).unwrap_or(true);
        if late {
            self.store.overlay(wire);
        } else {
            self.store.put(wire, Origin::Reply);
        }
    }
}

impl<T: Object> Drop for Creation<'_, T> {
    fn drop(&mut self) {
        self.store.state().creations.remove(&self.key);
    }
}

#[cfg(test)]
mod tests;

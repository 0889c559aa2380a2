//! The cache of one kind: slim objects by key.
//!
//! Promises:
//! - an object never goes back in time: an event older than what is stored (a watch that lags behind the
//!   reply of our own write, a list from a stale server) changes nothing;
//! - what we deleted stays deleted until the watch has seen it go, see [`Store::deleted`];
//! - what we created and the watch has seen go stays away, see [`Store::creation`];
//! - a relist reuses the entries: old and new do not stand side by side;
//! - subscribers see each change once, in order, and without a lock held.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::{Resource, ResourceExt};
use tokio::sync::watch;

use super::object::{Key, Object, Scope, Uid};

/// What happened to an object.
#[derive(Debug)]
pub enum Change<T> {
    /// First seen.
    Added(Arc<T>),
    /// Seen again, in a newer version.
    Updated {
        /// As it was.
        old: Arc<T>,
        /// As it is.
        new: Arc<T>,
    },
    /// Deleted.
    Removed(Arc<T>),
    /// Still there, but no longer what this process keeps (see [`Object::slim`]); as it last was.
    Left(Arc<T>),
}

type Subscriber<T> = Box<dyn Fn(&Change<T>) + Send + Sync>;

/// The cache of one kind.
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
    /// Names that are being created, and whether what the reply tells may be gone by then.
    creations: HashMap<Key, bool>,
    /// While a list is read: what was stored when it began and what it has not named yet.
    unnamed: Option<HashSet<Key>>,
}

/// An object that is deleted, though events of it may be on their way.
struct Gone {
    uid: Uid,
    /// Whether it was gone before the list that is read now: nothing more is heard of it after that.
    before_list: bool,
}

impl<T> State<T> {
    /// The list, or an event while it is read, names this object.
    fn name(&mut self, key: &Key) {
        if let Some(unnamed) = &mut self.unnamed {
            unnamed.remove(key);
        }
    }
}

/// An object, found by its own key: a key beside it would be a tenth of a small object.
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
    /// An empty cache.
    pub fn new(scope: Arc<Scope>) -> Arc<Self> {
        let state =
            State { entries: HashSet::new(), gone: HashMap::new(), creations: HashMap::new(), unnamed: None };
        let (subscribers, synced) = (Mutex::new(Vec::new()), watch::Sender::new(false));
        Arc::new(Self { scope, state: Mutex::new(state), subscribers, synced })
    }

    /// Calls `subscriber` with each change from now on. Subscribe before the watch starts.
    pub fn subscribe(&self, subscriber: impl Fn(&Change<T>) + Send + Sync + 'static) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.push(Arc::new(Box::new(subscriber)));
    }

    /// What the process keeps of the objects it sees.
    pub fn scope(&self) -> &Scope {
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

    /// Stores an object from a watch event or a list.
    pub fn apply(&self, wire: T::Wire) {
        self.put(wire, true);
    }

    /// Stores an object, which the list that is read now names, or not.
    fn put(&self, wire: T::Wire, named: bool) {
        let key = Key::new(&wire.namespace().unwrap_or_default(), &wire.name_any());
        let uid = Uid::from(wire.meta().uid.as_deref().unwrap_or_default());
        let version = super::object::version_number(wire.meta().resource_version.as_deref());
        let change = {
            let mut state = self.state();
            if state.gone.get(&key).is_some_and(|gone| gone.uid == uid) {
                return;
            }
            if named {
                state.name(&key);
            }
            // A successor's version is the greater one too.
            if state.entries.get(&key).is_some_and(|known| version != 0 && known.0.meta().version >= version)
            {
                return;
            }
            match T::slim(wire, &self.scope) {
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

    /// Puts the reply of our write over the stored object. An object that is not stored any more stays away:
    /// the watch may have seen it go before the reply was read. Returns the reply's version.
    pub fn overlay(&self, wire: T::Wire) -> u64 {
        let key = Key::new(&wire.namespace().unwrap_or_default(), &wire.name_any());
        let version = super::object::version_number(wire.meta().resource_version.as_deref());
        let uid = Uid::from(wire.meta().uid.as_deref().unwrap_or_default());
        let known = self.get(&key).is_some_and(|known| known.meta().uid == uid);
        if known {
            // Not named: it may have gone between the write and the list.
            self.put(wire, false);
        }
        version
    }

    /// To be held while an object of this name is created and the reply is awaited.
    pub fn creation(&self, key: Key) -> Creation<'_, T> {
        let mut state = self.state();
        let late = state.unnamed.is_some();
        state.creations.insert(key.clone(), late);
        Creation { store: self, key }
    }

    /// Notes that the watch saw an object go.
    pub fn remove(&self, key: &Key, uid: &Uid) {
        let removed = {
            let mut state = self.state();
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

    /// Notes that the API server has confirmed our deletion of an object: events that are still on their
    /// way do not bring it back.
    pub fn deleted(&self, key: &Key, uid: &Uid) {
        let removed = {
            let mut state = self.state();
            // Not stored, or its successor is: the watch was faster, and nothing is on its way any more.
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

    /// A list begins: what it does not name by its end is gone.
    pub fn list_begins(&self) {
        let mut state = self.state();
        state.unnamed = Some(state.entries.iter().map(|entry| entry.0.meta().key.clone()).collect());
        state.gone.values_mut().for_each(|gone| gone.before_list = true);
        // What the list does not name may have been created before it and be gone.
        state.creations.values_mut().for_each(|late| *late = true);
    }

    /// Notes that the list names an object that could not be read: what is stored of it stays.
    pub fn keep(&self, key: &Key) {
        self.state().name(key);
    }

    /// The list is complete.
    pub fn list_ends(&self) {
        let gone: Vec<Arc<T>> = {
            let mut state = self.state();
            state.gone.retain(|_, gone| !gone.before_list);
            let unnamed = state.unnamed.take().into_iter().flatten();
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

/// An object that is being created (see [`Store::creation`]).
pub struct Creation<'a, T: Object> {
    store: &'a Store<T>,
    key: Key,
}

impl<T: Object> Creation<'_, T> {
    /// Stores the reply: the object as the API server has it now. Not if an object of this name may have come and gone
    /// meanwhile; the watch tells what there is.
    pub fn done(self, wire: T::Wire) {
        let late = self.store.state().creations.remove(&self.key).unwrap_or(true);
        if late {
            self.store.overlay(wire);
        } else {
            self.store.put(wire, false);
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

//! Who works on which object: one lock per object, never one for all.
//!
//! Nobody waits: an operation that finds its object taken is refused with ABORTED, and the caller
//! repeats it, as the specification wants. Readers of an object's data (a snapshot being cut, a clone
//! being made) share it; whoever changes it has it alone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::refusal::Refusal;

/// What is locked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// The name of a volume, snapshot or group that is being made.
    Name(&'static str, String),
    /// The record of a volume: attaching, staging, publishing.
    Volume(String),
    /// The content of a volume or snapshot: reading it for a copy, growing it, removing it.
    Content(String),
    /// A group snapshot.
    Group(String),
    /// An image on this node, by its name: several volumes may be of one.
    Image(String),
}

impl Key {
    /// What it is called in a message.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Name(kind, name) => format!("{kind} {name:?}"),
            Self::Volume(id) | Self::Content(id) => format!("{id:?}"),
            Self::Group(id) => format!("group snapshot {id:?}"),
            Self::Image(name) => format!("image {name:?}"),
        }
    }
}

/// How an object is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Shared(usize),
    Alone,
}

/// All locks of a driver.
#[derive(Debug, Clone, Default)]
pub struct Locks(Arc<Mutex<HashMap<Key, Hold>>>);

/// A lock that is held; dropping it lets go.
#[derive(Debug)]
pub struct Guard {
    locks: Locks,
    key: Key,
}

impl Locks {
    /// Takes an object alone.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when anybody holds it.
    pub fn alone(&self, key: Key) -> Result<Guard, Refusal> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains_key(&key) {
            return Err(Refusal::Busy(key.text()));
        }
        held.insert(key.clone(), Hold::Alone);
        drop(held);
        Ok(Guard { locks: self.clone(), key })
    }

    /// Takes an object together with other readers.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when somebody holds it alone.
    pub fn shared(&self, key: Key) -> Result<Guard, Refusal> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.entry(key.clone()).or_insert(Hold::Shared(0)) {
            Hold::Alone => return Err(Refusal::Busy(key.text())),
            Hold::Shared(readers) => *readers += 1,
        }
        drop(held);
        Ok(Guard { locks: self.clone(), key })
    }

    /// Whether anybody holds an object just now.
    pub fn is_held(&self, key: &Key) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut held = self.locks.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(&self.key) {
            Some(Hold::Shared(readers)) if *readers > 1 => *readers -= 1,
            _ => {
                held.remove(&self.key);
            }
        }
    }
}

/// A bound on how many operations of a slow kind run at the same time, so that they leave threads for the
/// others.
#[derive(Debug)]
pub struct Slots {
    what: &'static str,
    taken: Arc<AtomicUsize>,
    limit: usize,
}

/// A place among the slow operations; dropping it lets go.
#[derive(Debug)]
pub struct Slot(Arc<AtomicUsize>);

impl Slots {
    /// Room for `limit` of what is named.
    pub fn new(what: &'static str, limit: usize) -> Self {
        Self { what, taken: Arc::default(), limit }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// [`Refusal::Crowded`] when all are taken.
    pub fn take(&self) -> Result<Slot, Refusal> {
        let more = |taken: usize| (taken < self.limit).then_some(taken + 1);
        match self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more) {
            Ok(_) => Ok(Slot(self.taken.clone())),
            Err(_) => Err(Refusal::Crowded { limit: self.limit, what: self.what }),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_excludes_everybody_until_dropped() {
        let locks = Locks::default();
        let key = || Key::Volume("v".to_owned());
        let guard = locks.alone(key()).unwrap();
        assert!(matches!(locks.alone(key()), Err(Refusal::Busy(_))));
        assert!(matches!(locks.shared(key()), Err(Refusal::Busy(_))));
        assert!(locks.is_held(&key()) && !locks.is_held(&Key::Content("v".to_owned())));
        locks.alone(Key::Content("v".to_owned())).unwrap();
        drop(guard);
        locks.alone(key()).unwrap();
        assert!(locks.0.lock().unwrap().is_empty(), "nothing is left behind");
    }

    #[test]
    fn readers_share_and_keep_writers_out_until_the_last_is_gone() {
        let locks = Locks::default();
        let key = || Key::Content("v".to_owned());
        let first = locks.shared(key()).unwrap();
        let second = locks.shared(key()).unwrap();
        drop(first);
        assert!(locks.alone(key()).is_err());
        drop(second);
        locks.alone(key()).unwrap();
        assert!(locks.0.lock().unwrap().is_empty());
    }

    #[test]
    fn slots_are_limited_until_dropped() {
        let slots = Slots::new("copies", 2);
        let (first, _second) = (slots.take().unwrap(), slots.take().unwrap());
        let refusal = slots.take().unwrap_err();
        assert_eq!(refusal.to_string(), "2 copies are under way already: try again later");
        drop(first);
        slots.take().unwrap();
    }
}

//! Allows one call at a time for each key, such as a volume on a node.
//!
//! A work queue never works on one of its own keys twice at once. But two of them may lead to the same call: two
//! attachments of one volume to one node, or two queues of one sidecar. They take turns here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Wake = Box<dyn FnOnce() + Send>;

/// The calls under way, by key `K`. `W` names those who wait for their end.
pub struct InFlight<K, W> {
    calls: Mutex<HashMap<K, HashMap<W, Wake>>>,
}

impl<K, W> Default for InFlight<K, W> {
    fn default() -> Self {
        Self { calls: Mutex::default() }
    }
}

impl<K: Clone + Eq + Hash, W: Eq + Hash> InFlight<K, W> {
    /// Takes the turn for a key. It ends when the result is dropped, also by a panic. `None` if somebody else has it;
    /// `wake` is then called when that turn ends, once for each `who` that asked.
    pub fn take_turn(
        self: &Arc<Self>,
        key: &K,
        who: W,
        wake: impl FnOnce() + Send + 'static,
    ) -> Option<Turn<K, W>> {
        match self.calls().entry(key.clone()) {
            Entry::Occupied(mut taken) => {
                taken.get_mut().insert(who, Box::new(wake));
                None
            }
            Entry::Vacant(free) => {
                free.insert(HashMap::new());
                Some(Turn { of: self.clone(), key: key.clone() })
            }
        }
    }
}

impl<K, W> InFlight<K, W> {
    fn calls(&self) -> MutexGuard<'_, HashMap<K, HashMap<W, Wake>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn for a key: nobody else may make its call.
pub struct Turn<K: Eq + Hash, W> {
    of: Arc<InFlight<K, W>>,
    key: K,
}

impl<K: Eq + Hash, W> Drop for Turn<K, W> {
    fn drop(&mut self) {
        let waiting = self.of.calls().remove(&self.key).unwrap_or_default();
        waiting.into_values().for_each(|wake| wake());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_key_and_the_others_are_woken_once() {
        let (calls, woken) = (Arc::new(InFlight::default()), Arc::new(Mutex::new(Vec::new())));
        let claim = |key: &'static str, who: &'static str| {
            let log = woken.clone();
            calls.take_turn(&key, who, move || log.lock().unwrap().push(who))
        };
        let first = claim("key", "a").expect("is free");
        assert!(claim("key", "b").is_none() && claim("key", "b").is_none() && claim("key", "c").is_none());
        assert!(claim("other", "b").is_some());
        assert!(woken.lock().unwrap().is_empty());
        drop(first);
        woken.lock().unwrap().sort_unstable();
        assert_eq!(*woken.lock().unwrap(), ["b", "c"]);
        assert!(claim("key", "b").is_some());
        assert!(calls.calls().is_empty(), "nothing is left behind");
    }
}

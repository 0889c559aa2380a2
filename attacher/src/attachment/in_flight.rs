//! One call at a time for a volume on a node.
//!
//! Usually an attachment's name stands for the pair, and the queue never works on one name twice. Two attachments
//! of one pair (made by hand, or an inline volume beside a PersistentVolume) take turns here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::kube::object::Key;

type Pair = (Box<str>, Box<str>);
type Wake = Box<dyn Fn(&Key) + Send + Sync>;

/// The calls under way, by volume handle and node id.
pub(super) struct InFlight {
    /// Who waits for the end of each.
    pairs: Mutex<HashMap<Pair, Vec<Key>>>,
    wake: Wake,
}

impl InFlight {
    /// No call yet; `wake` is called with each attachment that may now try again.
    pub(super) fn new(wake: impl Fn(&Key) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { pairs: Mutex::default(), wake: Box::new(wake) })
    }

    /// Claims the pair until the result is dropped; `None` when another has it: `key` is woken at its end.
    pub(super) fn claim(self: &Arc<Self>, handle: &str, node_id: &str, key: &Key) -> Option<Claim> {
        match self.pairs().entry((handle.into(), node_id.into())) {
            Entry::Occupied(mut taken) => {
                taken.get_mut().push(key.clone());
                None
            }
            Entry::Vacant(free) => {
                let pair = free.key().clone();
                free.insert(Vec::new());
                Some(Claim { of: self.clone(), pair })
            }
        }
    }

    fn pairs(&self) -> MutexGuard<'_, HashMap<Pair, Vec<Key>>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pair that nobody else may call for.
pub(super) struct Claim {
    of: Arc<InFlight>,
    pair: Pair,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let waiting = self.of.pairs().remove(&self.pair).unwrap_or_default();
        waiting.iter().for_each(|key| (self.of.wake)(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_called_for_by_one_and_the_others_are_woken() {
        let woken = Arc::new(Mutex::new(Vec::new()));
        let log = woken.clone();
        let calls = InFlight::new(move |key| log.lock().unwrap().push(key.to_string()));
        let [a, b] = ["a", "b"].map(Key::cluster);
        let claim = calls.claim("h", "n", &a).expect("is free");
        assert!(calls.claim("h", "n", &b).is_none());
        assert!(calls.claim("h", "other", &b).is_some() && calls.claim("other", "n", &b).is_some());
        assert!(woken.lock().unwrap().is_empty());
        drop(claim);
        assert_eq!(*woken.lock().unwrap(), ["b"]);
        assert!(calls.claim("h", "n", &b).is_some());
        assert!(calls.pairs().is_empty(), "nothing is left behind");
    }
}

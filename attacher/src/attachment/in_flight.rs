//! Allows one call at a time for each pair of volume and node.
//!
//! Usually one attachment stands for a pair, and the queue never works on one attachment twice at once. But a
//! pair may have two attachments (made by hand, or an inline volume beside a PersistentVolume), or an
//! attachment and a volume to unpublish whose own attachment is gone. They take turns here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kubernetes::object::Key;

/// A volume on a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The volume's id at the driver.
    pub handle: Box<str>,
    /// The node's id at the driver.
    pub node_id: Arc<str>,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.handle, self.node_id)
    }
}

type Wake = Box<dyn FnOnce() + Send>;
type Waiters = HashMap<Option<Key>, Wake>;

/// The calls under way.
#[derive(Default)]
pub struct InFlight {
    /// Who waits for the end of each call: attachments by name, and without a name the withdrawal.
    pairs: Mutex<HashMap<Pair, Waiters>>,
}

impl InFlight {
    /// Claims the pair for an attachment or for the withdrawal. The claim ends when the result is dropped.
    /// `None` if another has the pair; `wake` is then called when that claim ends, once for each who asked.
    pub fn claim(
        self: &Arc<Self>,
        pair: &Pair,
        attachment: Option<&Key>,
        wake: impl FnOnce() + Send + 'static,
    ) -> Option<Claim> {
        match self.pairs().entry(pair.clone()) {
            Entry::Occupied(mut taken) => {
                taken.get_mut().insert(attachment.cloned(), Box::new(wake));
                None
            }
            Entry::Vacant(free) => {
                free.insert(Waiters::new());
                Some(Claim { of: self.clone(), pair: pair.clone() })
            }
        }
    }

    fn pairs(&self) -> MutexGuard<'_, HashMap<Pair, Waiters>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A claimed pair: nobody else may call the driver for it.
pub struct Claim {
    of: Arc<InFlight>,
    pair: Pair,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let waiting = self.of.pairs().remove(&self.pair).unwrap_or_default();
        waiting.into_values().for_each(|wake| wake());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_called_for_by_one_and_the_others_are_woken() {
        let (calls, woken) = (Arc::new(InFlight::default()), Arc::new(Mutex::new(Vec::new())));
        let claim = |handle: &str, node_id: &str, name: &'static str| {
            let (pair, log) = (Pair { handle: handle.into(), node_id: node_id.into() }, woken.clone());
            calls.claim(&pair, Some(&Key::cluster(name)), move || log.lock().unwrap().push(name))
        };
        let first = claim("h", "n", "a").expect("is free");
        assert!(claim("h", "n", "b").is_none() && claim("h", "n", "b").is_none());
        assert!(calls.claim(&Pair { handle: "h".into(), node_id: "n".into() }, None, || ()).is_none());
        assert_eq!(calls.pairs().values().map(Waiters::len).sum::<usize>(), 2, "each once");
        assert!(claim("h", "other", "b").is_some() && claim("other", "n", "b").is_some());
        assert!(woken.lock().unwrap().is_empty());
        drop(first);
        assert_eq!(*woken.lock().unwrap(), ["b"]);
        assert!(claim("h", "n", "b").is_some());
        assert!(calls.pairs().is_empty(), "nothing is left behind");
    }
}

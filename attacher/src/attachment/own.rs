//! Tells the events of our own writes from other events.
//!
//! The watch may show a write before its reply arrives. Events of the object are held back meanwhile. The
//! reply's version then tells which event was our write; any other event queues the attachment.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kubernetes::object::Key;

/// The writes under way. An attachment has one at a time.
#[derive(Debug, Default)]
pub(super) struct OwnWrites {
    /// Versions of the events held back, by attachment.
    writing: Mutex<HashMap<Key, Vec<u64>>>,
}

impl OwnWrites {
    /// A write is about to be sent.
    pub(super) fn begin(&self, key: &Key) {
        self.writing().insert(key.clone(), Vec::new());
    }

    /// Whether an event must wait for the reply of a write.
    pub(super) fn holds_back(&self, key: &Key, version: u64) -> bool {
        match self.writing().get_mut(key) {
            Some(held) => {
                held.push(version);
                true
            }
            None => false,
        }
    }

    /// The write has ended; `version` is that of the reply, if it succeeded. Returns whether somebody else
    /// wrote meanwhile.
    pub(super) fn end(&self, key: &Key, version: Option<u64>) -> bool {
        let held = self.writing().remove(key).unwrap_or_default();
        held.into_iter().any(|seen| Some(seen) != version)
    }

    fn writing(&self) -> MutexGuard<'_, HashMap<Key, Vec<u64>>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_of_others_are_news() {
        let (own, key) = (OwnWrites::default(), Key::cluster("a"));
        assert!(!own.holds_back(&key, 5), "nobody writes");
        for (events, reply, news) in [
            (&[][..], Some(7), false),
            (&[7], Some(7), false),
            (&[6, 7], Some(7), true),
            (&[7, 8], Some(7), true),
            (&[8], Some(7), true),
            (&[], None, false),
            (&[7], None, true),
        ] {
            own.begin(&key);
            assert!(events.iter().all(|version| own.holds_back(&key, *version)));
            assert!(!own.holds_back(&Key::cluster("b"), 7));
            assert_eq!(own.end(&key, reply), news, "{events:?} {reply:?}");
        }
        assert!(!own.holds_back(&key, 9), "the write is over");
    }
}

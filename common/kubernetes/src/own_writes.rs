//! Tells the watch events of our own writes from those of others. Only the others' are news.
//!
//! The watch may show a write before its reply arrives. So the events of an object are held back while we write to it,
//! and the reply's version then tells which of them was our own. When the write ends, even by a panic
//! or a cancellation, nothing is held back any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::api::{self, Format};
use super::collection::{Collection, Written};
use super::object::{Key, Meta, Object};

/// The writes under way to objects of one kind. An object has one at a time.
pub struct OwnWrites {
    /// Versions of the events held back, by object.
    writing: Mutex<HashMap<Key, Vec<u64>>>,
    news: Box<dyn Fn(&Key) + Send + Sync>,
}

impl OwnWrites {
    /// No write yet. `news` is called for an object after a write to it, if somebody else has changed it meanwhile.
    pub fn new(news: impl Fn(&Key) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { writing: Mutex::default(), news: Box::new(news) })
    }

    /// Whether an event of an object is held back until the write to it has ended. Whoever subscribes to the cache asks
    /// this first.
    pub fn holds_back(&self, key: &Key, version: u64) -> bool {
        match self.writing().get_mut(key) {
            Some(held) => {
                held.push(version);
                true
            }
            None => false,
        }
    }

    /// Patches an object as [`Collection::patch`] does, and holds back the event of this write. If the reply is the
    /// first to show that the object is being deleted, that is news too: the later event will show no change.
    ///
    /// # Errors
    /// As [`Collection::patch`].
    pub async fn patch<T: Object>(
        &self,
        objects: &Collection<T>,
        meta: &Meta,
        subresource: &str,
        format: Format,
        body: Value,
    ) -> Result<Written, api::Error> {
        let mut write = self.begin(&meta.key);
        let written = objects.patch(meta, subresource, format, body).await;
        if let Ok(Written::Kept { version, deleting }) = written {
            write.version = Some(version);
            write.is_news = deleting && !meta.deleting;
        }
        written
    }

    fn begin<'a>(&'a self, key: &'a Key) -> OwnWrite<'a> {
        self.writing().insert(key.clone(), Vec::new());
        OwnWrite { of: self, key, version: None, is_news: false }
    }

    fn writing(&self) -> MutexGuard<'_, HashMap<Key, Vec<u64>>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write under way.
struct OwnWrite<'a> {
    of: &'a OwnWrites,
    key: &'a Key,
    /// The version in the reply, if the write has succeeded.
    version: Option<u64>,
    is_news: bool,
}

impl Drop for OwnWrite<'_> {
    fn drop(&mut self) {
        let held = self.of.writing().remove(self.key).unwrap_or_default();
        if self.is_news || held.into_iter().any(|seen| Some(seen) != self.version) {
            (self.of.news)(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn counting() -> (Arc<OwnWrites>, Arc<Mutex<Vec<Key>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        (OwnWrites::new(move |key| log.lock().unwrap().push(key.clone())), told)
    }

    #[test]
    fn only_events_of_others_are_news() {
        let ((own, told), key) = (counting(), Key::cluster("a"));
        assert!(!own.holds_back(&key, 5), "nobody writes");
        for (events, reply, deleted, news) in [
            (&[][..], Some(7), false, false),
            (&[7], Some(7), false, false),
            (&[7], Some(7), true, true),
            (&[6, 7], Some(7), false, true),
            (&[7, 8], Some(7), false, true),
            (&[8], Some(7), false, true),
            (&[], None, false, false),
            (&[7], None, false, true),
        ] {
            let mut write = own.begin(&key);
            assert!(events.iter().all(|version| own.holds_back(&key, *version)));
            assert!(!own.holds_back(&Key::cluster("b"), 7));
            (write.version, write.is_news) = (reply, deleted);
            drop(write);
            let expected = if news { vec![key.clone()] } else { Vec::new() };
            assert_eq!(std::mem::take(&mut *told.lock().unwrap()), expected, "{events:?} {reply:?}");
        }
        assert!(!own.holds_back(&key, 9), "the write is over");
    }

    #[test]
    fn panic_in_a_write_holds_back_nothing_for_ever() {
        let ((own, told), key) = (counting(), Key::cluster("a"));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _write = own.begin(&key);
            assert!(own.holds_back(&key, 7));
            panic!("in the middle");
        }));
        assert!(panicked.is_err());
        assert_eq!(told.lock().unwrap().first(), Some(&key), "what was held back is told");
        assert!(!own.holds_back(&key, 8));
    }

    #[tokio::test]
    async fn cancelled_write_holds_back_nothing_for_ever() {
        let ((own, told), key) = (counting(), Key::cluster("a"));
        let write = async {
            let _write = own.begin(&key);
            assert!(own.holds_back(&key, 7));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = write => {}
            () = std::future::ready(()) => {}
        }
        assert_eq!(told.lock().unwrap().first(), Some(&key));
        assert!(!own.holds_back(&key, 8));
    }
}

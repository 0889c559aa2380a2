//! Attachments that wait for an object to appear or change.
//!
//! `Differs:` upstream tries again only after the back-off. We also try at once when the PersistentVolume or
//! CSINode appears, and within seconds when the Secret does (see [`super::look`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kubernetes::object::Key;
use kubernetes::secret::SecretRef;
use tokio::sync::Notify;

/// An object whose appearance may end the failure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// The volume of this name.
    Volume(Box<str>),
    /// A volume of this name that is not being deleted.
    LiveVolume(Box<str>),
    /// The CSINode of this name, if it lists the driver.
    Node(Box<str>),
    /// This Secret.
    Secret(SecretRef),
}

/// Which attachments wait for which object. Each waits for one object at a time.
#[derive(Debug, Default)]
pub struct Waiting {
    state: Mutex<State>,
    /// Notified when an attachment begins to wait for a Secret.
    secret_wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    by_object: BTreeMap<On, Waiters>,
    on: HashMap<Key, Wait>,
    /// How many of the objects are Secrets.
    secrets: usize,
    /// How many requests for a Secret did not find it.
    looks: u64,
}

#[derive(Debug, Default)]
struct Waiters {
    keys: BTreeSet<Key>,
    /// Number of the last request that did not find the object.
    missing: u64,
}

#[derive(Debug)]
struct Wait {
    on: On,
    /// Number of the last request before the attachment began to wait.
    since: u64,
}

impl Waiting {
    /// The attachment waits for this object from now on.
    pub fn join(&self, key: &Key, on: On) {
        let is_secret = matches!(on, On::Secret(_));
        self.state().join(key, on);
        if is_secret {
            self.secret_wanted.notify_one();
        }
    }

    /// The attachment stops waiting. Returns the Secret that it waited for, if a request has missed it
    /// meanwhile.
    pub fn leave(&self, key: &Key) -> Option<SecretRef> {
        self.state().leave(key)
    }

    /// A request did not find the Secret.
    pub fn not_found(&self, place: &SecretRef) {
        let mut state = self.state();
        state.looks += 1;
        let look = state.looks;
        if let Some(waiters) = state.by_object.get_mut(&On::Secret(place.clone())) {
            waiters.missing = look;
        }
    }

    /// Whether an attachment waits for the Secret.
    pub fn is_wanted(&self, place: &SecretRef) -> bool {
        self.state().by_object.contains_key(&On::Secret(place.clone()))
    }

    /// Whether no attachment waits for anything.
    pub fn is_idle(&self) -> bool {
        self.state().on.is_empty()
    }

    /// Removes and returns the attachments that wait for this object, which has appeared.
    pub fn came(&self, on: &On) -> BTreeSet<Key> {
        self.state().came(on)
    }

    /// The Secret to ask for after this one (round-robin), and how many are missing; `None` if nobody waits
    /// for one.
    pub fn secret_after(&self, last: Option<&SecretRef>) -> Option<(SecretRef, usize)> {
        let state = self.state();
        let after = |from: Bound<&On>| {
            state.by_object.range((from, Bound::Unbounded)).find_map(|(on, _)| match on {
                On::Secret(place) => Some(place.clone()),
                On::Volume(_) | On::LiveVolume(_) | On::Node(_) => None,
            })
        };
        let first = On::Secret(SecretRef { namespace: String::new(), name: String::new() });
        let next = last.and_then(|last| after(Bound::Excluded(&On::Secret(last.clone()))));
        next.or_else(|| after(Bound::Included(&first))).map(|place| (place, state.secrets))
    }

    /// Resolves when an attachment has begun to wait for a Secret since the last call. May also resolve
    /// without reason.
    pub async fn secret_wanted(&self) {
        self.secret_wanted.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn join(&mut self, key: &Key, on: On) {
        self.leave(key);
        let waiters = self.by_object.entry(on.clone()).or_default();
        if waiters.keys.is_empty() && matches!(on, On::Secret(_)) {
            self.secrets += 1;
        }
        waiters.keys.insert(key.clone());
        self.on.insert(key.clone(), Wait { on, since: self.looks });
    }

    fn leave(&mut self, key: &Key) -> Option<SecretRef> {
        let Wait { on, since } = self.on.remove(key)?;
        let waiters = self.by_object.get_mut(&on)?;
        waiters.keys.remove(key);
        let looked_for = waiters.missing > since;
        if waiters.keys.is_empty() {
            self.remove(&on);
        }
        match on {
            On::Secret(place) if looked_for => Some(place),
            On::Secret(_) | On::Volume(_) | On::LiveVolume(_) | On::Node(_) => None,
        }
    }

    fn came(&mut self, on: &On) -> BTreeSet<Key> {
        let keys = self.remove(on);
        keys.iter().for_each(|key| drop(self.on.remove(key)));
        keys
    }

    fn remove(&mut self, on: &On) -> BTreeSet<Key> {
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

    fn secret(name: &str) -> SecretRef {
        SecretRef { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn each_waits_for_one_object_and_is_told_once() {
        let waiting = Waiting::default();
        let [a, b] = ["a", "b"].map(Key::cluster);
        let (volume, node) = (On::Volume("pv".into()), On::Node("n".into()));
        waiting.join(&a, volume.clone());
        waiting.join(&b, volume.clone());
        waiting.join(&a, node.clone());
        assert_eq!(waiting.came(&volume), BTreeSet::from([b]));
        assert!(waiting.came(&volume).is_empty());
        assert!(waiting.came(&On::Volume("n".into())).is_empty());
        assert_eq!(waiting.came(&node), BTreeSet::from([a.clone()]));
        waiting.join(&a, node.clone());
        waiting.leave(&a);
        assert!(waiting.came(&node).is_empty());
        assert!(
            waiting.state().by_object.is_empty() && waiting.state().on.is_empty(),
            "nothing is left behind"
        );
    }

    #[test]
    fn secrets_are_looked_for_in_turn_while_somebody_waits_for_them() {
        let waiting = Waiting::default();
        let [a, b, c, other] = ["a", "b", "c", "other"].map(Key::cluster);
        waiting.join(&other, On::Volume("pv".into()));
        assert_eq!(waiting.secret_after(None), None);
        waiting.join(&a, On::Secret(secret("two")));
        waiting.join(&b, On::Secret(secret("one")));
        waiting.join(&c, On::Secret(secret("two")));
        let mut last = None;
        for name in ["one", "two", "one", "two"] {
            let next = waiting.secret_after(last.as_ref());
            assert_eq!(next, Some((secret(name), 2)));
            last = next.map(|(place, _)| place);
        }
        waiting.leave(&b);
        assert_eq!(waiting.secret_after(Some(&secret("one"))), Some((secret("two"), 1)));
        assert_eq!(waiting.secret_after(Some(&secret("two"))), Some((secret("two"), 1)));
        assert_eq!(waiting.came(&On::Secret(secret("two"))), BTreeSet::from([a, c]));
        assert_eq!(waiting.secret_after(Some(&secret("two"))), None);
        assert_eq!(waiting.state().secrets, 0);
    }

    #[test]
    fn leave_returns_a_secret_missed_since_join() {
        let waiting = Waiting::default();
        let [a, b] = ["a", "b"].map(Key::cluster);
        let on = || On::Secret(secret("s"));
        waiting.not_found(&secret("s"));
        waiting.join(&a, on());
        assert_eq!(waiting.leave(&a), None, "a look before it came");
        waiting.join(&a, on());
        waiting.not_found(&secret("another"));
        assert_eq!((waiting.leave(&a), waiting.is_wanted(&secret("s"))), (None, false));
        waiting.join(&a, on());
        waiting.not_found(&secret("s"));
        waiting.join(&b, on());
        assert_eq!((waiting.leave(&a), waiting.is_wanted(&secret("s"))), (Some(secret("s")), true));
        assert_eq!((waiting.leave(&b), waiting.is_wanted(&secret("s"))), (None, false));
        assert_eq!(waiting.leave(&a), None, "once");
    }
}

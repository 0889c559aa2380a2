//! Which objects a cache has passed over, because each needs an object of another kind that is not there.
//!
//! A claim does not say whose its volume is: only the volume does. So a cache of claims asks the cache of volumes. If that does not
//! have the volume, the cache keeps eight bytes instead of the claim: a hash of its key. When the volume comes, whoever needs the
//! claim asks [`Store::has_passed_over`](super::Store::has_passed_over), and has it read.
//!
//! Two keys may have one hash, once in a hundred million clusters of 100,000 claims. Then a claim may be taken up only when it
//! changes.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::object::{Key, Object, Scope};

type IsThere = Box<dyn Fn(&Key) -> bool + Send>;

/// The keys of one cache.
#[derive(Default)]
pub(super) struct PassedOver {
    /// Whether an object of the other kind is there. `None` if nothing is passed over.
    is_there: Option<IsThere>,
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl PassedOver {
    /// From now on, objects that need one that is not there are passed over.
    pub(super) fn without(&mut self, is_there: IsThere) {
        self.is_there = Some(is_there);
    }

    /// The object, if the cache keeps it. If it is passed over, its key is noted.
    pub(super) fn kept<T: Object>(&mut self, key: &Key, object: Option<T>, scope: &Scope) -> Option<T> {
        let Some(is_there) = &self.is_there else { return object };
        let lacks = |object: &T| object.needs(scope).is_some_and(|need| !is_there(&need));
        if object.as_ref().is_some_and(lacks) {
            self.hashes.insert(self.hasher.hash_one(key));
            return None;
        }
        self.forget(key);
        object
    }

    /// Whether the object of this key was passed over.
    pub(super) fn has(&self, key: &Key) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&self.hasher.hash_one(key))
    }

    /// The object is gone, or it is not passed over.
    pub(super) fn forget(&mut self, key: &Key) {
        if !self.hashes.is_empty() {
            self.hashes.remove(&self.hasher.hash_one(key));
        }
    }

    /// A list begins: it names all objects again.
    pub(super) fn forget_all(&mut self) {
        self.hashes = HashSet::new();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::object::{Claim, Keep, WireClaim};
    use crate::store::{Store, Writer, cache};
    use serde_json::json;

    fn claim(version: u64, volume: &str) -> WireClaim {
        serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "ns", "uid": "u", "resourceVersion": version.to_string()},
            "spec": {"volumeName": volume},
        }))
        .unwrap()
    }

    /// A cache of claims beside one that has the volume `ours`.
    fn claims() -> (Writer<Claim>, Arc<Store<Claim>>) {
        let scope = Scope { driver: "d".into(), keep: Keep::RESIZE, ..Scope::default() };
        let (writer, store) = cache::<Claim>(Arc::new(scope));
        store.pass_over_without(|volume| volume.name() == "ours");
        (writer, store)
    }

    fn key() -> Key {
        Key::new("ns", "c")
    }

    #[test]
    fn claim_is_kept_while_its_volume_is_there_when_it_changes() {
        let (writer, store) = claims();
        for (version, volume, kept, passed_over) in [
            (1, "ours", true, false),
            (2, "theirs", false, true),
            (3, "ours", true, false),
            (4, "", false, false),
        ] {
            writer.apply(claim(version, volume));
            assert_eq!((store.len() == 1, store.has_passed_over(&key())), (kept, passed_over), "{version}");
        }
    }

    #[test]
    fn claim_that_was_read_is_stored_only_if_it_was_passed_over() {
        let (writer, store) = claims();
        store.take_up(claim(5, "ours"));
        assert!(store.is_empty(), "nothing was passed over: the watch will show it, or has shown its end");
        writer.apply(claim(5, "theirs"));
        store.take_up(claim(6, "ours"));
        assert_eq!((store.len(), store.has_passed_over(&key())), (1, false));
        writer.apply(claim(5, "theirs"));
        assert_eq!(store.len(), 1, "an older event changes nothing");
    }

    #[test]
    fn claim_that_went_before_the_reply_does_not_come_back() {
        let (writer, store) = claims();
        writer.apply(claim(5, "theirs"));
        writer.remove(&key(), &"u".into());
        store.take_up(claim(5, "ours"));
        assert!(store.is_empty() && !store.has_passed_over(&key()));
    }

    #[test]
    fn new_list_says_anew_what_is_passed_over() {
        let (writer, store) = claims();
        writer.apply(claim(5, "theirs"));
        writer.list_begins();
        writer.list_ends();
        assert!(!store.has_passed_over(&key()), "it was deleted while nobody watched");
        writer.list_begins();
        writer.list_item(claim(9, "theirs"));
        writer.list_ends();
        assert!(store.has_passed_over(&key()));
    }
}

//! Which items there are, and which objects stand for them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kubernetes::object::{Capacity, Key};
use kubernetes::store::Change;

use super::item::{Item, Items};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Work {
    /// Ask for an item's capacity and publish it.
    Refresh(Item),
    /// Delete an object, if nobody wants it.
    Delete(Key),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refresh(item) => item.fmt(f),
            Self::Delete(object) => object.fmt(f),
        }
    }
}

/// The items and their objects.
#[derive(Debug, Default)]
pub(super) struct State {
    items: Items,
    /// The objects for each item, wanted or not; the first of them is kept.
    objects: HashMap<Item, BTreeSet<Key>>,
    /// Objects that can be for no item.
    strange: HashSet<Key>,
}

/// How many objects should be there, are there, and are there without reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) goal: usize,
    pub(super) current: usize,
    pub(super) obsolete: usize,
}

impl State {
    /// The items.
    pub(super) fn items(&self) -> &Items {
        &self.items
    }

    /// These are the items from now on. Returns what follows: new ones are asked for, objects without item go.
    pub(super) fn replace(&mut self, items: Items) -> Vec<Work> {
        let before = std::mem::replace(&mut self.items, items);
        let new = self.items.all().filter(|item| !before.has(item)).map(Work::Refresh);
        let gone =
            self.objects.keys().flat_map(|item| self.unwanted(item)).chain(self.strange.iter().cloned());
        new.chain(gone.map(Work::Delete)).collect()
    }

    /// An object changed. Returns what follows.
    pub(super) fn note(&mut self, change: &Change<Capacity>) -> Vec<Work> {
        let (old, new) = match change {
            Change::Added(new) => (None, Some(new)),
            Change::Updated { old, new } => (Some(old), Some(new)),
            Change::Removed(old) | Change::Left(old) => (Some(old), None),
        };
        let mut work = Vec::new();
        if let Some(old) = old {
            self.forget(old);
        }
        if let Some(new) = new {
            work.extend(self.insert(new));
        }
        if let Some(item) = old.and_then(|old| Item::of(old)).filter(|item| self.object(item).is_none()) {
            work.extend(self.items.has(&item).then_some(Work::Refresh(item)));
        }
        work
    }

    fn forget(&mut self, object: &Capacity) {
        let key = &object.meta.key;
        self.strange.remove(key);
        if let Some(item) = Item::of(object)
            && let Some(keys) = self.objects.get_mut(&item)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.objects.remove(&item);
            }
        }
    }

    fn insert(&mut self, object: &Capacity) -> Vec<Work> {
        let key = object.meta.key.clone();
        let Some(item) = Item::of(object) else {
            self.strange.insert(key.clone());
            return vec![Work::Delete(key)];
        };
        self.objects.entry(item.clone()).or_default().insert(key);
        self.unwanted(&item).into_iter().map(Work::Delete).collect()
    }

    /// The object of an item.
    pub(super) fn object(&self, item: &Item) -> Option<&Key> {
        self.objects.get(item)?.first()
    }

    /// Whether this object stands for no item, or another one stands for the same.
    pub(super) fn is_unwanted(&self, object: &Capacity) -> bool {
        Item::of(object).is_none_or(|item| self.unwanted(&item).contains(&object.meta.key))
    }

    /// The objects of an item that are too many: all but the first, or all if there is no such item.
    fn unwanted(&self, item: &Item) -> Vec<Key> {
        let keep = usize::from(self.items.has(item));
        self.objects.get(item).into_iter().flatten().skip(keep).cloned().collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let all: usize = self.objects.values().map(BTreeSet::len).sum();
        let current = self.objects.keys().filter(|item| self.items.has(item)).count();
        Counts { goal: self.items.len(), current, obsolete: all + self.strange.len() - current }
    }
}

/// The state, shared with the subscribers of caches and with the metrics page.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use csi::topology::Term;
    use kubernetes::object::{Object, Scope};
    use serde_json::{Value, json};

    fn items(zones: &[&str], classes: &[&str]) -> Items {
        let terms = zones.iter().map(|zone| Term::new([("zone", *zone)]));
        Items::new(terms, classes.iter().map(|class| Arc::from(*class)).collect())
    }

    fn object(name: &str, class: &str, topology: Value) -> Arc<Capacity> {
        let wire = json!({
            "metadata": {"namespace": "ns", "name": name}, "storageClassName": class, "nodeTopology": topology,
        });
        Capacity::slim(serde_json::from_value(wire).unwrap(), &Scope::default()).unwrap().into()
    }

    fn zone(name: &str, class: &str, zone: &str) -> Arc<Capacity> {
        object(name, class, json!({"matchLabels": {"zone": zone}}))
    }

    fn texts(work: Vec<Work>) -> Vec<String> {
        let mut texts: Vec<String> = work.iter().map(ToString::to_string).collect();
        texts.sort();
        texts
    }

    fn counts(state: &State) -> (usize, usize, usize) {
        let Counts { goal, current, obsolete } = state.counts();
        (goal, current, obsolete)
    }

    #[test]
    fn new_items_are_asked_for_and_old_objects_go() {
        let mut state = State::default();
        assert_eq!(texts(state.replace(items(&["a"], &["fast"]))), ["fast [zone=a]"]);
        assert_eq!(counts(&state), (1, 0, 0));
        assert!(state.note(&Change::Added(zone("one", "fast", "a"))).is_empty());
        assert_eq!(counts(&state), (1, 1, 0));
        assert!(state.replace(items(&["a"], &["fast"])).is_empty(), "nothing changed");
        let work = texts(state.replace(items(&["b"], &["fast", "slow"])));
        assert_eq!(work, ["fast [zone=b]", "ns/one", "slow [zone=b]"]);
        assert_eq!(counts(&state), (2, 0, 1));
        assert!(state.is_unwanted(&zone("one", "fast", "a")));
        assert!(state.note(&Change::Removed(zone("one", "fast", "a"))).is_empty());
        assert_eq!(counts(&state), (2, 0, 0));
    }

    #[test]
    fn redundant_and_strange_objects_go() {
        let mut state = State::default();
        state.replace(items(&["a"], &["fast"]));
        state.note(&Change::Added(zone("b", "fast", "a")));
        assert_eq!(texts(state.note(&Change::Added(zone("a", "fast", "a")))), ["ns/b"]);
        assert_eq!(
            state.object(&Item { segment: "zone=a".into(), class: "fast".into() }),
            Some(&Key::new("ns", "a"))
        );
        let expressions = json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}]});
        assert_eq!(texts(state.note(&Change::Added(object("c", "fast", expressions.clone())))), ["ns/c"]);
        assert_eq!(texts(state.note(&Change::Added(object("d", "fast", Value::Null)))), ["ns/d"]);
        assert_eq!(counts(&state), (1, 1, 3));
        assert!(
            state.is_unwanted(&object("c", "fast", expressions))
                && !state.is_unwanted(&zone("a", "fast", "a"))
        );
    }

    #[test]
    fn object_that_vanishes_is_made_again() {
        let mut state = State::default();
        state.replace(items(&["a"], &["fast"]));
        state.note(&Change::Added(zone("one", "fast", "a")));
        assert_eq!(texts(state.note(&Change::Left(zone("one", "fast", "a")))), ["fast [zone=a]"]);
        state.note(&Change::Added(zone("one", "fast", "a")));
        state.note(&Change::Added(zone("two", "fast", "a")));
        assert!(state.note(&Change::Removed(zone("one", "fast", "a"))).is_empty(), "the other one stands in");
        let change = Change::Updated { old: zone("two", "fast", "a"), new: zone("two", "fast", "z") };
        assert_eq!(texts(state.note(&change)), ["fast [zone=a]", "ns/two"]);
    }
}

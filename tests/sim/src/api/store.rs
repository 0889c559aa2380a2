//! The objects, their history, and the one counter behind every resourceVersion.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::admission::set_at;
use super::resource::Index;

/// Where an object is; the order is that of lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) index: Index,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Added,
    Modified,
    Deleted,
}

/// One entry of the history.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) at: Instant,
    pub(crate) index: Index,
    pub(crate) kind: Kind,
    /// The object after the change; for a deletion, its last state with the deletion's resourceVersion.
    pub(crate) object: Arc<Value>,
    /// The object before the change.
    pub(crate) before: Option<Arc<Value>>,
}

/// All there is.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
    /// The resourceVersion of the last change.
    pub(crate) version: u64,
    /// Changes up to this resourceVersion can no longer be watched.
    pub(crate) forgotten: u64,
    /// Lists leave these out, as an API server that lags behind does.
    unlisted: BTreeSet<Key>,
    /// How many objects each key has had; makes uids that do not depend on what else happened.
    births: BTreeMap<Key, u64>,
    /// How many names were generated from each prefix.
    generated: BTreeMap<String, u64>,
    started: Instant,
}

impl Store {
    pub(crate) fn new() -> Store {
        Store {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            version: 100,
            forgotten: 0,
            unlisted: BTreeSet::new(),
            births: BTreeMap::new(),
            generated: BTreeMap::new(),
            started: Instant::now(),
        }
    }

    /// The virtual time: 2026-01-01 at the start, then as tokio's clock goes.
    pub(crate) fn now(&self) -> Timestamp {
        const START: i64 = 1_767_225_600;
        let elapsed = SignedDuration::try_from(self.started.elapsed()).unwrap_or_default();
        Timestamp::from_second(START).and_then(|start| start.checked_add(elapsed)).unwrap_or_default()
    }

    /// The virtual time as `creationTimestamp` has it: whole seconds.
    pub(crate) fn now_text(&self) -> String {
        self.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// A uid for a new object at `key`: the same in every run that creates it the same number of times.
    pub(crate) fn new_uid(&mut self, key: &Key) -> String {
        let births = self.births.entry(key.clone()).or_insert(0);
        *births += 1;
        let text = format!("{}/{}/{}/{births}", key.index, key.namespace, key.name);
        let (high, low) = (hash(&text), hash(&format!("{text}+")));
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }

    /// `prefix` and five letters.
    pub(crate) fn generate_name(&mut self, prefix: &str) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let count = self.generated.entry(prefix.to_owned()).or_insert(0);
        *count += 1;
        let mut number = hash(&format!("{prefix}{count}"));
        let mut name = prefix.to_owned();
        for _ in 0..5 {
            let letter = usize::try_from(number % 27).ok().and_then(|index| LETTERS.get(index));
            name.push(char::from(*letter.unwrap_or(&b'x')));
            number /= 27;
        }
        name
    }

    /// Stores `object`, or removes what is at `key`, as one change. Gives the object with its new resourceVersion.
    pub(crate) fn commit(&mut self, key: &Key, kind: Kind, mut object: Value) -> Arc<Value> {
        self.version += 1;
        set_at(&mut object, &["metadata", "resourceVersion"], json!(self.version.to_string()));
        let object = Arc::new(object);
        let before = if kind == Kind::Deleted {
            self.objects.remove(key)
        } else {
            self.objects.insert(key.clone(), object.clone())
        };
        self.history.push_back(Change {
            version: self.version,
            at: Instant::now(),
            index: key.index,
            kind,
            object: object.clone(),
            before,
        });
        object
    }

    /// The first change of `index` after `version`.
    pub(crate) fn next_change(&self, index: Index, version: u64) -> Option<&Change> {
        let start = self.history.partition_point(|change| change.version <= version);
        self.history.range(start..).find(|change| change.index == index)
    }

    /// Forgets the history, as compaction does.
    pub(crate) fn forget(&mut self) {
        self.forgotten = self.version;
        self.history.clear();
    }

    /// The objects of a resource, of one namespace or of all (empty).
    pub(crate) fn list<'a>(
        &'a self,
        index: Index,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        let from = Key { index, namespace: namespace.to_owned(), name: String::new() };
        self.objects
            .range(from..)
            .take_while(move |(key, _)| {
                key.index == index && (namespace.is_empty() || key.namespace == namespace)
            })
            .map(|(_, object)| object)
    }

    /// From now on [`Store::listed`] leaves this object out, or not.
    pub(crate) fn leave_out(&mut self, key: Key, out: bool) {
        if out {
            self.unlisted.insert(key);
        } else {
            self.unlisted.remove(&key);
        }
    }

    /// The same as a list shows them.
    pub(crate) fn listed<'a>(
        &'a self,
        index: Index,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        let unlisted: Vec<&Arc<Value>> =
            self.unlisted.iter().filter_map(|key| self.objects.get(key)).collect();
        self.list(index, namespace)
            .filter(move |object| !unlisted.iter().any(|other| Arc::ptr_eq(other, object)))
    }
}

/// FNV-1a and a final mix: stable, and every bit of the text matters in every bit of the number.
fn hash(text: &str) -> u64 {
    let sum = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let sum = (sum ^ (sum >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    sum ^ (sum >> 29)
}

//! Keeps one copy of texts that thousands of objects share: annotation keys, finalizers, names of drivers and
//! nodes, lists of access modes, mount options and finalizers, and the annotations and attributes of volumes.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde::{Deserialize, Deserializer};

/// A list that many objects have in common.
pub type Words = Arc<[Arc<str>]>;

/// A key and its value.
pub(super) type Pair = (Arc<str>, Arc<str>);

static TEXTS: LazyLock<Mutex<Pool<str>>> = LazyLock::new(Mutex::default);
static LISTS: LazyLock<Mutex<Pool<[Arc<str>]>>> = LazyLock::new(Mutex::default);
static MAPS: LazyLock<Mutex<Pool<[Pair]>>> = LazyLock::new(Mutex::default);
/// How many texts are kept before the unused ones are removed.
const FEW: usize = 256;
/// Longest text, in bytes, that is shared; longer ones are hardly ever equal.
const LONG: usize = 256;

/// What is in use, and what is not yet swept.
struct Pool<T: ?Sized> {
    known: HashSet<Arc<T>>,
    /// How many there were after the last sweep.
    swept: usize,
}

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self { known: HashSet::new(), swept: 0 }
    }
}

impl<T: ?Sized + Eq + Hash> Pool<T> {
    fn shared<'a>(&mut self, value: &'a T) -> Arc<T>
    where
        Arc<T>: From<&'a T>,
    {
        if let Some(known) = self.known.get(value) {
            return known.clone();
        }
        if self.known.len() >= FEW.max(2 * self.swept) {
            self.known.retain(|value| Arc::strong_count(value) > 1);
            self.swept = self.known.len();
        }
        let shared: Arc<T> = value.into();
        self.known.insert(shared.clone());
        shared
    }
}

/// Returns the shared copy of `text`. Use it for texts that many objects have: unused texts are removed only
/// now and then.
pub(super) fn word(text: &str) -> Arc<str> {
    if text.len() > LONG {
        return text.into();
    }
    TEXTS.lock().unwrap_or_else(PoisonError::into_inner).shared(text)
}

/// As [`word`], for a list of words.
pub(super) fn words<'a>(texts: impl Iterator<Item = &'a str>) -> Words {
    let list: Vec<Arc<str>> = texts.map(word).collect();
    LISTS.lock().unwrap_or_else(PoisonError::into_inner).shared(&list)
}

/// As [`word`], for a list of pairs.
pub(super) fn same(pairs: &[Pair]) -> Arc<[Pair]> {
    MAPS.lock().unwrap_or_else(PoisonError::into_inner).shared(pairs)
}

/// Reads one [`word`].
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    Ok(word(&Box::<str>::deserialize(deserializer)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_unless_they_are_long() {
        let long = "x".repeat(LONG + 1);
        assert!(!Arc::ptr_eq(&word(&long), &word(&long)));
        assert!(Arc::ptr_eq(&word("node-1"), &word("node-1")));
        assert_ne!(word("node-1"), word("node-2"));
    }

    #[test]
    fn equal_lists_are_one() {
        let list = || words(["a", "b"].into_iter());
        assert!(Arc::ptr_eq(&list(), &list()));
        assert_ne!(list(), words(["b", "a"].into_iter()));
        assert!(words(std::iter::empty()).is_empty());
    }

    #[test]
    fn what_nobody_uses_does_not_pile_up() {
        let mut pool = Pool::<str>::default();
        let used: Vec<_> = (0..100).map(|number| pool.shared(format!("used{number}").as_str())).collect();
        for number in 0..10_000 {
            pool.shared(format!("gone{number}").as_str());
        }
        assert!(pool.known.len() <= 2 * FEW, "{}", pool.known.len());
        assert!(used.iter().all(|word| pool.known.contains(word)));
    }
}

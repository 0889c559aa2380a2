//! Words that thousands of objects have in common, kept once: annotation keys, finalizers, drivers, nodes.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The words in use, and those not yet swept.
static WORDS: LazyLock<Mutex<Words>> = LazyLock::new(Mutex::default);
/// Words that are kept without looking whether anybody still uses them.
const FEW: usize = 256;

#[derive(Default)]
struct Words {
    known: HashSet<Arc<str>>,
    /// How many there were after the last sweep.
    swept: usize,
}

impl Words {
    fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.known.len() >= FEW.max(2 * self.swept) {
            self.known.retain(|word| Arc::strong_count(word) > 1);
            self.swept = self.known.len();
        }
        let word: Arc<str> = text.into();
        self.known.insert(word.clone());
        word
    }
}

/// `text`, shared with everybody who has asked for the same. For words that come again and again: what nobody uses
/// any more is forgotten only now and then.
pub(super) fn word(text: &str) -> Arc<str> {
    WORDS.lock().unwrap_or_else(PoisonError::into_inner).word(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_words_are_one() {
        assert!(Arc::ptr_eq(&word("node-1"), &word("node-1")));
        assert_ne!(word("node-1"), word("node-2"));
    }

    #[test]
    fn words_that_nobody_uses_do_not_pile_up() {
        let mut words = Words::default();
        let used: Vec<_> = (0..100).map(|number| words.word(&format!("used{number}"))).collect();
        for number in 0..10_000 {
            words.word(&format!("gone{number}"));
        }
        assert!(words.known.len() <= 2 * FEW, "{}", words.known.len());
        assert!(used.iter().all(|word| words.known.contains(word)));
    }
}

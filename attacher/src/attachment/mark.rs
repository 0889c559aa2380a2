//! Which attachments the driver's own list contradicts (attacher.md §11), and which are being worked on.
//!
//! `Differs:` upstream compares with a list that may be older than what its workers have done since, and calls the
//! driver again for it; and it forgets the contradiction when that call fails. Here an attachment that was worked
//! on while the list was read is left to the next comparison, and a mark lasts until the work has succeeded.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::kube::object::Key;

/// The marks; they live in memory.
#[derive(Debug, Default)]
pub struct Marks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    forced: HashSet<Key>,
    active: HashSet<Key>,
    /// Worked on since the comparison began; `None` when there is none.
    touched: Option<HashSet<Key>>,
}

impl Marks {
    /// Work on an attachment begins; it ends when the result is dropped.
    pub fn begin<'a>(&'a self, key: &'a Key) -> Pass<'a> {
        let mut state = self.state();
        state.active.insert(key.clone());
        if let Some(touched) = &mut state.touched {
            touched.insert(key.clone());
        }
        let forced = state.forced.remove(key);
        Pass { marks: self, key, forced }
    }

    /// A comparison begins.
    pub fn comparison_begins(&self) {
        let mut state = self.state();
        state.touched = Some(state.active.clone());
    }

    /// The comparison ends: marks those that the list contradicts and nobody has worked on, and gives them back.
    pub fn comparison_ends(&self, contradicted: Vec<Key>) -> Vec<Key> {
        let mut state = self.state();
        let touched = state.touched.take().unwrap_or_default();
        let marked: Vec<Key> = contradicted.into_iter().filter(|key| !touched.contains(key)).collect();
        state.forced.extend(marked.iter().cloned());
        marked
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work on one attachment.
#[derive(Debug)]
pub struct Pass<'a> {
    marks: &'a Marks,
    key: &'a Key,
    /// Whether the driver's list contradicts the attachment.
    pub forced: bool,
}

impl Pass<'_> {
    /// The work failed: what was to be forced still is.
    pub fn failed(&self) {
        if self.forced {
            self.marks.state().forced.insert(self.key.clone());
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.marks.state().active.remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_lasts_until_the_work_has_succeeded() {
        let (marks, key) = (Marks::default(), Key::cluster("a"));
        marks.comparison_begins();
        assert_eq!(marks.comparison_ends(vec![key.clone()]).len(), 1);
        let pass = marks.begin(&key);
        assert!(pass.forced);
        pass.failed();
        drop(pass);
        assert!(marks.begin(&key).forced, "the work failed");
        let pass = marks.begin(&key);
        pass.failed();
        assert!(!pass.forced && !marks.begin(&key).forced);
    }

    #[test]
    fn what_was_worked_on_meanwhile_is_not_marked() {
        let marks = Marks::default();
        let [before, during, idle] = ["before", "during", "idle"].map(Key::cluster);
        let pass = marks.begin(&before);
        marks.comparison_begins();
        drop(pass);
        drop(marks.begin(&during));
        let all = vec![before.clone(), during.clone(), idle.clone()];
        assert_eq!(marks.comparison_ends(all), [idle]);
        assert!(!marks.begin(&before).forced && !marks.begin(&during).forced);
    }
}

//! Keeps a mark on each attachment that the driver's list contradicts (docs/upstream/attacher.md,
//! "List comparison"), and knows which attachments are being worked on.
//!
//! `Differs:` upstream may compare with a list that is older than its workers' latest calls, and then calls
//! the driver again for nothing. It also forgets the contradiction when that call fails. Here an attachment
//! that was worked on while the list was read is left to the next comparison. A mark lasts until the work has
//! succeeded, or until a newer list agrees before the work has begun.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kubernetes::object::Key;

/// The marks; they live in memory.
#[derive(Debug, Default)]
pub struct Marks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    forced: HashMap<Key, Mark>,
    active: HashSet<Key>,
    /// Attachments worked on since the comparison began; `None` when no comparison runs.
    touched: Option<HashSet<Key>>,
}

/// How far the work on a marked attachment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Not begun.
    New,
    /// It failed. It may be half done, and its error is in the status, so no list removes the mark.
    Failed,
}

impl Marks {
    /// Work on an attachment begins; it ends when the result is dropped.
    pub fn begin<'a>(&'a self, key: &'a Key) -> Pass<'a> {
        let mut state = self.state();
        state.active.insert(key.clone());
        if let Some(touched) = &mut state.touched {
            touched.insert(key.clone());
        }
        let mark = state.forced.remove(key);
        Pass { marks: self, key, mark }
    }

    /// A comparison begins.
    pub fn comparison_begins(&self) {
        let mut state = self.state();
        state.touched = Some(state.active.clone());
    }

    /// Ends the comparison: marks and returns the attachments that the list contradicts and nobody worked on
    /// meanwhile.
    /// Removes an older mark if the attachment is gone, or if the list agrees and the work has not begun.
    pub fn comparison_ends(&self, contradicted: Vec<Key>, is_there: impl Fn(&Key) -> bool) -> Vec<Key> {
        let mut state = self.state();
        let touched = state.touched.take().unwrap_or_default();
        let mut marked = contradicted;
        marked.retain(|key| is_there(key) && !touched.contains(key));
        let wanted: HashSet<&Key> = marked.iter().collect();
        state.forced.retain(|key, mark| {
            is_there(key) && (*mark == Mark::Failed || touched.contains(key) || wanted.contains(key))
        });
        for key in &marked {
            state.forced.entry(key.clone()).or_insert(Mark::New);
        }
        marked
    }

    /// The list could not be read: all marks stay as they are.
    pub fn comparison_failed(&self) {
        self.state().touched = None;
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
    mark: Option<Mark>,
}

impl Pass<'_> {
    /// Whether the driver's list contradicts the attachment.
    pub fn is_forced(&self) -> bool {
        self.mark.is_some()
    }

    /// The work failed: the mark stays.
    pub fn failed(&self) {
        if self.is_forced() {
            self.marks.state().forced.insert(self.key.clone(), Mark::Failed);
        }
    }

    /// The work did not begin: the mark stays as it was.
    pub fn postponed(&self) {
        if let Some(mark) = self.mark {
            self.marks.state().forced.entry(self.key.clone()).or_insert(mark);
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

    /// One comparison with this result, in which nobody works.
    fn compare(marks: &Marks, contradicted: &[&Key]) -> Vec<Key> {
        marks.comparison_begins();
        marks.comparison_ends(contradicted.iter().map(|key| (*key).clone()).collect(), |_| true)
    }

    #[test]
    fn a_mark_lasts_until_the_work_has_succeeded() {
        let (marks, key) = (Marks::default(), Key::cluster("a"));
        assert_eq!(compare(&marks, &[&key]).len(), 1);
        let pass = marks.begin(&key);
        assert!(pass.is_forced());
        pass.failed();
        drop(pass);
        assert!(compare(&marks, &[]).is_empty());
        let pass = marks.begin(&key);
        assert!(pass.is_forced(), "the work failed, whatever the list says now");
        drop(pass);
        let pass = marks.begin(&key);
        pass.failed();
        assert!(!pass.is_forced() && !marks.begin(&key).is_forced());
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
        assert_eq!(marks.comparison_ends(all, |_| true), [idle]);
        assert!(!marks.begin(&before).is_forced() && !marks.begin(&during).is_forced());
    }

    #[test]
    fn newer_agreeing_list_removes_a_mark_before_work_begins() {
        let (marks, [a, b]) = (Marks::default(), ["a", "b"].map(Key::cluster));
        compare(&marks, &[&a, &b]);
        compare(&marks, &[&b]);
        assert!(!marks.begin(&a).is_forced() && marks.begin(&b).is_forced());
        compare(&marks, &[&a]);
        marks.comparison_begins();
        marks.comparison_failed();
        assert!(marks.begin(&a).is_forced(), "no list is no agreement");
    }

    #[test]
    fn an_attachment_that_is_gone_leaves_no_mark() {
        let (marks, [new, failed]) = (Marks::default(), ["new", "failed"].map(Key::cluster));
        compare(&marks, &[&new, &failed]);
        marks.begin(&failed).failed();
        marks.comparison_begins();
        marks.comparison_ends(Vec::new(), |_| false);
        assert!(marks.state().forced.is_empty());
    }

    #[test]
    fn work_that_is_postponed_stays_as_far_as_it_was() {
        let (marks, key) = (Marks::default(), Key::cluster("a"));
        marks.begin(&key).postponed();
        assert!(!marks.begin(&key).is_forced(), "nothing was to be forced");
        compare(&marks, &[&key]);
        marks.begin(&key).postponed();
        compare(&marks, &[]);
        assert!(!marks.begin(&key).is_forced(), "it had not begun, and the list agrees");
        compare(&marks, &[&key]);
        marks.begin(&key).failed();
        marks.begin(&key).postponed();
        compare(&marks, &[]);
        assert!(marks.begin(&key).is_forced(), "it had failed before");
    }
}

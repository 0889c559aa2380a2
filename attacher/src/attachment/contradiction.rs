//! Remembers which attachments the driver's list contradicts (docs/upstream/attacher.md, "List comparison"), and which
//! are being worked on.
//!
//! `Differs:` upstream may compare with a list that is older than its workers' latest calls, and then calls
//! the driver again for nothing. It also forgets the contradiction when that call fails. Here an attachment
//! that was worked on while the list was read is left to the next comparison. A contradiction lasts until the work has
//! succeeded, or until a newer list agrees before the work has begun.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kubernetes::object::Key;

/// The contradictions; they live in memory.
#[derive(Debug, Default)]
pub(crate) struct Contradictions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    forced: HashMap<Key, Stage>,
    active: HashSet<Key>,
    /// Attachments worked on since the comparison began; `None` when no comparison runs.
    touched: Option<HashSet<Key>>,
}

/// How far the work on a contradicted attachment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not begun.
    New,
    /// It failed. It may be half done, and its error is in the status. So a list that agrees does not end this.
    Failed,
}

impl Contradictions {
    /// Work on an attachment begins; it ends when the result is dropped.
    pub(crate) fn begin<'a>(&'a self, key: &'a Key) -> Work<'a> {
        let mut state = self.state();
        state.active.insert(key.clone());
        if let Some(touched) = &mut state.touched {
            touched.insert(key.clone());
        }
        let stage = state.forced.remove(key);
        Work { of: self, key, stage }
    }

    /// A comparison begins.
    pub(crate) fn comparison_begins(&self) {
        let mut state = self.state();
        state.touched = Some(state.active.clone());
    }

    /// Ends the comparison: remembers and returns the attachments that the list contradicts and nobody worked on
    /// meanwhile. Forgets an older contradiction if the attachment is gone, or if the list agrees and the work has not
    /// begun.
    pub(crate) fn comparison_ends(
        &self,
        contradicted: Vec<Key>,
        is_there: impl Fn(&Key) -> bool,
    ) -> Vec<Key> {
        let mut state = self.state();
        let touched = state.touched.take().unwrap_or_default();
        let mut found = contradicted;
        found.retain(|key| is_there(key) && !touched.contains(key));
        let wanted: HashSet<&Key> = found.iter().collect();
        state.forced.retain(|key, stage| {
            is_there(key) && (*stage == Stage::Failed || touched.contains(key) || wanted.contains(key))
        });
        for key in &found {
            state.forced.entry(key.clone()).or_insert(Stage::New);
        }
        found
    }

    /// The list could not be read: what is remembered stays as it is.
    pub(crate) fn comparison_failed(&self) {
        self.state().touched = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work on one attachment.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    of: &'a Contradictions,
    key: &'a Key,
    stage: Option<Stage>,
}

impl Work<'_> {
    /// Whether the driver's list contradicts the attachment.
    pub(crate) fn is_forced(&self) -> bool {
        self.stage.is_some()
    }

    /// The work failed: the contradiction stays.
    pub(crate) fn failed(&self) {
        if self.is_forced() {
            self.of.state().forced.insert(self.key.clone(), Stage::Failed);
        }
    }

    /// The work did not begin: the contradiction stays as it was.
    pub(crate) fn postponed(&self) {
        if let Some(stage) = self.stage {
            self.of.state().forced.entry(self.key.clone()).or_insert(stage);
        }
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.of.state().active.remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One comparison with this result, in which nobody works.
    fn compare(known: &Contradictions, contradicted: &[&Key]) -> Vec<Key> {
        known.comparison_begins();
        known.comparison_ends(contradicted.iter().map(|key| (*key).clone()).collect(), |_| true)
    }

    #[test]
    fn contradiction_lasts_until_the_work_has_succeeded() {
        let (known, key) = (Contradictions::default(), Key::cluster("a"));
        assert_eq!(compare(&known, &[&key]).len(), 1);
        let pass = known.begin(&key);
        assert!(pass.is_forced());
        pass.failed();
        drop(pass);
        assert!(compare(&known, &[]).is_empty());
        let pass = known.begin(&key);
        assert!(pass.is_forced(), "the work failed, whatever the list says now");
        drop(pass);
        let pass = known.begin(&key);
        pass.failed();
        assert!(!pass.is_forced() && !known.begin(&key).is_forced());
    }

    #[test]
    fn what_was_worked_on_meanwhile_is_left_out() {
        let known = Contradictions::default();
        let [before, during, idle] = ["before", "during", "idle"].map(Key::cluster);
        let pass = known.begin(&before);
        known.comparison_begins();
        drop(pass);
        drop(known.begin(&during));
        let all = vec![before.clone(), during.clone(), idle.clone()];
        assert_eq!(known.comparison_ends(all, |_| true), [idle]);
        assert!(!known.begin(&before).is_forced() && !known.begin(&during).is_forced());
    }

    #[test]
    fn newer_agreeing_list_ends_it_before_work_begins() {
        let (known, [a, b]) = (Contradictions::default(), ["a", "b"].map(Key::cluster));
        compare(&known, &[&a, &b]);
        compare(&known, &[&b]);
        assert!(!known.begin(&a).is_forced() && known.begin(&b).is_forced());
        compare(&known, &[&a]);
        known.comparison_begins();
        known.comparison_failed();
        assert!(known.begin(&a).is_forced(), "no list is no agreement");
    }

    #[test]
    fn an_attachment_that_is_gone_leaves_nothing() {
        let (known, [new, failed]) = (Contradictions::default(), ["new", "failed"].map(Key::cluster));
        compare(&known, &[&new, &failed]);
        known.begin(&failed).failed();
        known.comparison_begins();
        known.comparison_ends(Vec::new(), |_| false);
        assert!(known.state().forced.is_empty());
    }

    #[test]
    fn work_that_is_postponed_stays_as_far_as_it_was() {
        let (known, key) = (Contradictions::default(), Key::cluster("a"));
        known.begin(&key).postponed();
        assert!(!known.begin(&key).is_forced(), "nothing was to be forced");
        compare(&known, &[&key]);
        known.begin(&key).postponed();
        compare(&known, &[]);
        assert!(!known.begin(&key).is_forced(), "it had not begun, and the list agrees");
        compare(&known, &[&key]);
        known.begin(&key).failed();
        known.begin(&key).postponed();
        compare(&known, &[]);
        assert!(known.begin(&key).is_forced(), "it had failed before");
    }
}

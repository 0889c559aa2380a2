//! What a worker says went wrong while it works on one key of a queue.
//!
//! A worker logs each failure. What it logs as an error or a warning is also noted for the key, if somebody wants to see
//! it ([`scope`]): the status page then shows the same text as the log, and nothing that the log would not show. So does the
//! span of the pass, if it is traced; what the worker asks others for gets spans below that ([`child`]).

use std::cell::RefCell;
use std::fmt::{Display, Write as _};
use std::future::Future;

use crate::trace::{Description, Open};

/// Longest text of a failure, in bytes.
const LONGEST: usize = 1024;

/// What went wrong in one pass over a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// What could not be done, such as `Failed to attach`.
    pub what: String,
    /// The error itself, and those that followed from it.
    pub error: String,
    /// Whether it was only a warning. An error takes its place.
    pub is_warning: bool,
}

tokio::task_local! {
    static NOTES: Notes;
}

/// What is noted in one pass over a key.
pub(crate) struct Notes {
    is_wanted: bool,
    failure: RefCell<Option<Failure>>,
    /// The span of the pass, if it is traced.
    turn: RefCell<Option<Open>>,
}

/// What was noted in a pass that has ended.
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) failure: Option<Failure>,
    pub(crate) turn: Option<Open>,
}

impl Notes {
    /// Nothing yet. Failures are noted if somebody wants to see them; the span of the pass, `turn`, does.
    pub(crate) fn new(is_wanted: bool, turn: Option<Open>) -> Self {
        let is_wanted = is_wanted || turn.as_ref().is_some_and(Open::is_kept);
        Self { is_wanted, failure: RefCell::new(None), turn: RefCell::new(turn) }
    }
}

/// Runs `work` and gives what it noted, too. One way for all: more would multiply the code of every worker.
pub(crate) async fn scope<T>(notes: Notes, work: impl Future<Output = T>) -> (T, Noted) {
    let work = async {
        let output = work.await;
        let noted = NOTES.try_with(|notes| Noted { failure: notes.failure.take(), turn: notes.turn.take() });
        (output, noted.unwrap_or_default())
    };
    NOTES.scope(notes, work).await
}

/// Begins a span below that of the pass over a key, if this is part of one and it is traced.
pub fn child(describe: impl FnOnce() -> Description) -> Option<Open> {
    NOTES.try_with(|notes| notes.turn.borrow().as_ref().map(|turn| turn.child(describe))).ok().flatten()
}

/// Notes a failure for the key that is worked on, if one is and somebody wants to see it.
pub(crate) fn note(what: &str, error: Option<&dyn Display>, is_warning: bool) {
    // Outside of a worker nobody asks.
    let _ = NOTES.try_with(|notes| {
        if !notes.is_wanted {
            return;
        }
        let mut failure = notes.failure.borrow_mut();
        let error = error.map(ToString::to_string).unwrap_or_default();
        match failure.as_mut() {
            Some(known) if known.is_warning == is_warning => known.follow(what, &error),
            Some(known) if is_warning && !known.is_warning => {}
            Some(_) | None => *failure = Some(Failure::new(what, &error, is_warning)),
        }
    });
}

impl Failure {
    /// A failure whose texts are cut to what a page shows.
    pub fn new(what: &str, error: &str, is_warning: bool) -> Self {
        Self { what: cut(what.to_owned()), error: cut(error.to_owned()), is_warning }
    }

    /// What followed from it in the same pass.
    fn follow(&mut self, what: &str, error: &str) {
        let mut text = std::mem::take(&mut self.error);
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{what}", if text.is_empty() { "" } else { "; then: " });
        if !error.is_empty() {
            let _ = write!(text, ": {error}");
        }
        self.error = cut(text);
    }
}

fn cut(mut text: String) -> String {
    const CUT: &str = " ...";
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST - CUT.len()));
        text.push_str(CUT);
    }
    text.shrink_to_fit();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn worker_s_errors_are_noted_and_a_warning_gives_way() {
        let ((), Noted { failure, .. }) = scope(Notes::new(true, None), async {
            crate::warn!("It keeps changing");
            crate::error!("no space", "Failed to attach"; "node" => "n");
            tokio::task::yield_now().await;
            crate::warn!("Slow");
            crate::error!("409", "Cannot write the error");
        })
        .await;
        let expected = Failure::new("Failed to attach", "no space; then: Cannot write the error: 409", false);
        assert_eq!(failure, Some(expected));
        let ((), Noted { failure, .. }) = scope(Notes::new(true, None), async { crate::info!("Fine") }).await;
        assert_eq!(failure, None);
        let ((), Noted { failure, .. }) =
            scope(Notes::new(false, None), async { crate::error!("no space", "Nobody asks") }).await;
        assert_eq!(failure, None);
        crate::error!("no space", "Nobody asks");
    }

    #[test]
    fn long_error_is_cut_between_characters() {
        let failure = Failure::new("Failed", &"é".repeat(2_000), false);
        assert!(failure.error.len() <= LONGEST && failure.error.ends_with("é ..."));
    }
}

//! What this process remembers of modifications. After a restart it knows none of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubernetes::object::Uid;
use tokio::time::Instant;

/// What is known of one claim.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Whether a modification may be under way.
    is_uncertain: bool,
    /// Until when an infeasible class is not asked for again.
    slow_until: Option<Instant>,
    /// The class that the driver has taken, if that has not reached both objects yet.
    modified: Option<Box<str>>,
}

/// The claims about which something is known, by uid.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<Uid, Known>>);

impl Memory {
    /// Whether a modification may be under way; `None` if this process knows nothing of the claim.
    pub(super) fn is_uncertain(&self, claim: &Uid) -> Option<bool> {
        Some(self.known().get(claim)?.is_uncertain)
    }

    /// Whether the driver has taken the class, and that has not reached both objects yet.
    pub(super) fn is_modified(&self, claim: &Uid, class: &str) -> bool {
        self.known().get(claim).is_some_and(|known| known.modified.as_deref() == Some(class))
    }

    /// How long an infeasible class is not asked for.
    pub(super) fn pause(&self, claim: &Uid) -> Option<Duration> {
        let until = self.known().get(claim)?.slow_until?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// The driver refused. If the class is infeasible, it is not asked for again before `pause` is over.
    pub(super) fn note_refusal(&self, claim: &Uid, pause: Option<Duration>) {
        let slow_until = pause.map(|pause| Instant::now() + pause);
        self.known().insert(claim.clone(), Known { slow_until, ..Known::default() });
    }

    /// The driver may be at it.
    pub(super) fn note_open(&self, claim: &Uid) {
        self.known().insert(claim.clone(), Known { is_uncertain: true, ..Known::default() });
    }

    /// The driver has done it. Until both objects say so, no other class is taken.
    pub(super) fn note_modified(&self, claim: &Uid, class: &str) {
        let known = Known { is_uncertain: true, modified: Some(class.into()), ..Known::default() };
        self.known().insert(claim.clone(), known);
    }

    /// The modification is over, or the claim is gone.
    ///
    /// `Differs:` upstream does not forget, on success, that a modification was uncertain. The next class is then not
    /// taken before the former one was asked for again.
    pub(super) fn forget(&self, claim: &Uid) {
        self.known().remove(claim);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Uid, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

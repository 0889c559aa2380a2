//! What this process remembers of the calls to the driver for each claim.
//!
//! After a restart it knows none of it. What must be known then stands in the claim's status, or the driver is asked once
//! more.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubernetes::object::Uid;
use tokio::time::Instant;

/// What is known of one claim. `T` is what the driver is asked for: a size or a class.
#[derive(Debug, Clone)]
pub(crate) struct Known<T, D> {
    /// Whether a call may still run at the driver; `None` if this process does not know.
    may_run: Option<bool>,
    /// Until when an infeasible target is not asked for again.
    slow_until: Option<Instant>,
    /// The target that the driver has reached, and its answer, until both are written into the objects.
    done: Option<(T, D)>,
    /// The target of which an event has told that it is begun.
    told: Option<T>,
}

impl<T, D> Default for Known<T, D> {
    fn default() -> Self {
        Self { may_run: None, slow_until: None, done: None, told: None }
    }
}

/// The claims about which something is known, by uid.
#[derive(Debug)]
pub(crate) struct Memory<T, D>(Mutex<HashMap<Uid, Known<T, D>>>);

impl<T, D> Default for Memory<T, D> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: PartialEq + Clone, D: Clone> Memory<T, D> {
    /// Whether a call may still run at the driver; `None` if this process does not know.
    pub(crate) fn may_run(&self, claim: &Uid) -> Option<bool> {
        self.known().get(claim)?.may_run
    }

    /// The driver's answer, if it has reached this target and that is not written into the objects yet.
    ///
    /// `Differs:` upstream calls the driver again if a write after the call fails.
    pub(crate) fn done<Q: PartialEq + ?Sized>(&self, claim: &Uid, target: &Q) -> Option<D>
    where
        T: Borrow<Q>,
    {
        let known = self.known();
        let (reached, answer) = known.get(claim)?.done.as_ref()?;
        (reached.borrow() == target).then(|| answer.clone())
    }

    /// The driver's answer that is not written into the objects yet, as far as this process knows. It is forgotten.
    pub(crate) fn take_done(&self, claim: &Uid) -> Option<D> {
        let (_, answer) = self.known().get_mut(claim)?.done.take()?;
        Some(answer)
    }

    /// How long an infeasible target is not asked for.
    pub(crate) fn pause(&self, claim: &Uid) -> Option<Duration> {
        let until = self.known().get(claim)?.slow_until?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// The driver refused. If the target is infeasible, it is not asked for again before `pause` is over.
    pub(crate) fn note_refusal(&self, claim: &Uid, pause: Option<Duration>) {
        let slow_until = pause.map(|pause| Instant::now() + pause);
        self.note(claim, Known { may_run: Some(false), slow_until, ..Known::default() });
    }

    /// A new target is begun, and no call has been sent for it yet.
    pub(crate) fn note_begun(&self, claim: &Uid) {
        self.note(claim, Known { may_run: Some(false), ..Known::default() });
    }

    /// A call is sent. What was known before, in case it turns out that it was not.
    pub(crate) fn note_sent(&self, claim: &Uid) -> Known<T, D> {
        let before = self.known().get(claim).cloned().unwrap_or_default();
        self.note(claim, Known { may_run: Some(true), ..Known::default() });
        before
    }

    /// The call was not sent after all.
    pub(crate) fn note_unsent(&self, claim: &Uid, before: Known<T, D>) {
        self.note(claim, before);
    }

    /// The driver has reached the target. Until both objects say so, no other target is taken.
    pub(crate) fn note_done(&self, claim: &Uid, target: T, answer: D) {
        self.note(claim, Known { may_run: Some(true), done: Some((target, answer)), ..Known::default() });
    }

    /// An event tells that this target is begun. Whether that is new.
    pub(crate) fn note_told(&self, claim: &Uid, target: T) -> bool {
        let mut known = self.known();
        let told = &mut known.entry(claim.clone()).or_default().told;
        let is_new = told.as_ref() != Some(&target);
        *told = Some(target);
        is_new
    }

    /// The target is reached and written, or the claim is gone.
    ///
    /// `Differs:` upstream does not forget, on success, that a modification was uncertain. The next class is then not
    /// taken before the former one was asked for again.
    pub(crate) fn forget(&self, claim: &Uid) {
        self.known().remove(claim);
    }

    fn note(&self, claim: &Uid, new: Known<T, D>) {
        let mut known = self.known();
        let known = known.entry(claim.clone()).or_default();
        *known = Known { told: known.told.take(), ..new };
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Uid, Known<T, D>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What this process remembers of growths. After a restart it knows none of it, and asks the driver once more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::quantity::Quantity;
use kubernetes::object::Uid;
use tokio::time::Instant;

/// The driver's answer to a growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grown {
    /// What was asked for.
    pub(crate) target: Quantity,
    /// The volume's size now.
    pub(crate) size: Quantity,
    /// Whether the node has to go on.
    pub(crate) needs_node: bool,
}

/// What is known of one claim.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Whether the last answer was final; `None` if there was none.
    refused: Option<bool>,
    /// Until when an infeasible size is not asked for again.
    slow_until: Option<Instant>,
    /// The answer that has not reached both objects yet.
    grown: Option<Grown>,
    /// The size of which event Resizing has told.
    told: Option<Quantity>,
}

/// The claims about which something is known, by uid.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<Uid, Known>>);

impl Memory {
    /// Whether the driver's last answer was final; `None` if this process knows none.
    pub(crate) fn refused(&self, claim: &Uid) -> Option<bool> {
        self.known().get(claim)?.refused
    }

    /// The driver's answer to this target, if it has not reached both objects yet.
    ///
    /// `Differs:` upstream calls the driver again if a write after the call fails.
    pub(crate) fn grown(&self, claim: &Uid, target: Quantity) -> Option<Grown> {
        self.known().get(claim)?.grown.filter(|grown| grown.target == target)
    }

    /// How long an infeasible size is not asked for.
    pub(crate) fn pause(&self, claim: &Uid) -> Option<Duration> {
        let until = self.known().get(claim)?.slow_until?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// The driver refused. If the size is infeasible, it is not asked for again before `pause` is over.
    pub(crate) fn note_refusal(&self, claim: &Uid, pause: Option<Duration>) {
        let slow_until = pause.map(|pause| Instant::now() + pause);
        self.note(claim, Known { refused: Some(true), slow_until, ..Known::default() });
    }

    /// The driver may be at it.
    pub(crate) fn note_open(&self, claim: &Uid) {
        self.note(claim, Known { refused: Some(false), ..Known::default() });
    }

    /// The driver has grown the volume.
    pub(crate) fn note_grown(&self, claim: &Uid, grown: Grown) {
        self.note(claim, Known { grown: Some(grown), ..Known::default() });
    }

    /// The user is told that the volume grows to this size. Whether that is new.
    pub(crate) fn note_told(&self, claim: &Uid, target: Quantity) -> bool {
        let mut known = self.known();
        known.entry(claim.clone()).or_default().told.replace(target) != Some(target)
    }

    /// The growth is over, or the claim is gone.
    pub(crate) fn forget(&self, claim: &Uid) {
        self.known().remove(claim);
    }

    fn note(&self, claim: &Uid, new: Known) {
        let mut known = self.known();
        let known = known.entry(claim.clone()).or_default();
        *known = Known { told: known.told, ..new };
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Uid, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

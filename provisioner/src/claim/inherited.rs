//! Claims for which an earlier process may have sent a request.
//!
//! What this process has sent it remembers, and what an earlier one has written down it takes over. But the one before may
//! have been the Go csi-provisioner, or ours with intents off, refused or too large. So of each claim that waits when we begin
//! to lead nothing is known, until the driver gives a final answer to a request for it. Nobody but us has sent anything for a
//! claim that came later.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubernetes::object::{Claim, Uid};
use kubernetes::store::{Change, Store};
use tokio::time::Instant;

/// The watch may be so late: a claim that it shows so soon after we have begun may be older than that.
const LATE: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
struct State {
    claims: HashSet<Uid>,
    /// When we began to lead.
    begun: Option<Instant>,
}

/// The claims of earlier processes.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    state: Arc<Mutex<State>>,
}

impl Inherited {
    /// Those of the store, which is not filled yet, that wait for a volume of ours.
    pub(super) fn follow(claims: &Store<Claim>) -> Self {
        let inherited = Self::default();
        let (state, scope) = (inherited.state.clone(), claims.scope().clone());
        claims.subscribe(move |change| {
            let (gone, new) = match change.of(|claim| claim.waits_for(&scope)) {
                Some(Change::Added(new)) => (None, Some(new)),
                Some(Change::Removed(old) | Change::Left(old)) => (Some(old), None),
                Some(Change::Updated { old, new }) if old.meta.uid != new.meta.uid => (Some(old), Some(new)),
                Some(Change::Updated { .. }) | None => return,
            };
            let mut state = lock(&state);
            if let Some(gone) = gone {
                state.claims.remove(&gone.meta.uid);
            }
            if let Some(new) = new
                && state.begun.is_none_or(|begun| begun.elapsed() < LATE)
            {
                state.claims.insert(new.meta.uid.clone());
            }
        });
        inherited
    }

    /// We begin to lead.
    pub(super) fn begin(&self) {
        lock(&self.state).begun.get_or_insert_with(Instant::now);
    }

    /// The driver has given a final answer to a request for this claim.
    pub(super) fn settle(&self, uid: &Uid) {
        lock(&self.state).claims.remove(uid);
    }

    /// Whether an earlier process may have sent a request for this claim.
    pub(super) fn has(&self, uid: &Uid) -> bool {
        lock(&self.state).claims.contains(uid)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

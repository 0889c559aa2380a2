//! What growth and modification share: the caches, the writes to claims, and the turns.

use std::sync::Arc;

use base::in_flight::{InFlight, Turn};
use kubernetes::api::{self, Format};
use kubernetes::collection::Written;
use kubernetes::object::{Claim, Scope, Uid};
use kubernetes::own_writes::OwnWrites;
use kubernetes::store::Change;
use process::Seat;
use serde_json::Value;

use crate::caches::Caches;
use crate::config::Config;
use crate::news::shown;
use crate::queues::{Queues, Who};

/// What both share.
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) seat: Seat,
    pub(crate) caches: Caches,
    pub(crate) queues: Queues,
    own: Arc<OwnWrites>,
    turns: Arc<InFlight<Uid, Who>>,
}

impl Shared {
    /// Nobody works on any claim.
    pub(crate) fn new(
        config: Arc<Config>,
        seat: Seat,
        caches: Caches,
        queues: Queues,
        own: Arc<OwnWrites>,
    ) -> Arc<Self> {
        Arc::new(Self { config, seat, caches, queues, own, turns: Arc::default() })
    }

    /// What the caches keep.
    pub(crate) fn scope(&self) -> &Scope {
        self.caches.claims.store().scope()
    }

    /// Claims a claim until the result is dropped. `None` if the other has it; the claim is queued again when that turn
    /// ends.
    ///
    /// `Differs:` upstream expands and modifies one volume at once, and the two then undo each other's status or fail with
    /// a conflict.
    pub(crate) fn take_turn(&self, claim: &Claim, who: Who) -> Option<Turn<Uid, Who>> {
        let (wake, key) = (self.queues.waker(who), claim.meta.key.clone());
        self.turns.take_turn(&claim.meta.uid, who, move || wake(&key))
    }

    /// Sends one write to the status of a claim. The watch event of our own write does not queue the claim. But the reply
    /// may be the first to show what others have changed since the cache saw the claim: that does.
    pub(crate) async fn write(&self, who: Who, claim: &Claim, body: Value) -> Result<Written, api::Error> {
        let before = self.caches.latest(claim);
        let written =
            self.own.patch(&self.caches.claims, &claim.meta, "status", Format::Strategic, body).await;
        if let (Some(before), Some(after)) = (before, self.caches.latest(claim)) {
            for other in shown(who, &before, &after) {
                self.queues.add(other, &claim.meta.key);
            }
        }
        written
    }

    /// Calls `told` with each claim that is gone, or lost its volume.
    pub(crate) fn when_gone(&self, told: impl Fn(&Claim) + Send + Sync + 'static) {
        self.caches.claims.store().subscribe(move |change| match change {
            Change::Removed(old) | Change::Left(old) => told(old),
            Change::Updated { old, new } if old.meta.uid != new.meta.uid => told(old),
            Change::Added(_) | Change::Updated { .. } => {}
        });
    }
}

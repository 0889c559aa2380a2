//! What growth and modification share: the caches, the writes to claims, and the events.

use std::sync::Arc;

use base::queue::Outcome;
use kubernetes::api::{self, Format};
use kubernetes::collection::Written;
use kubernetes::event::{Event, Kind, ObjectRef};
use kubernetes::object::{Claim, Key, Scope};
use kubernetes::own_writes::OwnWrites;
use kubernetes::store::Change;
use process::Seat;
use serde_json::Value;

use crate::caches::Caches;
use crate::config::Config;
use crate::news::asks_for_something_else;
use crate::queues::{Operation, Queues};

/// The writes under way to claims, for each operation.
#[derive(Clone)]
pub(crate) struct Own {
    growth: Arc<OwnWrites>,
    modification: Arc<OwnWrites>,
}

impl Own {
    /// No write is under way. What others change during a write to a claim queues it for the operation that wrote.
    pub(crate) fn new(queues: &Queues) -> Self {
        let of = |operation| {
            let queues = queues.clone();
            OwnWrites::new(move |key| queues.add(operation, key))
        };
        Self { growth: of(Operation::Growth), modification: of(Operation::Modification) }
    }

    /// Those of one operation.
    pub(crate) fn of(&self, operation: Operation) -> &Arc<OwnWrites> {
        match operation {
            Operation::Growth => &self.growth,
            Operation::Modification => &self.modification,
        }
    }
}

/// How the write of a failure ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureWrite {
    /// The status tells what the claim waits for.
    Done,
    /// The claim is gone.
    Gone,
    /// It was refused, or its reply was lost: the status may tell it or not.
    Unknown,
}

/// What both share.
///
/// `Differs:` upstream's two controllers undo each other's status, or fail with a conflict. Here each names its own fields
/// only. As in upstream, both calls may be at the driver at once: some drivers, as that of EBS, wait a moment to make one
/// change of a new size and a new class.
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) seat: Seat,
    pub(crate) caches: Caches,
    pub(crate) queues: Queues,
    own: Own,
}

impl Shared {
    /// Nobody works on any claim.
    pub(crate) fn new(
        config: Arc<Config>,
        seat: Seat,
        caches: Caches,
        queues: Queues,
        own: Own,
    ) -> Arc<Self> {
        Arc::new(Self { config, seat, caches, queues, own })
    }

    /// What the caches keep.
    pub(crate) fn scope(&self) -> &Scope {
        self.caches.claims.store().scope()
    }

    /// The claim of this key, if its volume is ours. The volume may have come after the claim: then the claim is read.
    ///
    /// # Errors
    /// Without a claim, the outcome of the pass.
    pub(crate) async fn claim(&self, key: &Key) -> Result<Arc<Claim>, Outcome> {
        if let Err(error) = self.caches.claims.take_up(key).await {
            base::error!(api::text(&error), "Cannot read the claim; will retry"; "claim" => key);
            return Err(Outcome::Retry);
        }
        self.caches.claims.get(key).ok_or(Outcome::Done)
    }

    /// Sends one write to the status of a claim. The watch event of our own write does not queue the claim. But the reply may
    /// be the first to show that the user asks for something else: that does.
    pub(crate) async fn write(
        &self,
        operation: Operation,
        claim: &Claim,
        body: Value,
    ) -> Result<Written, api::Error> {
        let before = self.caches.latest(claim);
        let own = self.own.of(operation);
        let written = own.patch(&self.caches.claims, &claim.meta, "status", Format::Strategic, body).await;
        if let (Some(before), Some(after)) = (before, self.caches.latest(claim))
            && asks_for_something_else(operation, &before, &after)
        {
            self.queues.add(operation, &claim.meta.key);
        }
        written
    }

    /// Writes a failure into the status of a claim, if there is anything to write.
    pub(crate) async fn write_failure(
        &self,
        operation: Operation,
        claim: &Claim,
        body: Option<Value>,
    ) -> FailureWrite {
        let Some(body) = body else { return FailureWrite::Done };
        match self.write(operation, claim, body).await {
            Ok(Written::Kept { .. }) => FailureWrite::Done,
            Ok(Written::Gone) => FailureWrite::Gone,
            Err(error) => {
                base::error!(api::text(&error), "Cannot write the failure into the status; will retry"; "claim" => claim.meta.key);
                FailureWrite::Unknown
            }
        }
    }

    /// Records an event about a claim.
    pub(crate) fn tell(&self, claim: &Claim, kind: Kind, reason: &'static str, message: String) {
        let object = ObjectRef::core("PersistentVolumeClaim", &claim.meta);
        self.seat.events.record(Event { object, kind, reason, message });
    }

    /// Calls `forget` with each claim that is gone, or lost its volume.
    pub(crate) fn when_gone(&self, forget: impl Fn(&Claim) + Send + Sync + 'static) {
        self.caches.claims.store().subscribe(move |change| match change {
            Change::Removed(old) | Change::Left(old) => forget(old),
            Change::Updated { old, new } if old.meta.uid != new.meta.uid => forget(old),
            Change::Added(_) | Change::Updated { .. } => {}
        });
    }
}

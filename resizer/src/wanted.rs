//! Which claims are queued, and when (docs/upstream/resizer.md, "Which claims").
//!
//! A claim is queued only if its objects, as the caches have them, leave something to do. Our own writes queue nothing, and
//! neither does an error that somebody writes into the conditions.

use std::sync::{Arc, Weak};

use kubernetes::object::{Claim, Key, ModifyPhase, Scope, Volume};
use kubernetes::store::{Change, Store};

use crate::caches::Caches;
use crate::config::Config;
use crate::eligible::is_ours;
use crate::growth::decide::{Step, View, asks_for_more, decide, has_stale_annotation};
use crate::modification;
use crate::news::is_news;
use crate::queues::{Operation, Queues};
use crate::shared::Own;

/// What is left to do about a claim. The stores are held weakly, because their subscribers hold this.
#[derive(Clone)]
pub(crate) struct Wanted {
    config: Arc<Config>,
    claims: Weak<Store<Claim>>,
    volumes: Weak<Store<Volume>>,
    scope: Arc<Scope>,
    queues: Queues,
}

impl Wanted {
    /// What is left to do according to `caches`.
    pub(crate) fn new(config: &Arc<Config>, caches: &Caches, queues: &Queues) -> Self {
        let (claims, volumes) = (caches.claims.store(), caches.volumes.store());
        Self {
            config: config.clone(),
            claims: Arc::downgrade(claims),
            volumes: Arc::downgrade(volumes),
            scope: claims.scope().clone(),
            queues: queues.clone(),
        }
    }

    /// Queues a claim for each operation that the event concerns and that has something to do.
    fn queue(
        &self,
        claim: &Claim,
        concerns: impl Fn(Operation) -> bool,
        is_held_back: impl Fn(Operation) -> bool,
    ) {
        for operation in [Operation::Growth, Operation::Modification] {
            if concerns(operation) && self.wants(operation, claim) && !is_held_back(operation) {
                self.queues.add(operation, &claim.meta.key);
            }
        }
    }

    /// Queues every unfinished claim, but not for a class that it waits for: the class queues it.
    ///
    /// `Differs:` upstream queues every claim.
    pub(crate) fn resync(&self) {
        let waits = |claim: &Claim| {
            let last = claim.status.as_ref().and_then(|status| status.modify.as_ref());
            last.is_some_and(|last| last.phase == ModifyPhase::Pending)
        };
        for claim in self.claims.upgrade().into_iter().flat_map(|claims| claims.list()) {
            self.queue(&claim, |operation| operation == Operation::Growth || !waits(&claim), |_| false);
        }
    }

    /// The operation whose passes take up claims.
    fn first(&self) -> Operation {
        match self.config.can.expansion {
            Some(_) => Operation::Growth,
            None => Operation::Modification,
        }
    }

    fn wants(&self, operation: Operation, claim: &Claim) -> bool {
        let volume = self.volumes.upgrade().and_then(|volumes| volumes.get(&Key::cluster(&claim.volume)));
        let Some(volume) = volume else {
            // Another driver's, or an in-tree volume that the cache does not know as ours.
            return operation == Operation::Growth
                && self.config.can.expansion.is_some()
                && claim.names_resizer(&self.scope)
                && asks_for_more(claim);
        };
        if !is_ours(claim, &volume, &self.scope) {
            return false;
        }
        match operation {
            Operation::Growth => self.has_to_grow(claim, &volume),
            Operation::Modification => {
                self.config.classes.is_some() && modification::is_wanted(claim, &volume)
            }
        }
    }

    fn has_to_grow(&self, claim: &Claim, volume: &Volume) -> bool {
        let Some(expansion) = self.config.can.expansion else { return false };
        let Some(view) = View::new(claim, volume, None) else { return false };
        matches!(decide(&view, expansion), Step::Grow(_)) || has_stale_annotation(claim, volume)
    }
}

/// Adds claims to the queues when an event leaves something to do about them.
pub(crate) fn follow(wanted: &Wanted, caches: &Caches, own: &Own) {
    let (of_claims, own) = (wanted.clone(), own.clone());
    caches.claims.store().subscribe(move |change| {
        let (old, new) = match change {
            Change::Added(new) => (None, new),
            Change::Updated { old, new } => (Some(old), new),
            Change::Removed(_) | Change::Left(_) => return,
        };
        of_claims.queue(
            new,
            |operation| old.as_ref().is_none_or(|old| is_news(operation, old, new)),
            |operation| own.of(operation).holds_back(&new.meta.key, new.meta.version),
        );
    });
    let of_volumes = wanted.clone();
    caches.volumes.store().subscribe(move |change| {
        let new = match change {
            Change::Added(new) => new,
            Change::Updated { old, new } if old.claim != new.claim => new,
            Change::Updated { .. } | Change::Removed(_) | Change::Left(_) => return,
        };
        let Some(holder) = &new.claim else { return };
        let key = Key::new(&holder.namespace, &holder.name);
        let Some(claims) = of_volumes.claims.upgrade() else { return };
        match claims.get(&key) {
            Some(claim) => of_volumes.queue(&claim, |_| true, |_| false),
            // The pass has it read, and then the cache says what it wants.
            None if claims.has_passed_over(&key) => of_volumes.queues.add(of_volumes.first(), &key),
            None => {}
        }
    });
}

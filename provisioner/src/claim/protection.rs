//! Holds the source of a clone until the clone is made; [`snapshot`] does so with snapshots.
//!
//! A finalizer is put on the source claim before the first call, and stays. It is taken off a claim that is being deleted once
//! nothing is cloned from it: no request that names it may still be under way.

use std::sync::Arc;

use base::queue::{Job, Outcome, Place, WorkQueue};
use kubernetes::api;
use kubernetes::object::{CLONING_PROTECTION, Claim, Key, WireGrant};
use kubernetes::store::{Change, Store};
use tokio::time::Instant;

mod finalizer;
pub(crate) mod held;
mod releasing;
pub(crate) mod snapshot;

use self::finalizer::{add_finalizer, remove_finalizer};
use super::eligible::other_namespace;
use super::error::ProvisionError;
use super::reconcile::Claims;
use super::request::{Asked, Found, SourceError, fills_from, may_refer, named};
use super::reschedule::Edited;

/// How often the finalizer is put on when somebody else changes the claim at the same time.
const TRIES: usize = 4;

impl Claims {
    /// Puts our finalizer on the source claim that was found.
    ///
    /// `Differs:` upstream holds the source before it knows whether the rest of the request can be made.
    pub(super) async fn protect(&self, found: &Found) -> Result<(), SourceError> {
        let Some(source) =
            found.claim.as_ref().filter(|source| !source.meta.has_finalizer(CLONING_PROTECTION))
        else {
            return Ok(());
        };
        let what = format!("PersistentVolumeClaim {}", source.meta.key);
        for _ in 0..TRIES {
            let mut is_on = false;
            let edited = self.edit(&source.meta, |live| {
                is_on = true;
                add_finalizer(live, CLONING_PROTECTION)
            });
            match edited.await {
                Ok(Edited::Done) => return Ok(()),
                Ok(Edited::Not) if is_on => return Ok(()),
                Ok(Edited::Not | Edited::Gone) => return Err(SourceError::Missing(what)),
                // Perhaps another worker, which clones it too.
                Ok(Edited::Conflict) => {}
                Err(error) => return Err(SourceError::Unprotected(what, api::text(&error))),
            }
        }
        Err(SourceError::Changing(what))
    }

    /// Takes our finalizer off, if the claim is being deleted and nothing is cloned from it.
    async fn release(&self, key: &Key) -> Outcome {
        let asked = Asked::Claim(key.clone());
        let Some(source) = self.claims.get(key).filter(|source| is_held(source)) else {
            self.memory().end_turn(&asked);
            return Outcome::Done;
        };
        let Some(grants) = self.grants_for(&asked).await else { return Outcome::Retry };
        if self.intents.may_have_more() || self.is_being_cloned(&asked, &grants) {
            // The queue gets it when the clone is made; a request without a claim is asked for again.
            return Outcome::Retry;
        }
        match self.is_another_driver_s(&source).await {
            Ok(true) => return Outcome::Done,
            Ok(false) => {}
            Err(error) => {
                base::error!(error, "Cannot tell whose the source of clones is; will retry"; "claim" => key);
                return Outcome::Retry;
            }
        }
        if let Some(later) = self.is_for_others(&asked, false).await {
            return later;
        }
        // A claim may have come meanwhile.
        let releasing = self.begin_release(&asked).filter(|_| !self.is_being_cloned(&asked, &grants));
        let Some(_releasing) = releasing else { return Outcome::Retry };
        match self.edit(&source.meta, |live| remove_finalizer(live, CLONING_PROTECTION)).await {
            Ok(Edited::Done | Edited::Gone) => {
                base::info!("Nothing is cloned from the claim: it may go"; "claim" => key);
                Outcome::Done
            }
            Ok(Edited::Not) => Outcome::Done,
            Ok(Edited::Conflict) => Outcome::Retry,
            // We may have failed only because we no longer lead; the next leader goes on.
            Err(_) if !self.seat.leadership.holds() => Outcome::Retry,
            Err(error) => {
                base::error!(api::text(&error), "Cannot take the finalizer off the source of clones; will retry";
                    "claim" => key);
                Outcome::Retry
            }
        }
    }

    /// With a provisioner on each node: when to look at a source again that others may use, or may let go of. `is_ours`: we hold
    /// it, so we let go of it at once.
    ///
    /// `Differs:` upstream lets all nodes try at once, and lets go of a source that another node uses for a claim that is gone.
    async fn is_for_others(&self, asked: &Asked, is_ours: bool) -> Option<Outcome> {
        let node = self.config.node.as_ref()?;
        if !is_ours && let Some(left) = self.memory().turn(asked, node, Instant::now()) {
            return Some(Outcome::After(left));
        }
        match self.intents.is_open_elsewhere(|claim| fills_from(claim, asked)).await {
            Ok(later) => later.map(Outcome::After),
            Err(error) => {
                base::error!(api::text(&error), "Cannot tell whether another node uses the source; will retry"; "source" => asked.key());
                Some(Outcome::Retry)
            }
        }
    }

    /// Whether a call that clones this claim may be under way, even if the clone's claim is gone. A claim that is being
    /// deleted is cloned no more, so those that only wait for it do not hold it, unless an earlier process may have sent a
    /// request for them ([`Claims::may_have_been_sent`]).
    ///
    /// `Differs:` upstream counts all claims of the namespace that are Pending, whosever they are: two of them can hold each
    /// other for ever. And it forgets a call for a claim that is gone, and does not see clones in other namespaces.
    fn is_being_cloned(&self, asked: &Asked, grants: &[WireGrant]) -> bool {
        self.waits_for_source(asked, grants, |claim| self.may_have_been_sent(claim))
            || self.memory().is_used(asked)
    }

    /// Whether somebody else may have sent a request for this claim: an earlier process, or one on another node.
    pub(super) fn may_have_been_sent(&self, claim: &Claim) -> bool {
        self.config.node.is_some() || self.inherited.has(&claim.meta.uid)
    }

    /// Whether such a claim waits for a volume to be filled from this, and may have that: whoever may make claims must not hold
    /// what is others'. `grants`: those of the source's namespace.
    ///
    /// `Differs:` upstream holds a deleted snapshot also for a claim of another namespace that nothing grants it.
    fn waits_for_source(
        &self,
        asked: &Asked,
        grants: &[WireGrant],
        is_such: impl Fn(&Claim) -> bool,
    ) -> bool {
        self.all_that_wait_for(asked).iter().any(|claim| may_refer(claim, asked, grants) && is_such(claim))
    }

    /// The claims that name the source and have no volume yet, whether they may have it or not.
    fn all_that_wait_for(&self, asked: &Asked) -> Vec<Arc<Claim>> {
        let waits = |claim: &&Arc<Claim>| {
            fills_from(claim, asked) && claim.waits_for(self.claims.scope()) && !self.has_object(claim)
        };
        self.claims.list().iter().filter(waits).cloned().collect()
    }

    /// The grants of the source's namespace, if a claim of another namespace waits for it and the gate allows that. `None`: they
    /// cannot be read now. Where they may not be listed, or are not served, nothing is granted.
    async fn grants_for(&self, asked: &Asked) -> Option<Vec<WireGrant>> {
        let waits = self.config.cross_namespace
            && self.all_that_wait_for(asked).iter().any(|claim| other_namespace(claim).is_some());
        if !waits {
            return Some(Vec::new());
        }
        match self.seat.objects.list::<WireGrant>(asked.key().namespace()).await {
            Ok((grants, _)) => Some(grants),
            // Then no claim gets anything from there, and nobody may keep it.
            Err(error) if api::is(&error, 403) || api::is(&error, 404) => Some(Vec::new()),
            Err(error) => {
                base::error!(api::text(&error), "Cannot tell which claims may use the source; will retry"; "source" => asked.key());
                None
            }
        }
    }

    /// The clones of another driver's claims are not ours to know. A volume that is gone cannot be cloned by anybody.
    ///
    /// `Differs:` upstream takes the finalizer off any driver's claims.
    async fn is_another_driver_s(&self, source: &Claim) -> Result<bool, ProvisionError> {
        if source.volume.is_empty() {
            return Ok(false);
        }
        let known = match self.volumes.get(&Key::cluster(&source.volume)) {
            Some(known) => Some(known),
            None => self.read_volume(&source.volume).await?.map(Arc::new),
        };
        let driver = known.as_ref().map(|known| known.spec.csi.as_ref().map_or("", |csi| &*csi.driver));
        Ok(driver.is_some_and(|driver| *driver != *self.config.driver))
    }
}

/// Whether nothing but finalizers, among them ours, keeps the claim.
fn is_held(claim: &Claim) -> bool {
    claim.meta.deleting && claim.meta.has_finalizer(CLONING_PROTECTION)
}

/// The claim that this one is cloned from.
fn source_of(claim: &Claim) -> Option<Key> {
    match named(claim) {
        Ok(Some(Asked::Claim(key))) => Some(key),
        Ok(_) | Err(_) => None,
    }
}

/// Queues claims that may have to be released: those that are deleted, and the sources of what was being cloned.
pub(crate) fn feed(queue: &WorkQueue<Key>, claims: &Store<Claim>) {
    let to = queue.clone();
    claims.subscribe(move |change| {
        let (old, new) = match change {
            Change::Added(new) => (None, Some(new)),
            Change::Updated { old, new } => (Some(old), Some(new)),
            Change::Removed(old) | Change::Left(old) => (Some(old), None),
        };
        let held = new.filter(|claim| is_held(claim)).map(|claim| claim.meta.key.clone());
        let source = old.and_then(|claim| source_of(claim));
        held.into_iter().chain(source).for_each(|key| to.add(key, Place::lane(0)));
    });
}

/// The queue of claims that may have to be released.
pub(crate) struct Protected(pub(crate) Arc<Claims>);

impl Job<Key> for Protected {
    async fn run(&self, key: Key) -> Outcome {
        if !self.0.seat.leadership.holds() {
            return Outcome::Retry;
        }
        self.0.release(&key).await
    }
}

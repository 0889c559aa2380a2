//! Which claims are queued, and when.

use std::fmt;
use std::sync::Arc;

use base::queue::{Place, WorkQueue};
use kubernetes::object::{Claim, Key, Uid, Volume, VolumePhase};
use kubernetes::store::{Change, Store};

use super::name::volume_name;
use crate::caches::Caches;
use crate::config::Config;

/// A claim in the queue. A re-created claim of the same name is another claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClaimId {
    /// Namespace and name.
    pub(crate) key: Key,
    /// The claim's uid.
    pub(crate) uid: Uid,
}

impl ClaimId {
    /// The id of this claim.
    pub(crate) fn of(claim: &Claim) -> Self {
        Self { key: claim.meta.key.clone(), uid: claim.meta.uid.clone() }
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

/// Adds claims to the queue when they, their class or their volume change.
pub(super) fn feed(queue: &WorkQueue<ClaimId>, caches: &Caches, config: Arc<Config>) {
    let Caches { claims, classes, volumes, nodes: _, capacity: _ } = caches;
    let id = ClaimId::of;
    let to = queue.clone();
    // The queue retries a claim whose CreateVolume may still be running. For any other removed claim, we only forget what
    // we remember of it.
    let scope = claims.scope().clone();
    claims.subscribe(move |change| match change.of(|claim| claim.waits_for(&scope)) {
        Some(Change::Added(claim) | Change::Removed(claim) | Change::Left(claim)) => {
            to.add(id(&claim), Place::lane(0))
        }
        Some(Change::Updated { old, new }) => {
            if old.meta.uid != new.meta.uid {
                to.add(id(&old), Place::lane(0));
            }
            to.add(id(&new), Place::lane(0));
        }
        None => {}
    });
    let (to, known) = (queue.clone(), Arc::downgrade(claims));
    classes.subscribe(move |change| {
        let (Change::Added(class) | Change::Updated { new: class, .. }) = change else { return };
        let Some(claims) = known.upgrade() else { return };
        let waits =
            |claim: &&Arc<Claim>| claim.waits_for(claims.scope()) && *claim.class == *class.meta.name();
        for claim in claims.list().iter().filter(waits) {
            to.add(id(claim), Place::lane(0));
        }
    });
    let (to, known) = (queue.clone(), Arc::downgrade(claims));
    volumes.store().subscribe(move |change| {
        let gone = match change {
            Change::Removed(old) | Change::Left(old) => old,
            Change::Updated { old, new } if old.meta.uid != new.meta.uid => old,
            Change::Added(_) | Change::Updated { .. } => return,
        };
        let Some(claims) = known.upgrade() else { return };
        if let Some(claim) = bereft(gone, &claims, &config) {
            to.add(id(&claim), Place::lane(0));
        }
    });
}

/// The claim that needs a new volume because the one made for it is gone.
fn bereft(gone: &Volume, claims: &Store<Claim>, config: &Config) -> Option<Arc<Claim>> {
    match gone.phase {
        // The claim is gone too, even if our cache does not show that yet.
        VolumePhase::Released | VolumePhase::Failed => return None,
        VolumePhase::Pending | VolumePhase::Available | VolumePhase::Bound => {}
    }
    let named = |claim: &Claim| {
        let name = volume_name(config, &claim.meta.uid.to_string());
        name.is_some_and(|name| name == gone.meta.name())
    };
    let claim = match &gone.claim {
        Some(holder) => {
            let claim = claims.get(&Key::new(&holder.namespace, &holder.name))?;
            (claim.meta.uid == holder.uid).then_some(claim)
        }
        // An administrator removed `spec.claimRef`. Only the PersistentVolume's name still says which claim it was for.
        None => claims.list().into_iter().find(|claim| named(claim)),
    };
    claim.filter(|claim| claim.waits_for(claims.scope()))
}

//! Volumes of claims under names that do not follow from the flags: csi-provisioner made them with others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kubernetes::object::{Uid, Volume};
use kubernetes::store::{Change, Store};

use super::name::volume_name;
use crate::config::Config;

/// How many such volumes each claim has. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Former(Arc<Mutex<HashMap<Uid, usize>>>);

impl Former {
    /// Those of the store, which is not filled yet.
    pub(super) fn follow(volumes: &Store<Volume>, config: Arc<Config>) -> Self {
        let former = Self::default();
        let known = former.clone();
        volumes.subscribe(move |change| match change {
            Change::Added(new) => known.count(claim_of(new, &config)),
            Change::Removed(old) | Change::Left(old) => known.discount(claim_of(old, &config)),
            Change::Updated { old, new } if holder(old) != holder(new) => {
                known.discount(claim_of(old, &config));
                known.count(claim_of(new, &config));
            }
            Change::Updated { .. } => {}
        });
        former
    }

    /// Whether the claim has such a volume.
    pub(super) fn has(&self, claim: &Uid) -> bool {
        self.claims().contains_key(claim)
    }

    fn count(&self, claim: Option<Uid>) {
        if let Some(claim) = claim {
            *self.claims().entry(claim).or_default() += 1;
        }
    }

    fn discount(&self, claim: Option<Uid>) {
        let Some(claim) = claim else { return };
        let mut claims = self.claims();
        if let Some(volumes) = claims.get_mut(&claim) {
            *volumes -= 1;
            if *volumes == 0 {
                claims.remove(&claim);
            }
        }
    }

    fn claims(&self) -> MutexGuard<'_, HashMap<Uid, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The claim that the volume names.
fn holder(volume: &Volume) -> Option<&Uid> {
    Some(&volume.claim.as_ref()?.uid)
}

/// The claim of a volume whose name is not the usual one.
fn claim_of(volume: &Volume, config: &Config) -> Option<Uid> {
    let uid = holder(volume)?;
    let usual = volume_name(config, &uid.to_string())?;
    (usual != volume.meta.name()).then(|| uid.clone())
}

//! Volumes of claims under names that do not follow from the flags: csi-provisioner made them with others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kubernetes::object::{Key, Uid, Volume};
use kubernetes::store::{Change, Store};

use super::name::volume_name;
use crate::config::Config;

/// Their claims. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Former(Arc<Mutex<HashMap<Key, Uid>>>);

impl Former {
    /// Those of the store, which is not filled yet.
    pub(super) fn follow(volumes: &Store<Volume>, config: Arc<Config>) -> Self {
        let former = Self::default();
        let known = former.clone();
        volumes.subscribe(move |change| {
            let (gone, new) = match change {
                Change::Added(new) => (None, Some(new)),
                Change::Updated { old, new } => (Some(old), Some(new)),
                Change::Removed(old) | Change::Left(old) => (Some(old), None),
            };
            let claim = new.and_then(|new| Some((new.meta.key.clone(), claim_of(new, &config)?)));
            let mut known = known.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(gone) = gone {
                known.remove(&gone.meta.key);
            }
            known.extend(claim);
        });
        former
    }

    /// Whether the claim has such a volume.
    pub(super) fn has(&self, claim: &Uid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().any(|known| known == claim)
    }
}

/// The claim of a volume whose name is not the usual one.
fn claim_of(volume: &Volume, config: &Config) -> Option<Uid> {
    let uid = &volume.claim.as_ref()?.uid;
    let usual = volume_name(config, &uid.to_string())?;
    (usual != volume.meta.name()).then(|| uid.clone())
}

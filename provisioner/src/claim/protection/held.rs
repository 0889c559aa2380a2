//! Which snapshots are queued to be let go of.

use std::sync::{Arc, Mutex};

use base::queue::{Backoff, Limits, Place, WorkQueue};
use kubernetes::object::{Claim, HeldSnapshot, Key, Scope};
use kubernetes::store::{Change, Store, Writer, cache};
use process::Seat;

use super::super::request::{Asked, named};
use crate::config::Config;

/// The snapshots that volumes are made from.
pub(crate) struct Snapshots {
    pub(super) queue: WorkQueue<Key>,
    /// Those that bear our finalizer, if they are followed.
    pub(super) held: Arc<Store<HeldSnapshot>>,
    pub(super) writer: Mutex<Option<Writer<HeldSnapshot>>>,
}

impl Snapshots {
    /// No snapshot is followed yet. Queues those that may have to be let go of: those that bear our finalizer, and the sources
    /// of claims that are gone or have their volume.
    pub(crate) fn new(config: &Config, seat: &Seat, claims: &Store<Claim>) -> Self {
        let metrics = vec![seat.metrics.queue("snapshot-protection").doing("release", "VolumeSnapshot")];
        let max = config.snapshot_sweep.unwrap_or(config.backoff.max);
        let backoff = Backoff { base: config.backoff.base.min(max), max };
        let queue = WorkQueue::new(backoff, Limits::plain(), metrics);
        let (writer, held) = cache::<HeldSnapshot>(Arc::new(Scope::default()));
        let to = queue.clone();
        held.subscribe(move |change| {
            if let Change::Added(new) | Change::Updated { new, .. } = change {
                to.add(new.meta.key.clone(), Place::lane(0));
            }
        });
        let to = queue.clone();
        claims.subscribe(move |change| {
            let old = match change {
                Change::Removed(old) | Change::Left(old) => old,
                Change::Updated { old, new } if old.meta.uid != new.meta.uid || old.volume != new.volume => {
                    old
                }
                Change::Added(_) | Change::Updated { .. } => return,
            };
            if let Some(key) = snapshot_of(old) {
                to.add(key, Place::lane(0));
            }
        });
        Self { queue, held, writer: Mutex::new(Some(writer)) }
    }
}

/// The snapshot that the claim is filled from.
pub(super) fn snapshot_of(claim: &Claim) -> Option<Key> {
    match named(claim) {
        Ok(Some(Asked::Snapshot(key))) => Some(key),
        Ok(_) | Err(_) => None,
    }
}

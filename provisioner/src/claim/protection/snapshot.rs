//! Holds a snapshot while a volume is made from it.
//!
//! Our finalizer is put on before the first call, and taken off once nothing is made from the snapshot any more: no request
//! that names it may still be under way, and no claim waits for it. A snapshot that is being deleted is not held by claims that
//! only wait, unless somebody else may have sent a request for them.
//!
//! An earlier process, ours or the Go csi-provisioner, may have left the finalizer on. So snapshots that bear it are watched,
//! and of no others anything is kept. Only the snapshots of our own driver are let go of.

use std::sync::Arc;
use std::time::Duration;

use base::queue::{Job, Outcome, Place};
use kubernetes::api;
use kubernetes::object::{
    Claim, Key, SNAPSHOT_PROTECTION, Snapshot, SnapshotContent, WireSnapshot, WireSnapshotContent,
};
use kubernetes::permission::{Need, has};
use kubernetes::watch::{WatchOptions, reflect};
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::reconcile::Claims;
use super::super::request::{Asked, Found, SourceError};
use super::finalizer::{add_finalizer, remove_finalizer};
use super::held::{Snapshots, snapshot_of};

/// What watching the snapshots that bear our finalizer takes.
pub(crate) const FOLLOW: Need =
    Need::cluster("snapshot.storage.k8s.io", "volumesnapshots", &["list", "watch"]);
/// How often the finalizer is put on when somebody else changes the snapshot at the same time.
const TRIES: usize = 4;
/// Pause after a failed attempt to find out whether the cluster has snapshots.
const PAUSE: Duration = Duration::from_secs(30);

/// Whether the snapshot must stay.
///
/// `Differs:` upstream takes the finalizer off when the first of several volumes is made, and while a call for a claim that is gone
/// may be under way. It sweeps the snapshots of all drivers, and a claim that stays Pending holds a deleted snapshot for ever.
///
/// `under_way`: a request that names it may be under way. `waits`: a claim waits for it.
fn is_needed(under_way: bool, waits: bool, deleting: bool) -> bool {
    under_way || (waits && !deleting)
}

impl Claims {
    /// An attempt for the claim is over: its snapshot may have to be let go of.
    pub(in super::super) fn settle_snapshot(&self, claim: &Claim) {
        if let (Some(snapshots), Some(key)) = (&self.snapshots, snapshot_of(claim)) {
            snapshots.queue.add(key, Place::lane(0));
        }
    }

    /// Puts our finalizer on the snapshot that was found. Where we may not, the volume is made without.
    pub(in super::super) async fn hold_snapshot(&self, found: &Found) -> Result<(), SourceError> {
        let (Some(snapshot), Some(live)) = (&found.snapshot, &found.live_snapshot) else { return Ok(()) };
        let key = &snapshot.meta.key;
        self.memory().ours.insert(key.clone(), snapshot.meta.uid.clone());
        let what = || format!("VolumeSnapshot {key}");
        let unprotected = |error| SourceError::Unprotected(what(), api::text(&error));
        let mut live = live.clone();
        for _ in 0..TRIES {
            if !add_finalizer(&mut live, SNAPSHOT_PROTECTION) {
                return Ok(());
            }
            match self.write_snapshot(key, &live).await {
                Ok(()) => return Ok(()),
                Err(error) if api::is(&error, 403) => {
                    if self.memory().note_unheld() {
                        base::warn!("The service account may not hold snapshots: one that is deleted while a volume is made from it goes at once";
                            "needs" => "update on volumesnapshots", "snapshot" => key, "err" => api::text(&error));
                    } else {
                        base::v!(3, "The snapshot is not held"; "snapshot" => key);
                    }
                    return Ok(());
                }
                Err(error) if api::is_gone(&error, key.name()) => return Err(SourceError::Missing(what())),
                Err(error) if !api::is(&error, 409) => return Err(unprotected(error)),
                Err(_) => {}
            }
            // Somebody else has changed it: perhaps another worker, which makes another volume from it.
            let again = self.seat.objects.raw::<WireSnapshot>(key.namespace(), key.name()).await;
            live = again.map_err(unprotected)?.unwrap_or_default();
            let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            if snapshot.meta.uid != text("/metadata/uid").into() {
                return Err(SourceError::Missing(what()));
            }
        }
        Err(SourceError::Changing(what()))
    }

    async fn write_snapshot(&self, key: &Key, live: &Value) -> Result<(), api::Error> {
        let written = self.seat.objects.replace::<WireSnapshot>(key.namespace(), key.name(), "", live).await;
        written.map(drop)
    }

    /// Takes our finalizer off the snapshot if nothing is made from it any more.
    async fn let_go(&self, snapshots: &Snapshots, key: &Key) -> Outcome {
        if self.intents.may_have_more() {
            return Outcome::Retry;
        }
        let asked = Asked::Snapshot(key.clone());
        let deleting = snapshots.held.get(key).is_some_and(|held| held.meta.deleting);
        let Some(grants) = self.grants_for(&asked).await else { return Outcome::Retry };
        let waits = self.waits_for_source(&asked, &grants, |_| true);
        let under_way = self.memory().is_used(&asked)
            || self.waits_for_source(&asked, &grants, |claim| self.may_have_been_sent(claim));
        if is_needed(under_way, waits, deleting) {
            // It is queued again when the claim is gone or has its volume, and when the request has an answer. Nobody says
            // when a grant is withdrawn.
            return if grants.is_empty() { Outcome::Done } else { Outcome::Retry };
        }
        let is_ours = self.memory().ours.contains_key(key);
        if self.config.node.is_some() && !is_ours && snapshots.held.get(key).is_none() {
            self.memory().end_turn(&asked);
            return Outcome::Done;
        }
        if let Some(later) = self.is_for_others(&asked, is_ours).await {
            return later;
        }
        // The attempt that uses it queues it again.
        let Some(_releasing) = self.begin_release(&asked) else { return Outcome::Done };
        match self.take_off(key).await {
            Ok(is_off) => {
                if is_off {
                    base::v!(2, "Nothing is made from the snapshot: it may go"; "snapshot" => key);
                }
                self.memory().ours.remove(key);
                Outcome::Done
            }
            // The right may come: an administrator adds the rule that we have asked for.
            Err(error) if api::is(&error, 403) => {
                base::v!(2, "The service account may not let go of the snapshot; will retry"; "snapshot" => key, "err" => api::text(&error));
                Outcome::Retry
            }
            Err(error) => {
                if !api::is(&error, 409) && self.seat.leadership.holds() {
                    base::error!(api::text(&error), "Cannot take the finalizer off the snapshot; will retry"; "snapshot" => key);
                }
                Outcome::Retry
            }
        }
    }

    /// Takes our finalizer off the snapshot as it is now. False if there is nothing to take off, or it is another driver's.
    async fn take_off(&self, key: &Key) -> Result<bool, api::Error> {
        let objects = &self.seat.objects;
        let Some(mut live) = objects.raw::<WireSnapshot>(key.namespace(), key.name()).await? else {
            return Ok(false);
        };
        let read: Result<WireSnapshot, _> = serde_json::from_value(live.clone());
        if !remove_finalizer(&mut live, SNAPSHOT_PROTECTION) {
            return Ok(false);
        }
        let snapshot: Snapshot = read.map_err(api::Error::SerdeError)?.into();
        let is_ours = self.memory().ours.get(key) == Some(&snapshot.meta.uid);
        if !is_ours && !snapshot.content.is_empty() {
            let content = objects.get::<WireSnapshotContent>("", &snapshot.content).await?;
            let content = content.map(SnapshotContent::from);
            // From a content that is gone nobody can make anything.
            if content.is_some_and(|content| content.driver != self.config.driver) {
                return Ok(false);
            }
        }
        self.write_snapshot(key, &live).await?;
        Ok(true)
    }

    /// Lets go of snapshots until `stop`.
    pub(crate) async fn release_snapshots(self: &Arc<Self>, stop: &CancellationToken) {
        let Some(snapshots) = &self.snapshots else { return };
        let job = Arc::new(Held(self.clone()));
        tokio::select! {
            () = snapshots.queue.run(self.config.workers, job, stop.clone()) => {}
            () = self.follow_held(snapshots) => {}
        }
    }

    /// Watches the snapshots that bear our finalizer, if the cluster has snapshots and we may. Never ends.
    async fn follow_held(&self, snapshots: &Snapshots) {
        let writer = snapshots.writer.lock().ok().and_then(|mut writer| writer.take());
        if let (Some(writer), true) =
            (writer, self.config.snapshot_sweep.is_some() && self.may_follow().await)
        {
            let options = WatchOptions {
                streaming: self.seat.streaming_lists,
                metadata_only: true,
                ..WatchOptions::default()
            };
            let client = self.seat.objects.client().clone();
            reflect(client, writer, options, self.seat.metrics.clone()).await;
        }
        std::future::pending().await
    }

    async fn may_follow(&self) -> bool {
        let client = self.seat.objects.client();
        loop {
            match client.list_api_group_resources("snapshot.storage.k8s.io/v1").await {
                Ok(list) if list.resources.iter().any(|resource| resource.kind == "VolumeSnapshot") => break,
                Ok(_) => return false,
                Err(error) if api::is(&error, 404) => return false,
                Err(error) => {
                    base::v!(2, "Cannot find out whether the cluster has snapshots"; "err" => api::text(&error));
                    sleep(PAUSE).await;
                }
            }
        }
        let may = has(client, &FOLLOW).await;
        if !may {
            base::warn!(
                "Finalizers that an earlier csi-provisioner left on snapshots stay: the service account may not list and watch volumesnapshots"
            );
        }
        may
    }
}

/// The queue of snapshots that may have to be let go of.
struct Held(Arc<Claims>);

impl Job<Key> for Held {
    async fn run(&self, key: Key) -> Outcome {
        let Some(snapshots) = &self.0.snapshots else { return Outcome::Done };
        if !self.0.seat.leadership.holds() {
            return Outcome::Retry;
        }
        self.0.let_go(snapshots, &key).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_stays_while_it_is_used_or_waited_for() {
        for (under_way, waits, deleting, expected) in [
            (true, false, true, true),
            (true, true, true, true),
            (false, true, false, true),
            (false, true, true, false),
            (false, false, false, false),
            (false, false, true, false),
        ] {
            let case = (under_way, waits, deleting);
            assert_eq!(is_needed(under_way, waits, deleting), expected, "{case:?}");
        }
    }
}

//! The steps: each one request, and what is written down before and after it.
//!
//! A change of an object is for the version that was decided on: if somebody else has changed it, it is looked at again.

use kubernetes::api;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::decide::{Step, comes_off, decide, held};
use super::{Known, PAUSES, Swap, SwapError, is_stale, see};
use crate::change::{merge_patch, put, reversed, source_before};
use crate::hold::HoldError;
use crate::journal::{Deleting, JournalError};
use crate::prepare::{Objects, prepare_anew};
use crate::record::{
    MARK, RETAIN, RETAINED, SOURCE, finalizers, only_seen, plain, plain_claim, policy, retained, text,
};
use crate::requests::{Deletion, VOLUMES, claims, is_refusal};

impl Swap<'_, '_> {
    /// Reads everything and judges it. What is to be done is written down anew if it is no longer the same.
    pub(super) async fn judge(&mut self, known: &mut Known) -> Result<bool, SwapError> {
        self.look(known).await?;
        let volume = match (decide(&known.view()), &known.volume) {
            (Step::Judge, Some(volume)) => plain(volume.clone()),
            _ => return Ok(true),
        };
        let seen = match see(self.requests, &volume).await {
            Ok(seen) => seen,
            Err(error) if is_refusal(&error) => {
                known.refused = Some(format!("cannot read who uses it: {}", api::text(&error)));
                return Ok(true);
            }
            Err(error) => return Err(SwapError::of("read who uses it", &error)),
        };
        let claim = seen.claim.clone().map(|claim| plain_claim(claim, known.record.claim.as_ref()));
        let claim = claim.map(serde_json::from_value).transpose();
        let anew = claim.map_err(|error| format!("its claim cannot be read: {error}")).and_then(|claim| {
            let objects = Objects { volume: &volume, claim: claim.as_ref(), users: seen.users };
            prepare_anew(self.input, &objects, &known.record)
        });
        match anew {
            Err(why) => known.refused = Some(why),
            Ok(record) if record.says(&known.record) => known.judged = true,
            Ok(record) => {
                self.journal.replace(record.clone())?;
                (known.record, known.tried, known.proved) = (record, false, false);
                known.claim = known.own(seen.claim);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks the API server whether it would take the new volume.
    pub(super) async fn ask(&self, known: &mut Known) -> Result<(), kube::Error> {
        match self.requests.create(VOLUMES, &known.record.created(None), true).await {
            // Everything else about it is right.
            Err(error) if api::is(&error, 409) => {}
            Err(error) if is_refusal(&error) => {
                known.refused =
                    Some(format!("the API server would not take the new volume: {}", api::text(&error)));
            }
            answer => drop(answer?),
        }
        // What cannot be taken off a deleted volume keeps it for ever.
        if let (None, Some(volume)) = (&known.refused, &known.volume) {
            let path = format!("{VOLUMES}/{}?dryRun=All", known.record.name());
            let answer = self.requests.patch(&path, &without_finalizers(volume)).await;
            if let Err(error) = answer {
                match is_refusal(&error) && !is_stale(&error) {
                    true => {
                        known.refused = Some(format!("cannot take its finalizers off: {}", api::text(&error)))
                    }
                    false => return Err(error),
                }
            }
        }
        (known.tried, known.judged) = (true, false);
        Ok(())
    }

    pub(super) async fn retain(&self, known: &mut Known) -> Result<(), kube::Error> {
        let before = known.volume.as_ref().map(policy);
        let patch = json!({
            "metadata": {"annotations": {RETAINED: before}}, "spec": {"persistentVolumeReclaimPolicy": RETAIN},
        });
        self.patch_volume(known, patch).await
    }

    pub(super) async fn put_back(
        &self,
        known: &mut Known,
        policy: Option<String>,
    ) -> Result<(), kube::Error> {
        let mut patch = json!({"metadata": {"annotations": {RETAINED: null}}});
        if let Some(policy) = policy {
            put(&mut patch, &["spec", "persistentVolumeReclaimPolicy"], policy.into());
        }
        self.patch_volume(known, patch).await
    }

    /// Changes the volume that was seen.
    async fn patch_volume(&self, known: &mut Known, mut patch: Value) -> Result<(), kube::Error> {
        let Some(volume) = &known.volume else { return Ok(()) };
        only_seen(&mut patch, volume);
        known.judged = false;
        known.volume =
            Some(self.requests.patch(&format!("{VOLUMES}/{}", known.record.name()), &patch).await?);
        Ok(())
    }

    /// Puts the mark on the claim, with the claim's own changes.
    pub(super) async fn mark(&self, known: &mut Known) -> Result<(), kube::Error> {
        let (Some(bound), Some(claim)) = (&known.record.claim, &known.claim) else { return Ok(()) };
        let mut patch = merge_patch(claim, &bound.changes);
        let source = source_before(&known.record.changes).to_string();
        put(&mut patch, &["metadata", "annotations", SOURCE], source.into());
        self.patch_claim(known, patch, json!(known.record.name())).await
    }

    /// Takes the mark off the claim; with `undone` its own changes too.
    pub(super) async fn unmark(&self, known: &mut Known, undone: bool) -> Result<(), kube::Error> {
        let (Some(bound), Some(claim)) = (&known.record.claim, &known.claim) else { return Ok(()) };
        let mut patch = if undone { merge_patch(claim, &reversed(&bound.changes)) } else { json!({}) };
        put(&mut patch, &["metadata", "annotations", SOURCE], Value::Null);
        self.patch_claim(known, patch, Value::Null).await
    }

    /// Changes the claim that was seen.
    async fn patch_claim(&self, known: &mut Known, mut patch: Value, mark: Value) -> Result<(), kube::Error> {
        let (Some(bound), Some(claim)) = (&known.record.claim, &known.claim) else { return Ok(()) };
        only_seen(&mut patch, claim);
        put(&mut patch, &["metadata", "annotations", MARK], mark);
        (known.judged, known.proved) = (false, false);
        let path = format!("{}/{}", claims(&bound.namespace), bound.name);
        known.claim = Some(self.requests.patch(&path, &patch).await?);
        Ok(())
    }

    pub(super) async fn prove(&mut self, known: &mut Known) -> Result<bool, SwapError> {
        let Some(bound) = &known.record.claim else { return Ok(true) };
        known.judged = false;
        match self.hold.prove(&bound.namespace, &bound.name).await {
            Ok(is_there) => {
                known.proved = is_there;
                return Ok(is_there);
            }
            // Nothing is deleted yet: everything can be as it was.
            Err(error @ (HoldError::NotFollowed | HoldError::Claim(_))) => {
                known.refused = Some(error.to_string())
            }
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    /// Deletes the volume that was judged. That is written down before, and taken back if it was not us who did it.
    pub(super) async fn delete(&mut self, known: &mut Known) -> Result<bool, SwapError> {
        let Some(volume) = &known.volume else { return Ok(true) };
        let (uid, version) = (text(volume, "/metadata/uid"), text(volume, "/metadata/resourceVersion"));
        let deleting = Deleting { uid: uid.to_owned(), retained: retained(volume).map(str::to_owned) };
        self.journal.deleting(known.record.name(), deleting.clone())?;
        (known.deleting, known.created, known.unfit) = (Some(deleting), None, None);
        let done = self.requests.delete(VOLUMES, known.record.name(), uid, Some(version)).await;
        match done.map_err(|error| SwapError::of("delete it", &error))? {
            Deletion::Done(left) => {
                known.volume = left;
                return Ok(true);
            }
            Deletion::Unknown => {}
            Deletion::NotDone(error) => {
                self.spare(known)?;
                if !is_stale(&error) {
                    known.refused = Some(format!("cannot delete it: {}", api::text(&error)));
                }
            }
        }
        Ok(false)
    }

    pub(super) fn spare(&mut self, known: &mut Known) -> Result<(), JournalError> {
        (known.deleting, known.created) = (None, None);
        self.journal.spared(known.record.name())
    }

    /// Takes off the finalizers that come again; those of others stay.
    pub(super) async fn release(&self, known: &mut Known) -> Result<(), kube::Error> {
        let Some(volume) = &known.volume else { return Ok(()) };
        let is_last = !finalizers(volume).any(|one| !comes_off(one));
        let patch = without_finalizers(volume);
        let path = format!("{VOLUMES}/{}", known.record.name());
        let left = self.requests.insisting().patch(&path, &patch).await?;
        known.volume = Some(left).filter(|_| !is_last);
        Ok(())
    }

    pub(super) async fn create(&mut self, known: &mut Known) -> Result<bool, SwapError> {
        let retained = known.deleting.as_ref().and_then(|deleting| deleting.retained.as_deref());
        let volume = known.record.created(retained);
        match self.requests.insisting().create(VOLUMES, &volume, false).await {
            Ok(created) => known.volume = Some(created),
            // Perhaps by us: the answer was lost.
            Err(error) if api::is(&error, 409) => return Ok(false),
            Err(error) if is_refusal(&error) => {
                let why = api::text(&error);
                self.journal.unfit(known.record.name(), Some(&why))?;
                known.unfit = Some(why);
                return Ok(true);
            }
            Err(error) => return Err(SwapError::of("create it anew", &error)),
        }
        self.note_created(known)?;
        Ok(true)
    }

    /// Creates the old volume again, because the API server refuses the new one. If it refuses this too, the new one has its
    /// turn again next time.
    pub(super) async fn restore(&mut self, known: &mut Known) -> Result<bool, SwapError> {
        let retained = known.deleting.as_ref().and_then(|deleting| deleting.retained.as_deref());
        match self.requests.insisting().create(VOLUMES, &known.record.restored(retained), false).await {
            Ok(created) => known.volume = Some(created),
            Err(error) if api::is(&error, 409) => return Ok(false),
            Err(error) if is_refusal(&error) => {
                self.journal.unfit(known.record.name(), None)?;
                return Err(SwapError::Away(known.unfit.take().unwrap_or_default()));
            }
            Err(error) => return Err(SwapError::of("create it again", &error)),
        }
        self.note_created(known)?;
        Ok(true)
    }

    /// Writes down that the volume is deleted, which the undo file lacks: it may be a copy of a moment before that.
    pub(super) fn note_deleted(&mut self, known: &mut Known) -> Result<(), JournalError> {
        let before = policy(&known.record.volume);
        let retained = Some(before).filter(|before| before != RETAIN);
        let deleting = Deleting { uid: text(&known.record.volume, "/metadata/uid").to_owned(), retained };
        self.journal.deleting(known.record.name(), deleting.clone())?;
        known.deleting = Some(deleting);
        Ok(())
    }

    /// Writes down what others have changed of the deleted volume, so that it is created with that.
    pub(super) fn note_seen(&mut self, known: &mut Known) -> Result<(), JournalError> {
        let Some(volume) = &known.volume else { return Ok(()) };
        if let Some(record) = known.record.seen_again(volume) {
            self.journal.seen(record.clone())?;
            known.record = record;
        }
        Ok(())
    }

    pub(super) fn note_created(&mut self, known: &mut Known) -> Result<(), JournalError> {
        let Some(volume) = &known.volume else { return Ok(()) };
        let uid = text(volume, "/metadata/uid").to_owned();
        self.journal.created(known.record.name(), &uid)?;
        known.created = Some(uid);
        Ok(())
    }

    /// Looks at the objects until this step is no longer the next.
    pub(super) async fn wait(
        &self,
        known: &mut Known,
        step: &Step,
        limit: Duration,
    ) -> Result<bool, SwapError> {
        let begun = Instant::now();
        let mut pause = PAUSES.0;
        while decide(&known.view()) == *step {
            if begun.elapsed() > limit {
                let keeps = known.volume.as_ref().and_then(held);
                return Err(keeps
                    .filter(|_| *step == Step::AwaitRelease)
                    .map_or(SwapError::NotBound, SwapError::Held));
            }
            sleep(pause).await;
            pause = (2 * pause).min(PAUSES.1);
            self.look(known).await?;
        }
        Ok(true)
    }
}

/// The patch that takes off the finalizers that come again.
fn without_finalizers(volume: &Value) -> Value {
    let others: Vec<&str> = finalizers(volume).filter(|one| !comes_off(one)).collect();
    let mut patch = json!({"metadata": {"finalizers": others}});
    only_seen(&mut patch, volume);
    patch
}

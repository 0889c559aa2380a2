//! Takes the next step for the size of one claim.

use std::sync::Arc;
use std::time::Duration;

use base::quantity::Quantity;
use base::queue::{Job, Outcome};
use jiff::Timestamp;
use kubernetes::api::{self, Format};
use kubernetes::event::Kind;
use kubernetes::object::{Claim, Key, Volume};
use kubernetes::report::time;

use super::decide::{Step, View, decide, has_stale_annotation};
use super::error::{GrowthError, Verdict};
use super::patch;
use crate::config::Expansion;
use crate::eligible::is_ours;
use crate::in_use::InUse;
use crate::memory::Memory;
use crate::queues::Operation;
use crate::shared::{FailureWrite, Shared};

/// Grows volumes.
pub(crate) struct Growths {
    pub(super) shared: Arc<Shared>,
    pub(super) expansion: Expansion,
    pub(super) memory: Arc<Memory<Quantity, Grown>>,
    pub(super) in_use: Arc<InUse>,
}

/// What the driver has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grown {
    /// The volume's size now.
    pub(super) size: Quantity,
    /// Whether the node has to go on.
    pub(super) needs_node: bool,
}

/// How an attempt ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The claim has its size.
    Finished,
    /// The node has to go on.
    LeftToNode,
    /// The claim or the volume is gone.
    Gone,
}

impl Growths {
    /// Nothing is known of any claim yet.
    pub(crate) fn new(shared: Arc<Shared>, expansion: Expansion, in_use: Arc<InUse>) -> Self {
        let memory = Arc::new(Memory::default());
        let known = memory.clone();
        shared.when_gone(move |claim| known.forget(&claim.meta.uid));
        Self { shared, expansion, memory, in_use }
    }

    async fn pass(&self, key: &Key) -> Outcome {
        let (shared, caches) = (&self.shared, &self.shared.caches);
        let claim = match shared.claim(key).await {
            Ok(claim) => claim,
            Err(outcome) => return outcome,
        };
        let volume = match caches.volume_of(&claim, shared.scope()).await {
            Ok(volume) => volume.filter(|volume| is_ours(&claim, volume, shared.scope())),
            Err(error) => {
                base::error!(api::text(&error), "Cannot read the volume; will retry"; "claim" => key, "volume" => claim.volume);
                return Outcome::Retry;
            }
        };
        let Some(mut volume) = volume else {
            self.in_use.release(&claim);
            return Outcome::Done;
        };
        if has_stale_annotation(&claim, &volume) {
            let body = patch::without_former_size();
            if let Err(error) = caches.volumes.patch(&volume.meta, "", Format::Strategic, body).await {
                base::error!(api::text(&error), "Cannot remove annotation pre-resize-capacity; will retry"; "claim" => key, "volume" => claim.volume);
                return Outcome::Retry;
            }
            // A volume that the cache does not have is read anew.
            match caches.volume_of(&claim, shared.scope()).await {
                Ok(Some(latest)) => volume = latest,
                Ok(None) => return Outcome::Done,
                Err(_) => return Outcome::Retry,
            }
        }
        self.step(&claim, &volume).await
    }

    async fn step(&self, claim: &Arc<Claim>, volume: &Volume) -> Outcome {
        let uid = &claim.meta.uid;
        let Some(view) = View::new(claim, volume, self.memory.may_run(uid)) else { return Outcome::Done };
        let target = match decide(&view, self.expansion) {
            step @ (Step::Nothing | Step::WaitForNode) => {
                self.tell_recorded(claim);
                self.forget(claim);
                if step == Step::WaitForNode {
                    base::v!(4, "Waiting for the kubelet to expand the file system"; "claim" => claim.meta.key);
                }
                return Outcome::Done;
            }
            Step::Grow(target) => target,
        };
        if self.memory.may_run(uid).is_none() && view.says_refused() {
            // The next call takes the mark off, and it may turn out that it was not sent.
            self.memory.note_begun(uid);
        }
        if let Some(left) = self.memory.pause(uid).filter(|_| view.is_infeasible(target)) {
            base::v!(4, format!("skipping volume expansion for pvc {}, because expansion previously failed with infeasible error", claim.meta.key); "for" => format!("{left:?}"));
            return Outcome::After(left);
        }
        match self.grow(claim, volume, target).await {
            Ok(Progress::Gone) => {
                base::v!(3, "PVC is deleted or does not exist"; "PVC" => claim.meta.key);
                self.forget(claim);
                Outcome::Done
            }
            Ok(progress) => {
                base::v!(2, "Grown"; "claim" => claim.meta.key, "to" => target, "progress" => format!("{progress:?}"));
                // What was under way is finished; the claim may request more. The same size again means that the cache has
                // not taken our own write: after a restore of etcd it may not for minutes.
                match self.next(claim, volume) {
                    Some(next) if next == target => Outcome::Retry,
                    Some(_) => Outcome::After(Duration::ZERO),
                    None => Outcome::Done,
                }
            }
            Err(error) => self.failed(claim, volume, target, error).await,
        }
    }

    /// The size that the volume is to be grown to now, if any. If the cache lacks the volume, as it does some in-tree
    /// ones, `volume` is used.
    fn next(&self, claim: &Claim, volume: &Volume) -> Option<Quantity> {
        let caches = &self.shared.caches;
        let (latest, cached) = (caches.latest(claim)?, caches.volumes.get(&Key::cluster(&claim.volume)));
        let volume = cached.as_deref().unwrap_or(volume);
        let view = View::new(&latest, volume, self.memory.may_run(&claim.meta.uid))?;
        match decide(&view, self.expansion) {
            Step::Grow(target) => Some(target),
            Step::Nothing | Step::WaitForNode => None,
        }
    }

    /// The claim is gone, or needs nothing.
    fn forget(&self, claim: &Claim) {
        self.memory.forget(&claim.meta.uid);
        self.in_use.release(claim);
    }

    async fn failed(&self, claim: &Claim, volume: &Volume, target: Quantity, error: GrowthError) -> Outcome {
        let (shared, slow) = (&self.shared, self.shared.config.backoff.max);
        let (uid, verdict) = (&claim.meta.uid, error.verdict());
        // What the driver said is true whoever leads.
        match verdict {
            Verdict::Infeasible => self.memory.note_refusal(uid, Some(slow)),
            Verdict::Refused => self.memory.note_refusal(uid, None),
            // That was noted when the call was sent.
            Verdict::MayRun | Verdict::Unasked => {}
        }
        if !shared.seat.leadership.holds() {
            // Nobody's failure: whoever leads now goes on.
            return Outcome::Retry;
        }
        base::error!(error, "Failed to grow a volume"; "claim" => claim.meta.key, "volume" => volume.meta.name());
        let Some(latest) = shared.caches.latest(claim) else {
            self.forget(claim);
            return Outcome::Done;
        };
        if error.is_in_use() {
            self.in_use.record(claim);
        }
        if error.is_told() {
            let text = error.event(volume.meta.name(), &shared.config.driver);
            shared.tell(claim, Kind::Warning, "VolumeResizeFailed", text);
        }
        let message = format!("failed to expand pvc with {error}");
        let body = match verdict {
            Verdict::Infeasible | Verdict::Refused => {
                let is_infeasible = verdict == Verdict::Infeasible;
                patch::refused(&latest, &message, is_infeasible, &time(Timestamp::now()))
            }
            Verdict::MayRun | Verdict::Unasked => None,
        };
        match shared.write_failure(Operation::Growth, claim, body).await {
            FailureWrite::Done => {}
            FailureWrite::Gone => {
                self.forget(claim);
                return Outcome::Done;
            }
            FailureWrite::Unknown => {
                self.memory.note_unsure(uid);
                return Outcome::Retry;
            }
        }
        // The size that the user asks for by now does not wait for the end of this one's pause.
        let other = matches!(verdict, Verdict::Infeasible | Verdict::Refused)
            && self.next(claim, volume).is_some_and(|next| next != target);
        if other { Outcome::After(Duration::ZERO) } else { error.outcome(slow) }
    }
}

impl Job<Key> for Growths {
    async fn run(&self, key: Key) -> Outcome {
        self.pass(&key).await
    }
}

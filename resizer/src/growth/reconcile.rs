//! Takes the next step for the size of one claim.

use std::sync::Arc;
use std::time::Duration;

use base::quantity::Quantity;
use base::queue::{Job, Outcome};
use jiff::Timestamp;
use kubernetes::api::{self, Format};
use kubernetes::collection::Written;
use kubernetes::event::Kind;
use kubernetes::object::{Claim, Key, Volume};
use kubernetes::report::time;
use serde_json::Value;

use super::decide::{Step, View, decide, remembers_too_much};
use super::error::{GrowthError, Verdict};
use super::memory::Memory;
use super::patch;
use crate::config::{Expansion, TURN};
use crate::eligible::is_ours;
use crate::events::tell;
use crate::in_use::InUse;
use crate::queues::Who;
use crate::turns::Shared;

/// Grows volumes.
pub(crate) struct Growths {
    pub(super) shared: Arc<Shared>,
    pub(super) expansion: Expansion,
    pub(super) memory: Arc<Memory>,
    pub(super) in_use: Arc<InUse>,
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
        let told = memory.clone();
        shared.when_gone(move |claim| told.forget(&claim.meta.uid));
        Self { shared, expansion, memory, in_use }
    }

    async fn pass(&self, key: &Key) -> Outcome {
        let shared = &self.shared;
        let Some(claim) = shared.caches.claims.get(key) else { return Outcome::Done };
        let volume = match shared.caches.volume_of(&claim, shared.scope()).await {
            Ok(Some(volume)) => volume,
            Ok(None) => return Outcome::Done,
            Err(error) => {
                base::error!(api::text(&error), "Cannot read the volume; will retry"; "claim" => key, "volume" => claim.volume);
                return Outcome::Retry;
            }
        };
        if !is_ours(&claim, &volume, shared.scope()) {
            return Outcome::Done;
        }
        let Some(_turn) = shared.take_turn(&claim, Who::Growth) else { return Outcome::After(TURN) };
        // Whoever had the turn before may have changed the claim.
        let Some(claim) = shared.caches.latest(&claim) else { return Outcome::Done };
        if remembers_too_much(&claim, &volume) {
            let body = patch::forgets_former_size();
            if let Err(error) = shared.caches.volumes.patch(&volume.meta, "", Format::Strategic, body).await {
                base::error!(api::text(&error), "Cannot remove the former size from the volume; will retry"; "claim" => key, "volume" => claim.volume);
                return Outcome::Retry;
            }
        }
        self.step(&claim, &volume).await
    }

    async fn step(&self, claim: &Arc<Claim>, volume: &Volume) -> Outcome {
        let uid = &claim.meta.uid;
        let Some(view) = View::new(claim, volume, self.memory.refused(uid)) else { return Outcome::Done };
        let target = match decide(&view, self.expansion) {
            Step::Nothing => {
                self.forget(claim);
                return Outcome::Done;
            }
            Step::NodesTurn => {
                base::v!(4, "The node has to go on"; "claim" => claim.meta.key);
                return Outcome::Done;
            }
            Step::Grow(target) => target,
        };
        if let Some(left) = self.memory.pause(uid).filter(|_| view.is_infeasible(target)) {
            base::v!(4, format!("skipping volume expansion for pvc {}, because expansion previously failed with infeasible error", claim.meta.key); "for" => format!("{left:?}"));
            return Outcome::After(left);
        }
        match self.grow(claim, volume, target).await {
            Ok(progress) => {
                base::v!(2, "Grown"; "claim" => claim.meta.key, "to" => target, "progress" => format!("{progress:?}"));
                if progress == Progress::Gone {
                    self.forget(claim);
                }
                // What was under way is finished; the claim may request more.
                if self.next(claim, volume).is_some() {
                    Outcome::After(Duration::ZERO)
                } else {
                    Outcome::Done
                }
            }
            Err(error) => self.failed(claim, volume, target, error).await,
        }
    }

    /// The size that the volume is to be grown to now, if any. `volume` counts where the cache has none, as for some in-tree
    /// volumes.
    fn next(&self, claim: &Claim, volume: &Volume) -> Option<Quantity> {
        let caches = &self.shared.caches;
        let (latest, cached) = (caches.latest(claim)?, caches.volumes.get(&Key::cluster(&claim.volume)));
        let volume = cached.as_deref().unwrap_or(volume);
        let view = View::new(&latest, volume, self.memory.refused(&claim.meta.uid))?;
        match decide(&view, self.expansion) {
            Step::Grow(target) => Some(target),
            Step::Nothing | Step::NodesTurn => None,
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
            Verdict::Open | Verdict::None => {}
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
        let body = match verdict {
            Verdict::Infeasible | Verdict::Refused => {
                let message = format!("failed to expand pvc with {error}");
                patch::refused(&latest, &message, verdict == Verdict::Infeasible, &time(Timestamp::now()))
            }
            Verdict::Open | Verdict::None => None,
        };
        if let Some(body) = body
            && let Err(error) = self.write(claim, body).await
        {
            base::error!(api::text(&error), "Cannot write the failure into the status"; "claim" => claim.meta.key);
        }
        if error.is_in_use() {
            self.in_use.record(claim);
        }
        if error.is_told() {
            let text = error.event(volume.meta.name(), &shared.config.driver);
            tell(&shared.seat.events, claim, Kind::Warning, "VolumeResizeFailed", text);
        }
        // The size that the user asks for by now does not wait for the end of this one's pause.
        let other = matches!(verdict, Verdict::Infeasible | Verdict::Refused)
            && self.next(claim, volume).is_some_and(|next| next != target);
        if other { Outcome::After(Duration::ZERO) } else { error.outcome(slow) }
    }

    /// Sends one write to the status of a claim (see [`Shared::write`]).
    pub(super) async fn write(&self, claim: &Claim, body: Value) -> Result<Written, api::Error> {
        self.shared.write(Who::Growth, claim, body).await
    }
}

impl Job<Key> for Growths {
    async fn run(&self, key: Key) -> Outcome {
        self.pass(&key).await
    }
}

//! Takes the next step for the attributes of one claim's volume.

use std::sync::Arc;
use std::time::Duration;

use base::queue::{Job, Outcome};
use csi::code_name;
use jiff::Timestamp;
use kubernetes::api;
use kubernetes::event::Kind;
use kubernetes::object::{Claim, Key, Volume};
use kubernetes::report::time;
use kubernetes::waiting::Waiting;

use super::decide::{Step, View, decide};
use super::error::{Awaited, ModifyError, is_infeasible, is_open};
use super::memory::Memory;
use super::patch::{self, Told};
use crate::config::TURN;
use crate::eligible::is_ours;
use crate::events::tell;
use crate::queues::Who;
use crate::turns::Shared;

/// Modifies volumes.
pub(crate) struct Modifications {
    pub(super) shared: Arc<Shared>,
    pub(super) memory: Arc<Memory>,
    waiting: Arc<Waiting<Awaited>>,
}

impl Modifications {
    /// Nothing is known of any claim yet.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let memory = Arc::new(Memory::default());
        let told = memory.clone();
        shared.when_gone(move |claim| told.forget(&claim.meta.uid));
        let wake = shared.queues.waker(Who::Modification);
        let waiting = Waiting::new(shared.caches.claims.store(), wake);
        let driver = shared.config.driver.clone();
        waiting.follow(Awaited::Class, &shared.caches.classes, move |class| class.driver == driver);
        Self { shared, memory, waiting }
    }

    async fn pass(&self, key: &Key) -> Outcome {
        self.waiting.leave(key);
        let caches = &self.shared.caches;
        let Some(claim) = caches.claims.get(key) else { return Outcome::Done };
        let Some(volume) = caches.volumes.get(&Key::cluster(&claim.volume)) else { return Outcome::Done };
        if volume.spec.csi.is_none() || !is_ours(&claim, &volume, self.shared.scope()) {
            return Outcome::Done;
        }
        let Some(_turn) = self.shared.take_turn(&claim, Who::Modification) else {
            return Outcome::After(TURN);
        };
        // Whoever had the turn before may have changed the claim.
        let Some(claim) = caches.latest(&claim) else { return Outcome::Done };
        self.step(&claim, &volume).await
    }

    async fn step(&self, claim: &Arc<Claim>, volume: &Volume) -> Outcome {
        let (uid, key) = (&claim.meta.uid, &claim.meta.key);
        let Some(view) = View::new(claim, self.memory.is_uncertain(uid)) else { return Outcome::Done };
        let class = match decide(&view) {
            Step::Nothing => return Outcome::Done,
            Step::Cancel => return self.cancel(claim).await,
            Step::Start(class) | Step::Resume(class) => class,
        };
        if let Some(left) = self.memory.pause(uid).filter(|_| view.is_infeasible(class)) {
            base::v!(4, "Not modifying yet: the driver said that it cannot"; "claim" => key, "for" => format!("{left:?}"));
            return Outcome::After(left);
        }
        match self.modify(claim, volume, class).await {
            Ok(()) => {
                base::v!(2, "Modified"; "claim" => key, "class" => class);
                // What was under way is finished; the claim may name another class.
                if self.is_next(claim, |step| step != Step::Nothing) {
                    Outcome::After(Duration::ZERO)
                } else {
                    Outcome::Done
                }
            }
            Err(error) => self.failed(claim, class, error).await,
        }
    }

    /// Whether the next step is one of these. Of a claim that is gone, nothing is remembered.
    fn is_next(&self, claim: &Claim, wanted: impl Fn(Step<'_>) -> bool) -> bool {
        let uid = &claim.meta.uid;
        let Some(latest) = self.shared.caches.latest(claim) else {
            self.memory.forget(uid);
            self.waiting.leave(&claim.meta.key);
            return false;
        };
        View::new(&latest, self.memory.is_uncertain(uid)).is_some_and(|view| wanted(decide(&view)))
    }

    async fn cancel(&self, claim: &Claim) -> Outcome {
        let events = &self.shared.seat.events;
        if let Err(error) = self.shared.write(Who::Modification, claim, patch::cancelled()).await {
            base::error!(api::text(&error), "Cannot write that the modification is cancelled; will retry"; "claim" => claim.meta.key);
            return Outcome::Retry;
        }
        self.memory.forget(&claim.meta.uid);
        tell(events, claim, Kind::Normal, "VolumeModifyCanceled", "Cancelled modify.".to_owned());
        Outcome::Done
    }

    async fn failed(&self, claim: &Claim, class: &str, error: ModifyError) -> Outcome {
        let (shared, slow) = (&self.shared, self.shared.config.backoff.max);
        let uid = &claim.meta.uid;
        // What the driver said is true whoever leads.
        match error.answer() {
            // That was noted when the call was sent.
            Some(status) if is_open(status) => {}
            Some(status) => self.memory.note_refusal(uid, Some(slow).filter(|_| is_infeasible(status))),
            None => {}
        }
        if !shared.seat.leadership.holds() {
            // Nobody's failure: whoever leads now goes on.
            return Outcome::Retry;
        }
        base::error!(error, "Failed to modify a volume"; "claim" => claim.meta.key, "class" => class);
        let mut text = error.to_string();
        let mut body = None;
        let latest = shared.caches.latest(claim);
        if let Some(status) = error.answer() {
            let told = Told {
                is_open: is_open(status),
                is_infeasible: is_infeasible(status),
                code: code_name(status.code()),
                text: status.message(),
            };
            if told.is_open {
                text.push_str(&format!(". Still modifying to VAC {class}"));
            }
            body = latest.map(|latest| patch::failed(&latest, class, told, &time(Timestamp::now())));
        } else if error.waits_on().is_some() {
            body = latest
                .filter(|latest| *latest.attributes_class == *class)
                .and_then(|latest| patch::pending(&latest));
        }
        if let Some(body) = body
            && let Err(error) = shared.write(Who::Modification, claim, body).await
        {
            base::error!(api::text(&error), "Cannot write the failure into the status"; "claim" => claim.meta.key);
        }
        if error.is_told() {
            tell(&shared.seat.events, claim, Kind::Warning, "VolumeModifyFailed", text);
        }
        if let Some(on) = error.waits_on() {
            self.waiting.wait(&claim.meta.key, on);
        }
        // The class that the claim names by now does not wait for the end of this one's pause.
        let is_refused = error.answer().is_some_and(|status| !is_open(status));
        let other = |step: Step<'_>| matches!(step, Step::Start(next) if next != class);
        if self.is_next(claim, other) && is_refused {
            Outcome::After(Duration::ZERO)
        } else {
            error.outcome(slow)
        }
    }
}

impl Job<Key> for Modifications {
    async fn run(&self, key: Key) -> Outcome {
        self.pass(&key).await
    }
}

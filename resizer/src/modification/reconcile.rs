//! Takes the next step for the attributes of one claim's volume.

use std::sync::Arc;
use std::time::Duration;

use base::queue::{Job, Outcome};
use csi::code_name;
use jiff::Timestamp;
use kubernetes::api;
use kubernetes::event::Kind;
use kubernetes::object::{Claim, CsiSource, Key, Volume};
use kubernetes::report::time;
use kubernetes::waiting::Waiting;

use super::decide::{Step, View, decide};
use super::error::{Awaited, ModifyError, is_infeasible, is_open};
use super::patch::{self, Failure};
use crate::eligible::is_ours;
use crate::memory::Memory;
use crate::queues::Operation;
use crate::shared::{FailureWrite, Shared};

/// Modifies volumes.
pub(crate) struct Modifications {
    pub(super) shared: Arc<Shared>,
    pub(super) memory: Arc<Memory<Box<str>, ()>>,
    waiting: Arc<Waiting<Awaited>>,
}

/// How an attempt ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is done.
    Finished,
    /// The claim or the volume is gone.
    Gone,
}

impl Modifications {
    /// Nothing is known of any claim yet.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let memory = Arc::new(Memory::default());
        let known = memory.clone();
        shared.when_gone(move |claim| known.forget(&claim.meta.uid));
        let wake = shared.queues.waker(Operation::Modification);
        let waiting = Waiting::new(shared.caches.claims.store(), wake);
        let driver = shared.config.driver.clone();
        waiting.follow(Awaited::Class, &shared.caches.classes, move |class| class.driver == driver);
        Self { shared, memory, waiting }
    }

    async fn pass(&self, key: &Key) -> Outcome {
        self.waiting.leave(key);
        let caches = &self.shared.caches;
        let claim = match self.shared.claim(key).await {
            Ok(claim) => claim,
            Err(outcome) => return outcome,
        };
        let Some(volume) = caches.volumes.get(&Key::cluster(&claim.volume)) else { return Outcome::Done };
        let source = volume.spec.csi.as_deref().filter(|_| is_ours(&claim, &volume, self.shared.scope()));
        let Some(source) = source else { return Outcome::Done };
        self.step(&claim, &volume, source).await
    }

    async fn step(&self, claim: &Arc<Claim>, volume: &Volume, source: &CsiSource) -> Outcome {
        let (uid, key) = (&claim.meta.uid, &claim.meta.key);
        let Some(view) = View::new(claim, self.memory.may_run(uid)) else { return Outcome::Done };
        let class = match decide(&view) {
            Step::Nothing => {
                // The reply to the last write was lost, and the write was not.
                if self.memory.take_done(uid).is_some() {
                    self.tell_modified(claim, view.current);
                }
                self.memory.forget(uid);
                return Outcome::Done;
            }
            Step::Cancel => return self.cancel(claim).await,
            Step::Resume(class) => class,
            Step::Start(class) => {
                let is_new = !view.is_begun(class);
                if is_new && self.memory.take_done(uid).is_some() && view.last.is_none() {
                    self.tell_modified(claim, view.current);
                }
                if is_new || self.memory.may_run(uid).is_none() {
                    // Nothing is under way, or a modification would be resumed.
                    self.memory.note_begun(uid);
                }
                class
            }
        };
        if let Some(left) = self.memory.pause(uid).filter(|_| view.is_infeasible(class)) {
            base::v!(4, format!("skipping volume modification for pvc {key}, because modification previously failed with infeasible error"); "for" => format!("{left:?}"));
            return Outcome::After(left);
        }
        match self.modify(claim, volume, source, class).await {
            Ok(Progress::Gone) => {
                base::v!(3, "PVC is deleted or does not exist"; "PVC" => key);
                self.forget(claim);
                Outcome::Done
            }
            Ok(Progress::Finished) => {
                base::v!(2, "Modified"; "claim" => key, "class" => class);
                // What was under way is finished; the claim may name another class. The same class again means that the
                // cache has not taken our own write: after a restore of etcd it may not for minutes.
                match self.next(claim) {
                    Some(next) if *next == *class => Outcome::Retry,
                    Some(_) => Outcome::After(Duration::ZERO),
                    None => Outcome::Done,
                }
            }
            Err(error) => self.failed(claim, class, error).await,
        }
    }

    /// The class of the next step; empty for a cancellation. `None` if there is nothing to do.
    fn next(&self, claim: &Claim) -> Option<Box<str>> {
        let latest = self.shared.caches.latest(claim)?;
        match decide(&View::new(&latest, self.memory.may_run(&claim.meta.uid))?) {
            Step::Nothing => None,
            Step::Cancel => Some(Box::default()),
            Step::Resume(class) | Step::Start(class) => Some(class.into()),
        }
    }

    /// The claim is gone.
    fn forget(&self, claim: &Claim) {
        self.memory.forget(&claim.meta.uid);
        self.waiting.leave(&claim.meta.key);
    }

    async fn cancel(&self, claim: &Claim) -> Outcome {
        if let Err(error) = self.shared.write(Operation::Modification, claim, patch::cancelled()).await {
            base::error!(api::text(&error), "Cannot write that the modification is cancelled; will retry"; "claim" => claim.meta.key);
            return Outcome::Retry;
        }
        self.memory.forget(&claim.meta.uid);
        self.shared.tell(claim, Kind::Normal, "VolumeModifyCanceled", "Cancelled modify.".to_owned());
        Outcome::Done
    }

    async fn failed(&self, claim: &Claim, class: &str, error: ModifyError) -> Outcome {
        let (shared, slow) = (&self.shared, self.shared.config.backoff.max);
        let uid = &claim.meta.uid;
        let answer = error.answer();
        // What the driver said is true whoever leads. That a call is open was noted when it was sent.
        if let Some(status) = answer.filter(|status| !is_open(status)) {
            self.memory.note_refusal(uid, Some(slow).filter(|_| is_infeasible(status)));
        }
        if !shared.seat.leadership.holds() {
            // Nobody's failure: whoever leads now goes on.
            return Outcome::Retry;
        }
        base::error!(error, "Failed to modify a volume"; "claim" => claim.meta.key, "class" => class);
        let Some(latest) = shared.caches.latest(claim) else {
            self.forget(claim);
            return Outcome::Done;
        };
        let mut text = error.to_string();
        let body = match answer {
            Some(status) => {
                let failure = Failure {
                    is_open: is_open(status),
                    is_infeasible: is_infeasible(status),
                    code: code_name(status.code()),
                    text: status.message(),
                };
                if failure.is_open {
                    text.push_str(&format!(". Still modifying to VAC {class}"));
                }
                Some(patch::failed(&latest, class, failure, &time(Timestamp::now())))
            }
            None if error.waits_on().is_some() && ["", class].contains(&&*latest.attributes_class) => {
                patch::pending(&latest)
            }
            None => None,
        };
        if error.is_told() {
            shared.tell(claim, Kind::Warning, "VolumeModifyFailed", text);
        }
        match shared.write_failure(Operation::Modification, claim, body).await {
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
        if let Some(on) = error.waits_on() {
            // Nobody can finish what a class began that is gone: the one that the claim names is free.
            self.memory.note_begun(uid);
            self.waiting.wait(&claim.meta.key, on);
        }
        // The class that the claim names by now does not wait for the end of this one's pause.
        let is_free = answer.is_some_and(|status| !is_open(status)) || error.waits_on().is_some();
        if is_free && self.next(claim).is_some_and(|next| *next != *class) {
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

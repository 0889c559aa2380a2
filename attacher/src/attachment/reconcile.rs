//! Takes one attachment from its state to its next step, and holds what all such passes share.

use std::sync::Arc;

use base::in_flight::InFlight;
use base::queue::{Job, Outcome, WorkQueue};
use jiff::Timestamp;
use kubernetes::api::{self, Format};
use kubernetes::object::{Attachment, Key, Meta};
use kubernetes::own_writes::OwnWrites;
use kubernetes::secret::SecretRef;
use kubernetes::waiting::Waiting;
use process::Seat;
use serde_json::Value;
use translation::Translation;

use super::contradiction::Contradictions;
use super::decide::{Step, decide};
use super::error::{AttachError, Awaited, DetachError};
use super::report::{Report, is_news, time};
use super::shared::{Progress, Shared, waker};
use super::target::Targets;
use super::{events, patch};
use crate::caches::Caches;
use crate::config::{Config, TURN};
use crate::publication::registry::{Calls, Publications};

/// Attaches and detaches.
pub(crate) struct Attachments {
    shared: Shared,
    contradictions: Arc<Contradictions>,
}

impl Attachments {
    /// Creates a reconciler that takes its attachments from `queue` and writes its publications down in `publications`.
    pub(crate) fn new(
        (config, seat, caches): (Arc<Config>, Seat, Caches),
        translation: Arc<dyn Translation>,
        queue: &WorkQueue<Key>,
        contradictions: Arc<Contradictions>,
        publications: Arc<Publications>,
    ) -> Self {
        let attachments = caches.attachments.store();
        let wake = waker(queue, attachments);
        let own = OwnWrites::new({
            let wake = wake.clone();
            move |key| wake(key)
        });
        events::follow(queue, attachments, &config, &own);
        let waiting = Waiting::new(attachments, {
            let wake = wake.clone();
            move |key| wake(key)
        });
        waiting.follow(Awaited::Volume, caches.volumes.store(), |_| true);
        waiting.follow(Awaited::LiveVolume, caches.volumes.store(), |volume| !volume.meta.deleting);
        waiting.follow(Awaited::Node, &caches.nodes, |node| node.driver.is_some());
        let targets = Targets {
            driver: config.driver.clone(),
            volumes: caches.volumes.clone(),
            objects: seat.objects.clone(),
            translation,
        };
        let calls = Arc::new(InFlight::default());
        let shared = Shared { config, seat, caches, targets, publications, calls, waiting, own, wake };
        Self { shared, contradictions }
    }

    /// The calls under way, for whoever else calls the driver.
    pub(crate) fn calls(&self) -> Arc<Calls> {
        self.shared.calls.clone()
    }

    /// Polls for the missing Secrets that attachments wait for. Never ends.
    pub(crate) async fn poll_secrets(&self) {
        self.shared.waiting.poll_secrets(&self.shared.seat.objects).await;
    }

    async fn pass(&self, key: &Key) -> Outcome {
        let missing = self.shared.waiting.leave(key);
        let work = self.contradictions.begin(key);
        let Some(attachment) = self.shared.caches.attachments.get(key) else { return Outcome::Done };
        let outcome = self.step(&attachment, work.is_forced(), missing.as_ref()).await;
        match outcome {
            Outcome::Done => {}
            Outcome::Retry | Outcome::RetryWithin(_) => work.failed(),
            Outcome::After(_) => work.postponed(),
        }
        outcome
    }

    async fn step(&self, attachment: &Attachment, forced: bool, missing: Option<&SecretRef>) -> Outcome {
        match decide(attachment, self.shared.config.role(), forced) {
            Step::Ignore => {
                // Another attacher may have recorded what we published.
                if attachment.attached && !attachment.meta.deleting {
                    self.shared.publications.settle(&attachment.meta.uid);
                }
                Outcome::Done
            }
            Step::MarkAttached => self.mark_attached(attachment).await,
            Step::Attach => match self.shared.attach(attachment, missing).await {
                Ok(progress) => self.ended("Attached", attachment, progress),
                Err(error) => self.attach_failed(attachment, error).await,
            },
            Step::Detach => match self.shared.detach(attachment, missing).await {
                Ok(progress) => self.ended("Detached", attachment, progress),
                Err(error) => self.detach_failed(attachment, error).await,
            },
        }
    }

    fn ended(&self, what: &str, attachment: &Attachment, progress: Progress) -> Outcome {
        match progress {
            Progress::Done => {
                base::v!(2, what; "attachment" => attachment.meta.key, "node" => attachment.node);
                Outcome::Done
            }
            // The event or reply that showed a deletion has queued what comes next.
            Progress::Gone | Progress::Deleted => Outcome::Done,
            Progress::Busy => Outcome::After(TURN),
        }
    }

    async fn mark_attached(&self, attachment: &Attachment) -> Outcome {
        match self.shared.write(&attachment.meta, "status", Format::Merge, patch::marked()).await {
            Ok(_) => self.ended("Marked as attached", attachment, Progress::Done),
            Err(error) => {
                base::error!(api::text(&error), "Cannot write status.attached; will retry"; "attachment" => attachment.meta.key);
                Outcome::Retry
            }
        }
    }

    async fn attach_failed(&self, attachment: &Attachment, error: AttachError) -> Outcome {
        let key = &attachment.meta.key;
        base::error!(error, "Failed to attach"; "attachment" => key, "node" => attachment.node);
        let report = Report::new(error.to_string(), error.code().filter(|_| self.shared.config.error_code));
        let reported = |latest: &Attachment| {
            error.is_reported() && is_news(latest.attach_error.as_deref(), &report, Timestamp::now())
        };
        if let Some(latest) = self.shared.latest(attachment).filter(|latest| reported(latest)) {
            self.report(&latest.meta, patch::attach_error(&report, &time(Timestamp::now()))).await;
        }
        if let Some(on) = error.waits_on() {
            self.shared.waiting.wait(key, on);
        }
        error.outcome()
    }

    async fn detach_failed(&self, attachment: &Attachment, error: DetachError) -> Outcome {
        let key = &attachment.meta.key;
        base::error!(error, "Failed to detach"; "attachment" => key, "node" => attachment.node);
        let report = Report::new(error.to_string(), None);
        let reported = |latest: &Attachment| {
            let bound = latest.meta.has_finalizer(&self.shared.config.finalizer);
            error.is_reported(bound) && is_news(latest.detach_error.as_deref(), &report, Timestamp::now())
        };
        if let Some(latest) = self.shared.latest(attachment).filter(|latest| reported(latest)) {
            self.report(&latest.meta, patch::detach_error(&report, &time(Timestamp::now()))).await;
        }
        if let Some(on) = error.waits_on() {
            self.shared.waiting.wait(key, on);
        }
        error.outcome()
    }

    /// Writes the error into the status. A failed write is only logged, as the attempt is repeated in any
    /// case.
    async fn report(&self, meta: &Meta, body: Value) {
        if let Err(error) = self.shared.write(meta, "status", Format::Merge, body).await {
            base::error!(api::text(&error), "Cannot write the error into the status"; "attachment" => meta.key);
        }
    }
}

impl Job<Key> for Attachments {
    async fn run(&self, key: Key) -> Outcome {
        self.pass(&key).await
    }
}

//! Takes the next step for one attachment. Failures go into the log and into the attachment's status.

use base::queue::{Job, Outcome};
use jiff::Timestamp;
use kubernetes::api::{self, Format};
use kubernetes::object::{Attachment, Key};
use kubernetes::report::{Report, is_news, time};
use kubernetes::secret::SecretRef;
use serde_json::Value;

use super::attachments::{Attachments, Progress};
use super::decide::{Step, decide};
use super::error::{AttachError, DetachError, On};
use super::patch;
use crate::config::TURN;

impl Attachments {
    async fn pass(&self, key: &Key) -> Outcome {
        let missing = self.waiting.leave(key);
        let work = self.contradictions.begin(key);
        let Some(attachment) = self.caches.attachments.get(key) else { return Outcome::Done };
        let outcome = self.step(&attachment, work.is_forced(), missing.as_ref()).await;
        match outcome {
            Outcome::Done => {}
            Outcome::Retry | Outcome::RetryWithin(_) => work.failed(),
            Outcome::After(_) => work.postponed(),
        }
        outcome
    }

    async fn step(&self, attachment: &Attachment, forced: bool, missing: Option<&SecretRef>) -> Outcome {
        match decide(attachment, self.config.role(), forced) {
            Step::Ignore => {
                // Another attacher may have recorded what we published.
                if attachment.attached && !attachment.meta.deleting {
                    self.publications.settle(&attachment.meta.uid);
                }
                Outcome::Done
            }
            Step::MarkAttached => self.set(attachment, "Marked as attached", patch::marked()).await,
            Step::ClearError => self.set(attachment, "Removed a late error", patch::no_error()).await,
            Step::Attach => match self.attach(attachment, missing).await {
                Ok(progress) => self.ended("Attached", attachment, progress),
                Err(error) => self.attach_failed(attachment, error).await,
            },
            Step::Detach => match self.detach(attachment, missing).await {
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
            Progress::Over => Outcome::Done,
            Progress::Busy => Outcome::After(TURN),
        }
    }

    /// Writes the status and nothing else.
    async fn set(&self, attachment: &Attachment, what: &str, body: Value) -> Outcome {
        match self.write(&attachment.meta, "status", Format::Merge, body).await {
            Ok(_) => self.ended(what, attachment, Progress::Done),
            Err(error) => {
                base::error!(api::text(&error), "Cannot write the status; will retry"; "attachment" => attachment.meta.key);
                Outcome::Retry
            }
        }
    }

    async fn attach_failed(&self, attachment: &Attachment, error: AttachError) -> Outcome {
        let report = Report::new(error.to_string(), error.code().filter(|_| self.config.error_code));
        let news = |latest: &Attachment, now| {
            let news = error.is_reported() && is_news(latest.attach_error.as_deref(), &report, now);
            news.then(|| patch::attach_error(&report, &time(now)))
        };
        self.failed("Failed to attach", attachment, &error, news).await;
        self.wait(attachment, error.waits_on());
        error.outcome()
    }

    async fn detach_failed(&self, attachment: &Attachment, error: DetachError) -> Outcome {
        let report = Report::new(error.to_string(), None);
        let news = |latest: &Attachment, now| {
            let bound = latest.meta.has_finalizer(&self.config.finalizer);
            let news = error.is_reported(bound) && is_news(latest.detach_error.as_deref(), &report, now);
            news.then(|| patch::detach_error(&report, &time(now)))
        };
        self.failed("Failed to detach", attachment, &error, news).await;
        self.wait(attachment, error.waits_on());
        error.outcome()
    }

    /// Logs a failure, and writes it into the status if that is news. A failed write is only logged, as the attempt is
    /// repeated in any case.
    async fn failed(
        &self,
        what: &str,
        attachment: &Attachment,
        error: &(dyn std::error::Error + Sync),
        news: impl Fn(&Attachment, Timestamp) -> Option<Value>,
    ) {
        let key = &attachment.meta.key;
        base::error!(error, what; "attachment" => key, "node" => attachment.node);
        let Some(latest) = self.latest(attachment) else { return };
        let Some(body) = news(&latest, Timestamp::now()) else { return };
        if let Err(error) = self.write(&latest.meta, "status", Format::Merge, body).await {
            base::error!(api::text(&error), "Cannot write the error into the status"; "attachment" => key);
        }
    }

    fn wait(&self, attachment: &Attachment, on: Option<On>) {
        if let Some(on) = on {
            self.waiting.wait(&attachment.meta.key, on);
        }
    }
}

impl Job<Key> for Attachments {
    async fn run(&self, key: Key) -> Outcome {
        self.pass(&key).await
    }
}

//! Takes one attachment from its state to its next step, and holds what all such passes share.

use std::sync::Arc;
use std::time::Duration;

use base::queue::{Job, Outcome, WorkQueue};
use jiff::Timestamp;
use kubernetes::api::{self, Format};
use kubernetes::collection::Collection;
use kubernetes::object::{Attachment, CsiNode, Key, Meta, Volume};
use kubernetes::secret::SecretRef;
use kubernetes::store::Store;
use process::Seat;
use serde_json::Value;
use translation::Translation;

use super::decide::{Step, decide};
use super::error::{AttachError, DetachError};
use super::facts::{Source, node_id_for_detach, source};
use super::in_flight::InFlight;
use super::intake::feed;
use super::mark::Marks;
use super::own::OwnWrites;
use super::patch;
use super::report::{Report, is_news, time};
use super::waiting::Waiting;
use super::wake::{send_on, waker};
use crate::config::Config;
use crate::volume::hold::Holds;
use crate::withdrawal::reconcile::Withdrawals;

/// How long an attachment waits at most for another's call for the same volume and node. The end of that call
/// queues it earlier.
pub(crate) const TURN: Duration = Duration::from_secs(60);

/// Attaches and detaches.
pub struct Attachments {
    pub(super) config: Arc<Config>,
    pub(super) seat: Seat,
    pub(super) attachments: Collection<Attachment>,
    pub(super) volumes: Collection<Volume>,
    pub(super) nodes: Arc<Store<CsiNode>>,
    pub(super) translation: Arc<dyn Translation>,
    pub(super) withdrawals: Arc<Withdrawals>,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) holds: Holds,
    pub(super) queue: WorkQueue<Key>,
    marks: Arc<Marks>,
    pub(super) waiting: Arc<Waiting>,
    pub(super) own: Arc<OwnWrites>,
}

/// The caches that attaching reads.
#[derive(Clone)]
pub struct Caches {
    /// Every attachment.
    pub attachments: Collection<Attachment>,
    /// Our volumes.
    pub volumes: Collection<Volume>,
    /// Every node.
    pub nodes: Arc<Store<CsiNode>>,
}

impl Caches {
    /// The driver's id of an attachment's volume, from the note or else from the volume; `None` if neither
    /// has it.
    pub fn handle(&self, attachment: &Attachment) -> Option<Box<str>> {
        match source(attachment).ok()? {
            Source::Inline(_, csi) => Some(csi.volume_handle.clone()),
            Source::Volume(name) => attachment.volume_handle.clone().or_else(|| {
                let volume = self.volumes.get(&Key::cluster(name))?;
                Some(volume.spec.csi.as_ref()?.volume_handle.clone())
            }),
        }
    }

    /// The driver's id of an attachment's node; `None` if it is not known.
    pub fn node_id(&self, driver: &str, attachment: &Attachment) -> Option<Arc<str>> {
        let node = self.nodes.get(&Key::cluster(&attachment.node));
        node_id_for_detach(driver, attachment, node.as_deref()).ok()
    }
}

/// How an attempt ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The work is done.
    Done,
    /// The attachment is gone.
    Gone,
    /// The attachment was deleted meanwhile; its detach comes next.
    Deleted,
    /// Another call for the same volume and node is under way.
    Busy,
}

impl Attachments {
    /// Creates a reconciler that takes its attachments from `queue` and holds volumes in `holds`.
    pub fn new(
        config: Arc<Config>,
        seat: Seat,
        caches: Caches,
        translation: Arc<dyn Translation>,
        queue: WorkQueue<Key>,
        marks: Arc<Marks>,
        holds: Holds,
    ) -> Self {
        let in_flight = Arc::new(InFlight::default());
        let withdrawals = Withdrawals::new(config.clone(), seat.clone(), caches.clone(), in_flight.clone());
        let Caches { attachments, volumes, nodes } = caches;
        let (own, waiting) = (Arc::new(OwnWrites::default()), Arc::new(Waiting::default()));
        feed(&queue, attachments.store(), &config, &own);
        let wake = waker(&queue, attachments.store());
        send_on(&waiting, (attachments.store(), volumes.store(), &nodes), &wake);
        Self {
            config,
            seat,
            attachments,
            volumes,
            nodes,
            translation,
            withdrawals: Arc::new(withdrawals),
            in_flight,
            holds,
            queue,
            marks,
            waiting,
            own,
        }
    }

    /// Creates what unpublishes volumes whose attachments are gone. The caller runs it.
    pub fn withdrawals(&self) -> Arc<Withdrawals> {
        self.withdrawals.clone()
    }

    async fn pass(&self, key: &Key) -> Outcome {
        let missing = self.waiting.leave(key);
        let pass = self.marks.begin(key);
        let attachment = self.attachments.get(key);
        self.withdrawals.attachment_is(key, attachment.as_ref().map(|attachment| &attachment.meta.uid));
        let Some(attachment) = attachment else { return Outcome::Done };
        let outcome = self.step(&attachment, pass.is_forced(), missing.as_ref()).await;
        match outcome {
            Outcome::Done => {}
            Outcome::Retry | Outcome::RetryWithin(_) => pass.failed(),
            Outcome::After(_) => pass.postponed(),
        }
        let left = self.attachments.get(key);
        self.withdrawals.attachment_is(key, left.as_ref().map(|attachment| &attachment.meta.uid));
        // A deleted attachment is detached next, and that settles its publication.
        if outcome == Outcome::Done && left.is_some_and(|attachment| !attachment.meta.deleting) {
            self.withdrawals.open.settle(key);
        }
        outcome
    }

    async fn step(&self, attachment: &Attachment, forced: bool, missing: Option<&SecretRef>) -> Outcome {
        match decide(attachment, self.config.role(), forced) {
            Step::Ignore => {
                if attachment.meta.deleting {
                    // Without our finalizer nothing asks for its detach: treat it as gone.
                    self.withdrawals.attachment_is(&attachment.meta.key, None);
                }
                Outcome::Done
            }
            Step::MarkAttached => self.mark_attached(attachment).await,
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
            Progress::Gone => {
                // The cache may not show it yet.
                self.withdrawals.attachment_is(&attachment.meta.key, None);
                Outcome::Done
            }
            // The event or reply that showed the deletion has queued it.
            Progress::Deleted => Outcome::Done,
            Progress::Busy => Outcome::After(TURN),
        }
    }

    async fn mark_attached(&self, attachment: &Attachment) -> Outcome {
        match self.write(&attachment.meta, "status", Format::Merge, patch::marked()).await {
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
        let report = Report::new(error.to_string(), error.code().filter(|_| self.config.error_code));
        let reported = |latest: &Attachment| {
            error.is_reported() && is_news(latest.attach_error.as_deref(), &report, Timestamp::now())
        };
        if let Some(latest) = self.latest(attachment).filter(|latest| reported(latest)) {
            self.report(&latest.meta, patch::attach_error(&report, &time(Timestamp::now()))).await;
        }
        self.wait(key, error.waits_on());
        error.outcome()
    }

    async fn detach_failed(&self, attachment: &Attachment, error: DetachError) -> Outcome {
        let key = &attachment.meta.key;
        base::error!(error, "Failed to detach"; "attachment" => key, "node" => attachment.node);
        let report = Report::new(error.to_string(), None);
        let reported = |latest: &Attachment| {
            let bound = latest.meta.has_finalizer(&self.config.finalizer);
            error.is_reported(bound) && is_news(latest.detach_error.as_deref(), &report, Timestamp::now())
        };
        if let Some(latest) = self.latest(attachment).filter(|latest| reported(latest)) {
            self.report(&latest.meta, patch::detach_error(&report, &time(Timestamp::now()))).await;
        }
        self.wait(key, error.waits_on());
        error.outcome()
    }

    /// The attachment as the cache has it now. A re-created attachment of the same name is not it.
    pub(super) fn latest(&self, attachment: &Attachment) -> Option<Arc<Attachment>> {
        let Meta { key, uid, .. } = &attachment.meta;
        self.attachments.get(key).filter(|latest| latest.meta.uid == *uid)
    }

    /// Writes the error into the status. A failed write is only logged, as the attempt is repeated in any
    /// case.
    async fn report(&self, meta: &Meta, body: Value) {
        if let Err(error) = self.write(meta, "status", Format::Merge, body).await {
            base::error!(api::text(&error), "Cannot write the error into the status"; "attachment" => meta.key);
        }
    }
}

impl Job<Key> for Attachments {
    async fn run(&self, key: Key) -> Outcome {
        self.pass(&key).await
    }
}

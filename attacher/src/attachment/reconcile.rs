//! One pass over one attachment, and what all passes share.

use std::sync::Arc;
use std::time::Duration;

use common::kube::api::{self, Format};
use common::kube::object::{Attachment, CsiNode, Key, Meta, Volume, WireAttachment};
use common::kube::store::{Change, Store};
use common::process::Process;
use common::queue::{Job, Outcome, WorkQueue};
use jiff::Timestamp;
use kube::Resource;
use serde_json::Value;
use translation::Translation;

use super::decide::{Step, decide, place};
use super::error::{AttachError, DetachError};
use super::in_flight::{Claim, InFlight, Pair};
use super::intake::feed;
use super::mark::Marks;
use super::own::OwnWrites;
use super::patch;
use super::report::{Report, is_news, time};
use super::waiting::{On, Waiting};
use crate::config::Config;
use crate::withdrawal::reconcile::Withdrawals;

/// How long one waits for another's call for the same volume and node at the most; its end wakes it earlier.
pub(crate) const TURN: Duration = Duration::from_secs(60);

/// Attaches and detaches.
pub struct Attachments {
    pub(super) config: Arc<Config>,
    pub(super) process: Process,
    pub(super) attachments: Arc<Store<Attachment>>,
    pub(super) volumes: Arc<Store<Volume>>,
    pub(super) nodes: Arc<Store<CsiNode>>,
    pub(super) translation: Arc<dyn Translation>,
    pub(super) withdrawals: Arc<Withdrawals>,
    in_flight: Arc<InFlight>,
    queue: WorkQueue<Key>,
    marks: Arc<Marks>,
    pub(super) waiting: Arc<Waiting>,
    own: Arc<OwnWrites>,
}

/// The caches that attaching looks at.
#[derive(Clone)]
pub struct Caches {
    /// Every attachment.
    pub attachments: Arc<Store<Attachment>>,
    /// Our volumes.
    pub volumes: Arc<Store<Volume>>,
    /// Every node.
    pub nodes: Arc<Store<CsiNode>>,
}

/// How far an attempt came that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// To the end.
    Done,
    /// The attachment is gone.
    Gone,
    /// Another attachment's call for the same volume and node is under way.
    Busy,
}

/// What a write found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// The object, which is still there.
    Kept,
    /// The object is gone, by this write or before it.
    Gone,
}

impl Attachments {
    /// A reconciler whose attachments come through `queue`.
    pub fn new(
        config: Arc<Config>,
        process: Process,
        caches: Caches,
        translation: Arc<dyn Translation>,
        queue: WorkQueue<Key>,
        marks: Arc<Marks>,
    ) -> Self {
        let in_flight = Arc::new(InFlight::default());
        let withdrawals =
            Withdrawals::new(config.clone(), process.clone(), caches.clone(), in_flight.clone());
        let Caches { attachments, volumes, nodes } = caches;
        let (own, waiting) = (Arc::new(OwnWrites::default()), Arc::new(Waiting::default()));
        feed(&queue, &attachments, &config, &own);
        send_on(&waiting, (&attachments, &volumes, &nodes), &waker(&queue, &attachments));
        Self {
            config,
            process,
            attachments,
            volumes,
            nodes,
            translation,
            withdrawals: Arc::new(withdrawals),
            in_flight,
            queue,
            marks,
            waiting,
            own,
        }
    }

    /// What withdraws volumes whose attachments are gone; the caller runs it.
    pub fn withdrawals(&self) -> Arc<Withdrawals> {
        self.withdrawals.clone()
    }

    async fn pass(&self, key: &Key) -> Outcome {
        self.waiting.leave(key);
        let pass = self.marks.begin(key);
        let attachment = self.attachments.get(key);
        self.withdrawals.attachment_is(key, attachment.as_ref().map(|attachment| &attachment.meta.uid));
        let Some(attachment) = attachment else { return Outcome::Done };
        let outcome = self.step(&attachment, pass.forced).await;
        if outcome != Outcome::Done {
            pass.failed();
        }
        let left = self.attachments.get(key);
        self.withdrawals.attachment_is(key, left.as_ref().map(|attachment| &attachment.meta.uid));
        if outcome == Outcome::Done {
            self.withdrawals.open.settle(key);
        }
        outcome
    }

    async fn step(&self, attachment: &Attachment, forced: bool) -> Outcome {
        match decide(attachment, self.config.role(), forced) {
            Step::Ignore => {
                if attachment.meta.deleting {
                    // Without our finalizer it asks for no detach, and is as good as gone.
                    self.withdrawals.attachment_is(&attachment.meta.key, None);
                }
                Outcome::Done
            }
            Step::MarkAttached => self.mark_attached(attachment).await,
            Step::Attach => match self.attach(attachment).await {
                Ok(progress) => self.ended("Attached", attachment, progress),
                Err(error) => self.attach_failed(attachment, error).await,
            },
            Step::Detach => match self.detach(attachment).await {
                Ok(progress) => self.ended("Detached", attachment, progress),
                Err(error) => self.detach_failed(attachment, error).await,
            },
        }
    }

    fn ended(&self, what: &str, attachment: &Attachment, progress: Progress) -> Outcome {
        match progress {
            Progress::Done => {
                common::v!(2, what; "attachment" => attachment.meta.key, "node" => attachment.node);
                Outcome::Done
            }
            Progress::Gone => {
                // The cache may not show it yet.
                self.withdrawals.attachment_is(&attachment.meta.key, None);
                Outcome::Done
            }
            Progress::Busy => Outcome::After(TURN),
        }
    }

    async fn mark_attached(&self, attachment: &Attachment) -> Outcome {
        match self.write(&attachment.meta, "status", Format::Merge, patch::marked()).await {
            Ok(_) => self.ended("Marked as attached", attachment, Progress::Done),
            Err(error) => {
                common::error!(api::text(&error), "Could not mark as attached"; "attachment" => attachment.meta.key);
                Outcome::Retry
            }
        }
    }

    async fn attach_failed(&self, attachment: &Attachment, error: AttachError) -> Outcome {
        let key = &attachment.meta.key;
        common::error!(error, "Failed to attach"; "attachment" => key, "node" => attachment.node);
        let report = Report::new(error.to_string(), error.code().filter(|_| self.config.error_code));
        let reported = |latest: &Attachment| {
            error.is_reported() && is_news(latest.attach_error.as_deref(), &report, Timestamp::now())
        };
        if let Some(latest) = self.attachments.get(key).filter(|latest| reported(latest)) {
            self.report(&latest.meta, patch::attach_error(&report, &time(Timestamp::now()))).await;
        }
        self.wait(key, error.waits_on());
        error.outcome()
    }

    async fn detach_failed(&self, attachment: &Attachment, error: DetachError) -> Outcome {
        let key = &attachment.meta.key;
        common::error!(error, "Failed to detach"; "attachment" => key, "node" => attachment.node);
        let report = Report::new(error.to_string(), None);
        let reported = |latest: &Attachment| {
            let bound = latest.meta.has_finalizer(&self.config.finalizer);
            error.is_reported(bound) && is_news(latest.detach_error.as_deref(), &report, Timestamp::now())
        };
        if let Some(latest) = self.attachments.get(key).filter(|latest| reported(latest)) {
            self.report(&latest.meta, patch::detach_error(&report, &time(Timestamp::now()))).await;
        }
        self.wait(key, error.waits_on());
        error.outcome()
    }

    /// An error that cannot be written is only logged: the attempt is repeated in any case.
    async fn report(&self, meta: &Meta, body: Value) {
        if let Err(error) = self.write(meta, "status", Format::Merge, body).await {
            common::error!(api::text(&error), "Could not save the error"; "attachment" => meta.key);
        }
    }

    /// Another try at once when the object comes; it may have come since it was looked for. A Secret is looked for
    /// again in any case. An attachment that is gone waits for nothing.
    fn wait(&self, key: &Key, on: Option<On>) {
        let Some(on) = on else { return };
        self.waiting.join(key, on.clone());
        let came = match &on {
            On::Volume(name) => self.volumes.get(&Key::cluster(name)).is_some(),
            On::LiveVolume(name) => {
                self.volumes.get(&Key::cluster(name)).is_some_and(|volume| !volume.meta.deleting)
            }
            On::Node(name) => self.nodes.get(&Key::cluster(name)).is_some_and(|node| node.driver.is_some()),
            On::Secret(_) => false,
        };
        if came || self.attachments.get(key).is_none() {
            self.waiting.leave(key);
            self.wake(key);
        }
    }

    /// Claims a volume on a node until the result is dropped; `None` when another has it: the attachment is woken at
    /// its end.
    pub(super) fn claim(&self, pair: &Pair, key: &Key) -> Option<Claim> {
        let (wake, key) = (waker(&self.queue, &self.attachments), key.clone());
        self.in_flight.claim(pair, move || wake(&key))
    }

    /// Adds an attachment to the queue, at its place, if it is still there.
    pub(super) fn wake(&self, key: &Key) {
        waker(&self.queue, &self.attachments)(key);
    }

    /// Sends one write to an attachment and puts the reply into the cache. What it changes is not news; a deletion
    /// that the reply is the first to tell is, and the watch's own event of it comes too late to be.
    ///
    /// `Differs:` upstream writes to whatever has the name by then: an attachment forced out and made anew during
    /// the call is marked as attached without a finalizer, and its volume stays published for ever.
    pub(super) async fn write(
        &self,
        meta: &Meta,
        subresource: &str,
        format: Format,
        body: Value,
    ) -> Result<Written, api::Error> {
        let key = &meta.key;
        let body = patch::only(&meta.uid, body);
        self.own.begin(key);
        let reply =
            self.process.objects.patch::<WireAttachment>("", key.name(), subresource, format, &body).await;
        let mut deleted = false;
        let (result, version) = match reply {
            Ok(wire) => {
                let left = wire.meta();
                deleted = left.deletion_timestamp.is_some() && !meta.deleting;
                let free = left.finalizers.as_ref().is_none_or(Vec::is_empty);
                if free && left.deletion_timestamp.is_some() {
                    self.attachments.deleted(key, &meta.uid);
                    (Ok(Written::Gone), None)
                } else {
                    (Ok(Written::Kept), Some(self.attachments.overlay(wire)))
                }
            }
            Err(error) if api::is(&error, 404) || self.is_replaced(meta) => (Ok(Written::Gone), None),
            Err(error) => (Err(error), None),
        };
        if self.own.end(key, version) || deleted {
            self.wake(key);
        }
        result
    }

    /// Whether another attachment has the name now.
    fn is_replaced(&self, meta: &Meta) -> bool {
        self.attachments.get(&meta.key).is_some_and(|known| known.meta.uid != meta.uid)
    }
}

impl Job<Key> for Attachments {
    async fn run(&self, key: Key) -> Outcome {
        self.pass(&key).await
    }
}

/// Ends the waiting of attachments when what they wait for comes, and when they go themselves.
fn send_on(
    waiting: &Arc<Waiting>,
    (attachments, volumes, nodes): (&Store<Attachment>, &Store<Volume>, &Store<CsiNode>),
    wake: &(impl Fn(&Key) + Clone + Send + Sync + 'static),
) {
    let told = waiting.clone();
    attachments.subscribe(move |change| {
        if let Change::Removed(old) | Change::Left(old) = change {
            told.leave(&old.meta.key);
        }
    });
    let (told, wake_for_volume) = (waiting.clone(), wake.clone());
    volumes.subscribe(move |change| {
        if let Change::Added(new) | Change::Updated { new, .. } = change {
            told.came(&On::Volume(new.meta.name().into())).iter().for_each(&wake_for_volume);
            if !new.meta.deleting {
                told.came(&On::LiveVolume(new.meta.name().into())).iter().for_each(&wake_for_volume);
            }
        }
    });
    let (told, wake_for_node) = (waiting.clone(), wake.clone());
    nodes.subscribe(move |change| {
        if let Change::Added(new) | Change::Updated { new, .. } = change
            && new.driver.is_some()
        {
            told.came(&On::Node(new.meta.name().into())).iter().for_each(&wake_for_node);
        }
    });
}

/// Adds an attachment to the queue, at its place, if it is still there.
fn waker(
    queue: &WorkQueue<Key>,
    attachments: &Arc<Store<Attachment>>,
) -> impl Fn(&Key) + Clone + Send + Sync + 'static {
    // Weak: the cache holds subscribers that hold this.
    let (queue, attachments) = (queue.clone(), Arc::downgrade(attachments));
    move |key: &Key| {
        let attachment = attachments.upgrade().and_then(|attachments| attachments.get(key));
        if let Some(attachment) = attachment {
            queue.add(key.clone(), place(&attachment));
        }
    }
}

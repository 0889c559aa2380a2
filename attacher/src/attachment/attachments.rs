//! What the attach and detach steps share: configuration, caches, the queue, the calls in flight.

use std::sync::Arc;

use base::in_flight::{InFlight, Turn};
use base::queue::WorkQueue;
use kubernetes::api::{self, Format};
use kubernetes::collection::Written;
use kubernetes::object::{Attachment, Key, Meta};
use kubernetes::own_writes::OwnWrites;
use kubernetes::store::Store;
use kubernetes::waiting::Waiting;
use process::Seat;
use serde_json::Value;
use translation::Translation;

use super::contradiction::Contradictions;
use super::decide::place;
use super::error::Awaited;
use super::events;
use super::target::Targets;
use crate::caches::Caches;
use crate::config::Config;
use crate::publication::registry::{Calls, Pair, Publications};

/// Adds an attachment to the queue, at its place, if it is still there.
pub(super) type Wake = Arc<dyn Fn(&Key) + Send + Sync>;

/// Attaches and detaches. The steps are in [`super::reconcile`], [`super::attach`] and [`super::detach`].
pub(crate) struct Attachments {
    pub(super) config: Arc<Config>,
    pub(super) seat: Seat,
    pub(super) caches: Caches,
    pub(super) targets: Targets,
    pub(super) contradictions: Arc<Contradictions>,
    pub(super) publications: Arc<Publications>,
    pub(super) calls: Arc<Calls>,
    pub(super) waiting: Arc<Waiting<Awaited>>,
    pub(super) own: Arc<OwnWrites>,
    pub(super) wake: Wake,
}

/// The result of an attempt without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The work is done.
    Done,
    /// The attachment is gone or being deleted. The watch event or reply that showed the deletion has queued the detach.
    Over,
    /// Another call for the same volume and node is under way.
    Busy,
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
        Self { config, seat, caches, targets, contradictions, publications, calls, waiting, own, wake }
    }

    /// The calls under way, for whoever else calls the driver.
    pub(crate) fn calls(&self) -> Arc<Calls> {
        self.calls.clone()
    }

    /// Polls for the missing Secrets that attachments wait for. Never ends.
    pub(crate) async fn poll_secrets(&self) {
        self.waiting.poll_secrets(&self.seat.objects).await;
    }

    /// Reserves the volume and node for one call, until the result is dropped. `None`: another call runs; the attachment is
    /// queued when it ends.
    pub(super) fn take_turn(&self, pair: &Pair, key: &Key) -> Option<Turn<Pair, Option<Key>>> {
        let (wake, woken) = (self.wake.clone(), key.clone());
        self.calls.take_turn(pair, Some(key.clone()), move || wake(&woken))
    }

    /// The attachment as the cache has it now. Ignores a new attachment of the same name (with another uid).
    pub(super) fn latest(&self, attachment: &Attachment) -> Option<Arc<Attachment>> {
        let Meta { key, uid, .. } = &attachment.meta;
        self.caches.attachments.get(key).filter(|latest| latest.meta.uid == *uid)
    }

    /// Sends one write to an attachment. The watch event of our own write does not queue the attachment.
    ///
    /// `Differs:` upstream writes to any attachment of that name. If the attachment was removed by force and
    /// re-created during the call, upstream marks the new one as attached without a finalizer, and its volume
    /// stays published for ever.
    pub(super) async fn write(
        &self,
        meta: &Meta,
        subresource: &str,
        format: Format,
        body: Value,
    ) -> Result<Written, api::Error> {
        self.own.patch(&self.caches.attachments, meta, subresource, format, body).await
    }
}

/// Makes a [`Wake`].
pub(super) fn waker(queue: &WorkQueue<Key>, attachments: &Arc<Store<Attachment>>) -> Wake {
    // Weak: the cache holds subscribers that hold this.
    let (queue, attachments) = (queue.clone(), Arc::downgrade(attachments));
    Arc::new(move |key: &Key| {
        let attachment = attachments.upgrade().and_then(|attachments| attachments.get(key));
        if let Some(attachment) = attachment {
            queue.add(key.clone(), place(&attachment));
        }
    })
}

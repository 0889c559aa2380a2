//! What attaching and detaching share.

use std::sync::Arc;

use base::in_flight::Claim;
use base::queue::WorkQueue;
use kubernetes::api::{self, Format};
use kubernetes::collection::Written;
use kubernetes::object::{Attachment, Key, Meta};
use kubernetes::own_writes::OwnWrites;
use kubernetes::store::Store;
use kubernetes::waiting::Waiting;
use process::Seat;
use serde_json::Value;

use super::decide::place;
use super::error::Awaited;
use super::target::Targets;
use crate::caches::Caches;
use crate::config::Config;
use crate::publication::registry::{Calls, Pair, Publications};

/// Adds an attachment to the queue, at its place, if it is still there.
pub(super) type Wake = Arc<dyn Fn(&Key) + Send + Sync>;

/// What attaching and detaching share.
pub(super) struct Shared {
    pub(super) config: Arc<Config>,
    pub(super) seat: Seat,
    pub(super) caches: Caches,
    pub(super) targets: Targets,
    pub(super) publications: Arc<Publications>,
    pub(super) calls: Arc<Calls>,
    pub(super) waiting: Arc<Waiting<Awaited>>,
    pub(super) own: Arc<OwnWrites>,
    pub(super) wake: Wake,
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

impl Shared {
    /// Claims a volume on a node until the result is dropped. `None` if another has claimed it; the
    /// attachment is then queued when that claim ends.
    pub(super) fn claim(&self, pair: &Pair, key: &Key) -> Option<Claim<Pair, Option<Key>>> {
        let (wake, woken) = (self.wake.clone(), key.clone());
        self.calls.claim(pair, Some(key.clone()), move || wake(&woken))
    }

    /// The attachment as the cache has it now. A re-created attachment of the same name is not it.
    pub(super) fn latest(&self, attachment: &Attachment) -> Option<Arc<Attachment>> {
        let Meta { key, uid, .. } = &attachment.meta;
        self.caches.attachments.get(key).filter(|latest| latest.meta.uid == *uid)
    }

    /// Sends one write to an attachment. The change itself queues nothing.
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

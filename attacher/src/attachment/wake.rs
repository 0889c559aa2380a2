//! Queues an attachment at once when the object that it waits for appears.

use std::sync::Arc;

use base::queue::WorkQueue;
use kubernetes::object::{Attachment, CsiNode, Key, Volume};
use kubernetes::store::{Change, Store};

use super::decide::place;
use super::in_flight::{Claim, Pair};
use super::reconcile::Attachments;
use super::waiting::{On, Waiting};

impl Attachments {
    /// Queues the attachment when the object appears, which may have happened since we looked. For a Secret
    /// we ask again in any case. An attachment that is gone waits for nothing.
    pub(super) fn wait(&self, key: &Key, on: Option<On>) {
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

    /// Claims a volume on a node until the result is dropped. `None` if another has claimed it; the
    /// attachment is then queued when that claim ends.
    pub(super) fn claim(&self, pair: &Pair, key: &Key) -> Option<Claim> {
        let (wake, woken) = (waker(&self.queue, self.attachments.store()), key.clone());
        self.in_flight.claim(pair, Some(key), move || wake(&woken))
    }

    /// Adds an attachment to the queue, at its place, if it is still there.
    pub(super) fn wake(&self, key: &Key) {
        waker(&self.queue, self.attachments.store())(key);
    }
}

/// Stops attachments waiting when their object appears, and when they are gone themselves.
pub(super) fn send_on(
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
        if let Change::Added(new) | Change::Updated { new, .. } = change
            && !told.is_idle()
        {
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
            && !told.is_idle()
        {
            told.came(&On::Node(new.meta.name().into())).iter().for_each(&wake_for_node);
        }
    });
}

/// Adds an attachment to the queue, at its place, if it is still there.
pub(super) fn waker(
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

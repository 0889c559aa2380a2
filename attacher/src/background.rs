//! Background tasks: list comparison, Secret polling, resync, permission review.

use base::queue::{Place, WorkQueue};
use kubernetes::object::Key;
use kubernetes::permission::Need;
use process::Seat;
use tokio::time::sleep;

use crate::attachment::decide::{Step, decide, place};
use crate::attachment::reconcile::Attachments;
use crate::caches::Caches;
use crate::config::Config;
use crate::listing::Listing;
use crate::volume;

/// What the background tasks work with.
pub(crate) struct Background<'a> {
    pub(crate) seat: &'a Seat,
    pub(crate) config: &'a Config,
    pub(crate) caches: &'a Caches,
    pub(crate) attachments: &'a Attachments,
    pub(crate) queue: &'a WorkQueue<Key>,
    pub(crate) volume_queue: &'a WorkQueue<Key>,
}

impl Background<'_> {
    /// Compares with the driver's list, polls for missing Secrets and queues everything unfinished.
    /// Once the process is to stop, nothing of it begins any more. Never ends.
    pub(crate) async fn run(&self, listing: Listing) {
        let tasks = async {
            futures::join!(self.compare(listing), self.attachments.poll_secrets(), self.look_again())
        };
        tokio::select! {
            biased;
            () = self.seat.stop.cancelled() => {}
            _ = tasks => {}
        }
        std::future::pending::<()>().await;
    }

    async fn compare(&self, listing: Listing) {
        if self.config.can.lists_nodes {
            listing.run().await;
        }
    }

    async fn look_again(&self) {
        while !self.config.resync.is_zero() {
            sleep(self.config.resync).await;
            self.resync();
        }
    }

    /// Queues everything unfinished, also what waits for a back-off.
    ///
    /// `Differs:` upstream queues every object.
    fn resync(&self) {
        for attachment in self.caches.attachments.store().list() {
            if decide(&attachment, self.config.role(), false) != Step::Ignore {
                self.queue.add(attachment.meta.key.clone(), place(&attachment));
            }
        }
        for volume in self.caches.volumes.store().list() {
            let step = volume::decide::decide(&volume, &self.config.driver, &self.config.finalizer);
            if step != volume::decide::Step::Ignore {
                self.volume_queue.add(volume.meta.key.clone(), Place::lane(0));
            }
        }
    }
}

const fn need(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Need {
    Need { group, resource, verbs, namespaced: false }
}

const STORAGE: &str = "storage.k8s.io";
const STATUS: Need = need(STORAGE, "volumeattachments/status", &["patch"]);
/// What a driver that publishes nothing needs.
pub(crate) const NEEDS_TO_MARK: [Need; 2] =
    [need(STORAGE, "volumeattachments", &["list", "watch", "patch"]), STATUS];
/// What attaching needs.
pub(crate) const NEEDS: [Need; 4] = [
    need(STORAGE, "volumeattachments", &["get", "list", "watch", "patch"]),
    STATUS,
    need("", "persistentvolumes", &["get", "list", "watch", "patch"]),
    need(STORAGE, "csinodes", &["list", "watch"]),
];

//! What goes on beside the queues, for as long as they do.

use base::queue::{Place, WorkQueue};
use kubernetes::object::Key;
use kubernetes::permission::{Need, review};
use process::Process;
use tokio::time::sleep;

use crate::attachment::decide::{Step, decide, place};
use crate::attachment::reconcile::{Attachments, Caches};
use crate::config::Config;
use crate::listing::Listing;
use crate::volume;

/// The queues, and what is done for them.
pub(crate) struct Beside<'a> {
    pub(crate) process: &'a Process,
    pub(crate) config: &'a Config,
    pub(crate) caches: &'a Caches,
    pub(crate) attachments: &'a Attachments,
    pub(crate) queue: &'a WorkQueue<Key>,
    pub(crate) volume_queue: &'a WorkQueue<Key>,
}

impl Beside<'_> {
    /// Compares with the driver's list, looks for missing Secrets and at everything unfinished, reviews permissions.
    /// Once the process is to stop, nothing of it begins any more. Never ends.
    pub(crate) async fn run(&self, listing: Listing) {
        let tasks = async {
            futures::join!(self.compare(listing), self.attachments.look_for_secrets(), self.look_again())
        };
        let until_stop = async {
            tokio::select! {
                biased;
                () = self.process.stop.cancelled() => {}
                _ = tasks => {}
            }
        };
        let needs: &[Need] = if self.config.can.attach { &NEEDS } else { &NEEDS_TO_MARK };
        futures::join!(until_stop, review(self.process.objects.client(), "default", needs));
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

    /// Adds everything unfinished to the queues, also what is in a back-off.
    ///
    /// `Differs:` upstream adds everything there is.
    fn resync(&self) {
        for attachment in self.caches.attachments.list() {
            if decide(&attachment, self.config.role(), false) != Step::Ignore {
                self.queue.add(attachment.meta.key.clone(), place(&attachment));
            }
        }
        for volume in self.caches.volumes.list() {
            let step = volume::decide::decide(&volume, &self.config.driver, &self.config.finalizer);
            if step != volume::decide::Step::Ignore {
                self.volume_queue.add(volume.meta.key.clone(), Place::lane(0));
            }
        }
    }
}

const ATTACHMENTS: Need = Need {
    group: "storage.k8s.io",
    resource: "volumeattachments",
    verbs: &["list", "watch", "patch"],
    namespaced: false,
};
const STATUS: Need = Need {
    group: "storage.k8s.io",
    resource: "volumeattachments/status",
    verbs: &["patch"],
    namespaced: false,
};
const NEEDS_TO_MARK: [Need; 2] = [ATTACHMENTS, STATUS];
const NEEDS: [Need; 4] = [
    ATTACHMENTS,
    STATUS,
    Need {
        group: "",
        resource: "persistentvolumes",
        verbs: &["get", "list", "watch", "patch"],
        namespaced: false,
    },
    Need { group: "storage.k8s.io", resource: "csinodes", verbs: &["list", "watch"], namespaced: false },
];

//! Compares the attachments with the driver's list of volumes, at intervals (docs/upstream/attacher.md,
//! "List comparison").
//!
//! This needs a driver that lists volumes with the nodes they are published to. An attachment that the list
//! contradicts is attached or detached again. A listed volume that has no attachment is left alone.

pub(crate) mod compare;

use std::sync::Arc;

use base::queue::WorkQueue;
use csi::{ListPublishedRequest, grpc_text};
use kubernetes::object::{Attachment, Key};
use process::Seat;
use tokio::time::{Instant, sleep};
use tonic::Status;
use translation::Translation;

use crate::attachment::contradiction::Contradictions;
use crate::attachment::decide::place;
use crate::caches::Caches;
use crate::config::Config;
use compare::{Comparison, Expected};

/// The loop of comparisons.
pub(crate) struct Listing {
    /// The configuration.
    pub(crate) config: Arc<Config>,
    /// The driver.
    pub(crate) seat: Seat,
    /// The caches with attachments, volumes and nodes.
    pub(crate) caches: Caches,
    /// The queue for contradicted attachments.
    pub(crate) queue: WorkQueue<Key>,
    /// What earlier lists contradicted.
    pub(crate) contradictions: Arc<Contradictions>,
    /// Completes handles of in-tree volumes.
    pub(crate) translation: Arc<dyn Translation>,
}

impl Listing {
    /// Compares at once, then again after each pause. Errors are logged. Never ends.
    pub(crate) async fn run(self) {
        loop {
            self.contradictions.comparison_begins();
            match self.compare().await {
                Ok(contradicted) => self.force(contradicted),
                Err(status) => {
                    self.contradictions.comparison_failed();
                    base::error!(
                        grpc_text(&status),
                        "Cannot compare with the driver's list of volumes; will retry"
                    );
                }
            }
            sleep(self.config.reconcile_sync).await;
        }
    }

    /// Queues the attachments that the list contradicts.
    fn force(&self, contradicted: Vec<Key>) {
        let attachments = &self.caches.attachments;
        for key in self.contradictions.comparison_ends(contradicted, |key| attachments.get(key).is_some()) {
            if let Some(attachment) = attachments.get(&key) {
                base::info!("The driver's list of volumes contradicts the attachment"; "attachment" => key,
                    "attached" => attachment.attached, "deleted" => attachment.meta.deleting);
                self.queue.add(key, place(&attachment));
            }
        }
    }

    /// Makes one comparison: reads all pages of the list within one timeout. An incomplete list contradicts
    /// nothing.
    async fn compare(&self) -> Result<Vec<Key>, Status> {
        let attachments =
            self.caches.attachments.store().list().into_iter().filter(|attachment| attachment.ours);
        let mut comparison = Comparison::new(attachments.filter_map(|attachment| self.expected(&attachment)));
        let deadline = Instant::now() + self.config.timeout;
        let mut token = String::new();
        loop {
            let request =
                ListPublishedRequest { max_entries: self.config.max_entries, starting_token: token };
            let left = deadline.saturating_duration_since(Instant::now());
            let page = self.seat.driver.call(request, left).await?;
            for entry in page.entries {
                if let (Some(volume), Some(status)) = (entry.volume, entry.status) {
                    comparison.see(&volume.volume_id, &status.published_node_ids);
                }
            }
            token = page.next_token;
            if token.is_empty() {
                return Ok(comparison.contradicted());
            }
        }
    }

    /// What the list should say about an attachment; `None` if its volume or node is not known now.
    ///
    /// `Differs:` upstream leaves out every inline volume of a driver that replaces no in-tree plugin.
    fn expected(&self, attachment: &Attachment) -> Option<Expected> {
        let driver = &*self.config.driver;
        let (node_id, handle) = (self.caches.node_id(driver, attachment)?, self.caches.handle(attachment)?);
        let volume = attachment.volume().and_then(|name| self.caches.volumes.get(&Key::cluster(name)));
        let is_csi = volume.as_ref().is_some_and(|volume| volume.spec.csi.is_some());
        let plugin = self.config.plugins.of_driver(driver).filter(|_| !is_csi);
        let repaired =
            plugin.map(|plugin| self.translation.repaired_handle(plugin, &handle, &node_id)).transpose();
        let handle = match repaired {
            Ok(repaired) => repaired.map_or(handle, Into::into),
            // Only the note is left of the volume: its handle may be the driver's own.
            Err(_) if volume.is_none() && attachment.volume().is_some() => handle,
            Err(error) => {
                base::error!(error, "Failed to repair volume handle for driver"; "handle" => handle, "driver" => driver);
                return None;
            }
        };
        Some(Expected { key: attachment.meta.key.clone(), handle, node_id, attached: attachment.attached })
    }
}

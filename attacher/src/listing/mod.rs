//! Comparing the attachments with the driver's own list, from time to time (attacher.md §11).
//!
//! Only with a driver that lists volumes together with the nodes they are published to. What it contradicts is
//! attached or detached again; a volume that is listed without any attachment is nobody's business here.

pub mod compare;

use std::sync::Arc;

use base::queue::WorkQueue;
use csi::{ListPublishedRequest, grpc_text};
use kubernetes::object::{Attachment, Key};
use process::Process;
use tokio::time::{Instant, sleep};
use tonic::Status;
use translation::{Plugin, Translation};

use crate::attachment::decide::place;
use crate::attachment::mark::Marks;
use crate::attachment::reconcile::Caches;
use crate::config::Config;
use compare::{Comparison, Expected};

/// The loop of comparisons.
pub struct Listing {
    /// The configuration.
    pub config: Arc<Config>,
    /// The driver.
    pub process: Process,
    /// The attachments, and what tells volumes and nodes.
    pub caches: Caches,
    /// Where contradicted attachments go.
    pub queue: WorkQueue<Key>,
    /// Where they are marked.
    pub marks: Arc<Marks>,
    /// Completes handles of in-tree volumes.
    pub translation: Arc<dyn Translation>,
}

impl Listing {
    /// Compares at once, and again and again with a pause in between; errors are logged. Never ends.
    pub async fn run(self) {
        loop {
            self.marks.comparison_begins();
            match self.compare().await {
                Ok(contradicted) => self.force(contradicted),
                Err(status) => {
                    self.marks.comparison_failed();
                    base::error!(grpc_text(&status), "Could not compare with the driver's list of volumes");
                }
            }
            sleep(self.config.reconcile_sync).await;
        }
    }

    /// Has those worked on that the list contradicts.
    fn force(&self, contradicted: Vec<Key>) {
        let attachments = &self.caches.attachments;
        for key in self.marks.comparison_ends(contradicted, |key| attachments.get(key).is_some()) {
            if let Some(attachment) = attachments.get(&key) {
                base::info!("The driver's list contradicts the attachment"; "attachment" => key,
                    "attached" => attachment.attached, "deleted" => attachment.meta.deleting);
                self.queue.add(key, place(&attachment));
            }
        }
    }

    /// One comparison: every page of the list, within one timeout. Half a list contradicts nothing.
    async fn compare(&self) -> Result<Vec<Key>, Status> {
        let attachments = self.caches.attachments.list().into_iter().filter(|attachment| attachment.ours);
        let mut comparison = Comparison::new(attachments.filter_map(|attachment| self.expected(&attachment)));
        let deadline = Instant::now() + self.config.timeout;
        let mut token = String::new();
        loop {
            let request =
                ListPublishedRequest { max_entries: self.config.max_entries, starting_token: token };
            let left = deadline.saturating_duration_since(Instant::now());
            let page = self.process.driver.call(request, left).await?;
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

    /// What an attachment lets expect of the list; `None` when its volume or node is not known now.
    ///
    /// `Differs:` upstream leaves out every inline volume of a driver that replaces no in-tree plugin.
    fn expected(&self, attachment: &Attachment) -> Option<Expected> {
        let driver = &*self.config.driver;
        let (node_id, handle) = (self.caches.node_id(driver, attachment)?, self.caches.handle(attachment)?);
        let in_tree = attachment.volume().is_none_or(|name| {
            let volume = self.caches.volumes.get(&Key::cluster(name));
            // What is noted of a volume that is gone was translated when it was there.
            volume.is_some_and(|volume| volume.spec.csi.is_none())
        });
        let handle = match Plugin::of_driver(driver).filter(|_| in_tree) {
            Some(plugin) => self.translation.repaired_handle(plugin, &handle, &node_id).ok()?.into(),
            None => handle,
        };
        Some(Expected { key: attachment.meta.key.clone(), handle, node_id, attached: attachment.attached })
    }
}

//! Takes the next step for one volume.

use std::sync::Arc;

use base::queue::{Job, Outcome, Place, WorkQueue};
use k8s_openapi::api::core::v1::PersistentVolume;
use kubernetes::api;
use kubernetes::attached::Attached;
use kubernetes::collection::Collection;
use kubernetes::object::{Key, Volume};
use kubernetes::store::Change;
use translation::Plugin;

use super::decide::{Step, decide};
use crate::config::Config;
use crate::publication::registry::Publications;

/// Removes our finalizer from volumes.
pub(crate) struct Volumes {
    config: Arc<Config>,
    volumes: Collection<Volume>,
    attached: Attached,
    publications: Arc<Publications>,
}

impl Volumes {
    /// Creates a reconciler that takes its volumes from `queue`.
    pub(crate) fn new(
        config: Arc<Config>,
        volumes: Collection<Volume>,
        attached: Attached,
        publications: Arc<Publications>,
        queue: &WorkQueue<Key>,
    ) -> Self {
        let (to, decides) = (queue.clone(), config.clone());
        volumes.store().subscribe(move |change| {
            if let Change::Added(volume) | Change::Updated { new: volume, .. } = change
                && decide(volume, &decides.driver, &decides.finalizer) != Step::Ignore
            {
                to.add(volume.meta.key.clone(), Place::lane(0));
            }
        });
        Self { config, volumes, attached, publications }
    }

    async fn pass(&self, key: &Key) -> Outcome {
        let Some(volume) = self.volumes.get(key) else { return Outcome::Done };
        let result = match decide(&volume, &self.config.driver, &self.config.finalizer) {
            Step::Ignore => return Outcome::Done,
            // The end of the last attachment, or of the last publication, queues the volume again.
            Step::Release | Step::RollBack if self.is_in_use(key.name()) => return Outcome::Done,
            Step::Release => self.release(&volume).await,
            Step::RollBack => self.roll_back(&volume).await,
        };
        match result {
            Ok(()) => Outcome::Done,
            Err(error) => {
                base::error!(api::text(&error), "Failed to remove our finalizer from the PersistentVolume"; "volume" => key);
                Outcome::Retry
            }
        }
    }

    fn is_in_use(&self, volume: &str) -> bool {
        self.attached.has(volume) || self.publications.holds(volume)
    }

    async fn roll_back(&self, volume: &Volume) -> Result<(), api::Error> {
        let found = self.volumes.read::<PersistentVolume>(&volume.meta).await?;
        let plugin = found.and_then(|found| Plugin::of_volume(&found.spec?));
        if plugin.is_some_and(|plugin| self.config.plugins.has(plugin)) {
            self.release(volume).await
        } else {
            Ok(())
        }
    }

    async fn release(&self, volume: &Volume) -> Result<(), api::Error> {
        self.volumes.remove_finalizer(&volume.meta, &self.config.finalizer).await?;
        base::v!(2, "Volume released"; "volume" => volume.meta.key);
        Ok(())
    }
}

impl Job<Key> for Volumes {
    async fn run(&self, key: Key) -> Outcome {
        self.pass(&key).await
    }
}

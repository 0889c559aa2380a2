//! The effects on volumes: one volume, one pass.

use std::sync::Arc;

use base::queue::{Job, Outcome, Place, WorkQueue};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Resource;
use kubernetes::api::{self, Format};
use kubernetes::attached::Attached;
use kubernetes::object::{Key, Volume, WireVolume};
use kubernetes::store::{Change, Store};
use process::Process;
use translation::Plugin;

use super::decide::{Step, decide};
use super::hold::Holds;
use crate::attachment::patch;
use crate::config::Config;

/// Frees volumes of our finalizer.
pub struct Volumes {
    config: Arc<Config>,
    process: Process,
    volumes: Arc<Store<Volume>>,
    attached: Attached,
    holds: Holds,
}

impl Volumes {
    /// A reconciler whose volumes come through `queue`.
    pub fn new(
        config: Arc<Config>,
        process: Process,
        volumes: Arc<Store<Volume>>,
        attached: Attached,
        holds: Holds,
        queue: &WorkQueue<Key>,
    ) -> Self {
        let (to, decides) = (queue.clone(), config.clone());
        volumes.subscribe(move |change| {
            if let Change::Added(volume) | Change::Updated { new: volume, .. } = change
                && decide(volume, &decides.driver, &decides.finalizer) != Step::Ignore
            {
                to.add(volume.meta.key.clone(), Place::lane(0));
            }
        });
        Self { config, process, volumes, attached, holds }
    }

    async fn pass(&self, key: &Key) -> Outcome {
        let Some(volume) = self.volumes.get(key) else { return Outcome::Done };
        let result = match decide(&volume, &self.config.driver, &self.config.finalizer) {
            Step::Ignore => return Outcome::Done,
            // The end of the last attachment, and of whatever holds the volume, brings it here again.
            Step::Release | Step::RollBack if self.is_in_use(key.name()) => return Outcome::Done,
            Step::Release => self.release(&volume).await,
            Step::RollBack => self.roll_back(&volume).await,
        };
        match result {
            Ok(()) => Outcome::Done,
            Err(error) => {
                base::error!(api::text(&error), "Failed to remove the finalizer"; "volume" => key);
                Outcome::Retry
            }
        }
    }

    fn is_in_use(&self, volume: &str) -> bool {
        self.attached.has(volume) || self.holds.hold_back(volume)
    }

    async fn roll_back(&self, volume: &Volume) -> Result<(), api::Error> {
        let found = self.process.objects.get::<PersistentVolume>("", volume.meta.name()).await?;
        let in_tree = found.and_then(|found| Plugin::of_volume(&found.spec?)).is_some();
        if in_tree { self.release(volume).await } else { Ok(()) }
    }

    async fn release(&self, volume: &Volume) -> Result<(), api::Error> {
        let body = patch::only(&volume.meta.uid, patch::remove_finalizer(&self.config.finalizer));
        let (name, key) = (volume.meta.name(), &volume.meta.key);
        match self.process.objects.patch::<WireVolume>("", name, "", Format::Strategic, &body).await {
            Ok(wire) => {
                let left = wire.meta();
                if left.finalizers.as_ref().is_none_or(Vec::is_empty) && left.deletion_timestamp.is_some() {
                    self.volumes.deleted(key, &volume.meta.uid);
                } else {
                    self.volumes.overlay(wire);
                }
                base::v!(2, "Volume released"; "volume" => key);
                Ok(())
            }
            // Gone, and maybe another is there: the watch tells.
            Err(error) if api::is(&error, 404) || api::is_for_another(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Job<Key> for Volumes {
    async fn run(&self, key: Key) -> Outcome {
        self.pass(&key).await
    }
}

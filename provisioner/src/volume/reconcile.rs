//! The effects of deleting: one volume, one pass.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::queue::{Job, Outcome, Place, WorkQueue};
use csi::{grpc_text, v1};
use kube::Resource;
use kubernetes::api::{self, Deleted, Format};
use kubernetes::event::{Event, Kind, ObjectRef};
use kubernetes::object::{Class, Key, Uid, Volume, WireVolume};
use kubernetes::patch;
use kubernetes::secret::ReferenceError;
use kubernetes::secret::read;
use kubernetes::store::{Change, Store};
use process::Process;
use serde_json::Value;
use thiserror::Error;
use tokio::time::Instant;
use tonic::Status;

use super::decide::{Step, decide};
use super::secret::deletion_secret;
use crate::claim::object::FINALIZER;
use crate::config::Config;
use crate::metrics::VolumeMetrics;
use kubernetes::attached::Attached;

/// Why a volume could not be deleted; the text is what its event says.
#[derive(Debug, Error)]
enum DeleteError {
    #[error(
        "the volume's source is not of a CSI driver: migration of in-tree volumes is not available in this release of the provisioner"
    )]
    InTree,
    #[error("CSI driver does not support deletion: {0} missing")]
    NotSupported(&'static str),
    #[error(transparent)]
    SecretReference(#[from] ReferenceError),
    #[error("persistentvolume {0} is still attached to a node")]
    Attached(String),
    #[error("{}", grpc_text(.0))]
    Driver(Status),
    #[error("{}", api::text(.0))]
    Api(#[from] api::Error),
}

/// Shared with the cache's subscriber, which forgets objects that others took away.
type Deletions = Arc<Mutex<HashSet<Uid>>>;

/// Deletes volumes and keeps their finalizer.
pub struct Volumes {
    config: Arc<Config>,
    process: Process,
    volumes: Arc<Store<Volume>>,
    classes: Arc<Store<Class>>,
    attached: Attached,
    /// uid of objects whose volume is deleted at the driver, until the object is gone too.
    deleted: Deletions,
    metrics: VolumeMetrics,
}

impl Volumes {
    /// A reconciler whose volumes come through `queue`.
    pub fn new(
        config: Arc<Config>,
        process: Process,
        (volumes, classes): (Arc<Store<Volume>>, Arc<Store<Class>>),
        attached: Attached,
        queue: &WorkQueue<Key>,
        metrics: VolumeMetrics,
    ) -> Self {
        let deleted = Deletions::default();
        feed(queue, &volumes, config.driver.clone(), deleted.clone());
        Self { config, process, volumes, classes, attached, deleted, metrics }
    }

    async fn pass(&self, key: &Key) -> Outcome {
        let Some(volume) = self.volumes.get(key) else { return Outcome::Done };
        if !self.process.leadership.holds() {
            return Outcome::Retry;
        }
        let result = match decide(&volume, &self.config.driver) {
            Step::Ignore => return Outcome::Done,
            Step::Protect => self.patch_finalizer(&volume, patch::add_finalizer(FINALIZER)).await,
            Step::Unprotect => self.unprotect(&volume).await,
            Step::Delete => return self.delete_and_tell(&volume).await,
        };
        match result {
            Ok(()) => Outcome::Done,
            // What failed may be our own silence; the next leader goes on.
            Err(_) if !self.process.leadership.holds() => Outcome::Retry,
            Err(error) => {
                base::error!(api::text(&error), "Failed to update the finalizer"; "volume" => key);
                Outcome::Retry
            }
        }
    }

    async fn delete_and_tell(&self, volume: &Arc<Volume>) -> Outcome {
        let begun = Instant::now();
        match self.delete(volume).await {
            Ok(()) => {
                self.metrics.deleted(volume, begun.elapsed());
                base::info!("Volume deleted"; "volume" => volume.meta.key);
                Outcome::Done
            }
            // What failed may be our own silence; the next leader goes on.
            Err(_) if !self.process.leadership.holds() => Outcome::Retry,
            Err(error) => {
                self.metrics.failed(volume);
                base::error!(error, "Failed to delete the volume";
                    "volume" => volume.meta.key, "uid" => volume.meta.uid);
                if self.is_replaced(volume) {
                    // Its successor has no part in it, and nothing leads back to the one that is gone.
                    self.memory().remove(&volume.meta.uid);
                    return Outcome::Done;
                }
                self.tell(volume, error.to_string());
                Outcome::Retry
            }
        }
    }

    /// The volume first, then its object, our finalizer last: whatever happens in between, the object that
    /// is left leads here again.
    async fn delete(&self, volume: &Volume) -> Result<(), DeleteError> {
        if !self.memory().contains(&volume.meta.uid) {
            self.delete_at_driver(volume).await?;
            self.memory().insert(volume.meta.uid.clone());
        }
        let mut pending = volume.meta.has_finalizer(FINALIZER);
        if !volume.meta.deleting {
            let name = volume.meta.name();
            match self.process.objects.delete::<WireVolume>("", name, &volume.meta.uid).await? {
                Deleted::Gone => {
                    self.volumes.deleted(&volume.meta.key, &volume.meta.uid);
                    pending = false;
                }
                Deleted::Pending(wire) => {
                    self.volumes.overlay(*wire);
                }
            }
        }
        if pending {
            self.unprotect(volume).await?;
        }
        self.memory().remove(&volume.meta.uid);
        Ok(())
    }

    async fn delete_at_driver(&self, volume: &Volume) -> Result<(), DeleteError> {
        let csi = volume.spec.csi.as_ref().ok_or(DeleteError::InTree)?;
        if !self.config.can.controller {
            return Err(DeleteError::NotSupported("controller service"));
        }
        if !self.config.can.create_delete {
            return Err(DeleteError::NotSupported("CREATE_DELETE_VOLUME"));
        }
        let class = self.classes.get(&Key::cluster(&volume.class));
        let secret = deletion_secret(volume, class.as_deref())?;
        if self.attached.has(volume.meta.name()) {
            return Err(DeleteError::Attached(volume.meta.name().to_owned()));
        }
        let mut request =
            v1::DeleteVolumeRequest { volume_id: csi.volume_handle.to_string(), ..Default::default() };
        if let Some(reference) = secret {
            // A secret that is gone must not keep the volume for ever: the driver decides without it.
            match read(&self.process.objects, &reference).await {
                Ok(secrets) => request.secrets = secrets.to_request(),
                Err(error) => base::error!(error, "Deleting without the secret";
                    "volume" => volume.meta.key, "secret" => reference),
            }
        }
        self.process.driver.call(request, self.config.timeout).await.map(drop).map_err(DeleteError::Driver)
    }

    async fn unprotect(&self, volume: &Volume) -> Result<(), api::Error> {
        // The server takes our own finalizer out of whatever list it has by then: this never conflicts
        // with those who take out theirs.
        self.patch_finalizer(volume, patch::remove_finalizer(FINALIZER)).await
    }

    async fn patch_finalizer(&self, volume: &Volume, body: Value) -> Result<(), api::Error> {
        let (name, body) = (volume.meta.name(), patch::only(&volume.meta.uid, body));
        match self.process.objects.patch::<WireVolume>("", name, "", Format::Strategic, &body).await {
            Ok(wire) => {
                let metadata = wire.meta();
                let free = metadata.finalizers.as_ref().is_none_or(Vec::is_empty);
                if free && metadata.deletion_timestamp.is_some() {
                    self.volumes.deleted(&volume.meta.key, &volume.meta.uid);
                } else {
                    self.volumes.overlay(wire);
                }
                Ok(())
            }
            Err(error) if api::is(&error, 404) || api::is_for_another(&error) => {
                self.volumes.deleted(&volume.meta.key, &volume.meta.uid);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether another volume has the name by now: what is to be done about that one comes with its change.
    fn is_replaced(&self, volume: &Volume) -> bool {
        self.volumes.get(&volume.meta.key).is_some_and(|known| known.meta.uid != volume.meta.uid)
    }

    fn tell(&self, volume: &Volume, message: String) {
        let object = ObjectRef {
            api_version: "v1",
            kind: "PersistentVolume",
            namespace: Box::default(),
            name: volume.meta.name().into(),
            uid: volume.meta.uid.clone(),
            version: volume.meta.version,
        };
        let event = Event { object, kind: Kind::Warning, reason: "VolumeFailedDelete", message };
        self.process.events.record(event);
    }

    fn memory(&self) -> MutexGuard<'_, HashSet<Uid>> {
        self.deleted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job<Key> for Volumes {
    async fn run(&self, key: Key) -> Outcome {
        self.pass(&key).await
    }
}

/// Adds volumes to the queue when there is something to do about them, and forgets those that are gone.
fn feed(queue: &WorkQueue<Key>, volumes: &Store<Volume>, driver: Box<str>, deleted: Deletions) {
    let queue = queue.clone();
    volumes.subscribe(move |change| {
        let (gone, now) = match change {
            Change::Added(new) => (None, Some(new)),
            Change::Updated { old, new } => (Some(old).filter(|old| old.meta.uid != new.meta.uid), Some(new)),
            Change::Removed(old) | Change::Left(old) => (Some(old), None),
        };
        if let Some(gone) = gone {
            deleted.lock().unwrap_or_else(PoisonError::into_inner).remove(&gone.meta.uid);
        }
        if let Some(volume) = now.filter(|volume| decide(volume, &driver) != Step::Ignore) {
            queue.add(volume.meta.key.clone(), Place::lane(0));
        }
    });
}

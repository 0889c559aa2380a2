//! Takes the next step for one volume: finalizer or deletion.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::queue::{Job, Outcome, Place, WorkQueue};
use csi::{grpc_text, v1};
use kubernetes::api;
use kubernetes::collection::{Collection, Written};
use kubernetes::event::{Event, Kind, ObjectRef};
use kubernetes::object::annotation::PROVISIONED_BY;
use kubernetes::object::{Claim, Class, Key, Uid, Volume, WireVolume, is_exact};
use kubernetes::secret::read;
use kubernetes::secret::{ReferenceError, SecretRef};
use kubernetes::store::{Change, Store};
use process::Seat;
use thiserror::Error;
use tokio::time::Instant;
use tonic::Status;

use k8s_openapi::api::core::v1::PersistentVolume;
use translation::{Translation as _, TranslationError};

use super::attachments::Attachments;
use super::decide::{Step, decide};
use super::secret::{deletion_secret, noted};
use crate::caches::Caches;
use crate::capacity::Trigger;
use crate::claim::name::{names_may_collide, volume_name};
use crate::claim::object::FINALIZER;
use crate::config::Config;
use crate::metrics::VolumeMetrics;
use crate::migration::translated;

/// Why a volume could not be deleted. The text goes into its event.
#[derive(Debug, Error)]
enum DeleteError {
    #[error(transparent)]
    Translation(#[from] TranslationError),
    #[error("CSI driver does not support deletion: {0} missing")]
    NotSupported(&'static str),
    #[error(transparent)]
    SecretReference(#[from] ReferenceError),
    #[error(
        "spec.csi.driver is {driver}, but annotation {PROVISIONED_BY} names {named}: correct the annotation"
    )]
    ForeignDriver { driver: String, named: String },
    #[error("persistentvolume {volume} is still attached to {node}, waiting for detach")]
    Attached { volume: String, node: String },
    #[error(
        "persistentvolume {0} is gone, and with it the id of its volume: delete it at the storage system"
    )]
    Missing(String),
    #[error("{}", grpc_text(.0))]
    Driver(Status),
    #[error("{}", api::text(.0))]
    Api(#[from] api::Error),
}

/// Shared with the cache's subscriber, which removes objects that somebody else deleted.
type Deletions = Arc<Mutex<HashMap<Uid, Deletion>>>;

/// How far the deletion of a volume has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deletion {
    /// It failed, so some time has passed since our cache was believed.
    Failed,
    /// The driver has deleted the volume. Its object is left.
    Done,
}

/// Deletes volumes and keeps their finalizer.
pub(crate) struct Volumes {
    capacity: Trigger,
    config: Arc<Config>,
    seat: Seat,
    volumes: Collection<Volume>,
    claims: Arc<Store<Claim>>,
    classes: Arc<Store<Class>>,
    attached: Attachments,
    /// By uid, until the object is gone.
    deletions: Deletions,
    metrics: VolumeMetrics,
}

impl Volumes {
    /// Creates a reconciler that takes its volumes from `queue`.
    pub(crate) fn new(
        config: Arc<Config>,
        seat: Seat,
        caches: Caches,
        attached: Attachments,
        queue: &WorkQueue<Key>,
        metrics: VolumeMetrics,
    ) -> Self {
        let deletions = Deletions::default();
        let Caches { claims, classes, volumes, nodes: _, capacity } = caches;
        feed(queue, volumes.store(), config.clone(), deletions.clone());
        Self { capacity, config, seat, volumes, claims, classes, attached, deletions, metrics }
    }

    async fn pass(&self, key: &Key) -> Outcome {
        let Some(volume) = self.volumes.get(key) else { return Outcome::Done };
        let step = decide(&volume, self.is_awaited(&volume), self.config.names());
        if step == Step::Ignore {
            return Outcome::Done;
        }
        // The finalizer is every node's to handle: the volume's own node may be gone.
        if matches!(step, Step::Delete | Step::DeleteUnbound) {
            match self.is_reached(&volume).await {
                Ok(true) => {}
                Ok(false) => return Outcome::Done,
                Err(error) => {
                    base::error!(error, "Cannot tell from which nodes the volume can be reached; will retry"; "volume" => key);
                    return Outcome::Retry;
                }
            }
        }
        if !self.seat.leadership.holds() {
            return Outcome::Retry;
        }
        let result = match step {
            Step::Ignore => return Outcome::Done,
            step @ Step::DeleteUnbound => return self.delete_if_still(&volume, step).await,
            Step::Protect => self.volumes.add_finalizer(&volume.meta, FINALIZER).await,
            Step::Unprotect => self.volumes.remove_finalizer(&volume.meta, FINALIZER).await,
            step @ Step::Delete => {
                return match self.deletion(&volume.meta.uid) {
                    Some(Deletion::Failed) => self.delete_if_still(&volume, step).await,
                    Some(Deletion::Done) | None => self.delete_and_tell(&volume).await,
                };
            }
        };
        match result {
            Ok(Written::Kept { .. } | Written::Gone) => Outcome::Done,
            // We may have failed only because we no longer lead; the next leader goes on.
            Err(_) if !self.seat.leadership.holds() => Outcome::Retry,
            Err(error) => {
                base::error!(api::text(&error), "Failed to update our finalizer on the PersistentVolume"; "volume" => key);
                Outcome::Retry
            }
        }
    }

    /// Whether the volume can be reached from our node, if we serve one. The node affinity of an in-tree volume is in the words
    /// of the plugin, so it is read and translated.
    async fn is_reached(&self, volume: &Volume) -> Result<bool, DeleteError> {
        let Some(node) = &self.config.node else { return Ok(true) };
        if volume.spec.csi.is_some() || volume.segments.is_none() {
            return Ok(node.reaches(volume));
        }
        let Some(live) = self.volumes.read::<PersistentVolume>(&volume.meta).await? else { return Ok(false) };
        let translated = self.config.plugins.to_csi(live)?;
        let translated = Volume::from_library(&translated, self.volumes.store().scope());
        Ok(translated.is_some_and(|volume| node.reaches(&volume)))
    }

    /// Deletes a volume if the API server says too that this is the step: our cache may not show yet that a claim was
    /// faster, or, after a failure, that somebody has set the policy to Retain meanwhile.
    ///
    /// Differs: upstream repeats a deletion that failed from its cache alone.
    async fn delete_if_still(&self, volume: &Arc<Volume>, step: Step) -> Outcome {
        let live = match self.volumes.read::<WireVolume>(&volume.meta).await {
            Ok(live) => live.map(|wire| Volume::from_wire(wire, self.volumes.store().scope())),
            Err(error) => {
                base::error!(api::text(&error), "Cannot read the PersistentVolume; will retry"; "volume" => volume.meta.key);
                return Outcome::Retry;
            }
        };
        let still = |live: &Volume| decide(live, self.is_awaited(live), self.config.names()) == step;
        if live.is_some_and(|live| still(&live)) {
            return self.delete_and_tell(volume).await;
        }
        // Gone, or the watch will show what it is now.
        Outcome::Done
    }

    async fn delete_and_tell(&self, volume: &Arc<Volume>) -> Outcome {
        let begun = Instant::now();
        match self.delete(volume).await {
            Ok(()) => {
                self.metrics.deleted(volume, begun.elapsed());
                base::info!("Volume deleted"; "volume" => volume.meta.key);
                Outcome::Done
            }
            // We may have failed only because we no longer lead; the next leader goes on.
            Err(_) if !self.seat.leadership.holds() => Outcome::Retry,
            Err(error) => {
                if !matches!(error, DeleteError::Attached { .. }) {
                    self.metrics.failed(volume);
                }
                self.memory().entry(volume.meta.uid.clone()).or_insert(Deletion::Failed);
                base::error!(error, "Failed to delete the volume";
                    "volume" => volume.meta.key, "uid" => volume.meta.uid);
                if self.is_replaced(volume) {
                    // A new volume has the name. It is not concerned, and the old one is never retried.
                    self.memory().remove(&volume.meta.uid);
                    return Outcome::Done;
                }
                self.tell(volume, &error);
                Outcome::Retry
            }
        }
    }

    /// Deletes the volume, then its object, then removes our finalizer. If the process ends in between, the
    /// object still exists and leads here again.
    async fn delete(&self, volume: &Volume) -> Result<(), DeleteError> {
        if self.deletion(&volume.meta.uid) != Some(Deletion::Done) {
            self.delete_at_driver(volume).await?;
            self.memory().insert(volume.meta.uid.clone(), Deletion::Done);
            let segments = volume.segments.iter().flat_map(|segments| segments.iter());
            let exact = segments.map(|segment| &**segment).filter(|segment| is_exact(segment));
            self.capacity.volume_in(exact, &volume.class);
        }
        let mut pending = volume.meta.has_finalizer(FINALIZER);
        if !volume.meta.deleting && self.volumes.delete(&volume.meta).await? == Written::Gone {
            pending = false;
        }
        if pending {
            self.volumes.remove_finalizer(&volume.meta, FINALIZER).await?;
        }
        self.memory().remove(&volume.meta.uid);
        Ok(())
    }

    async fn delete_at_driver(&self, volume: &Volume) -> Result<(), DeleteError> {
        let migrated = volume.spec.csi.is_none();
        let (driver, handle) = self.identity(volume).await?;
        if driver != *self.config.driver {
            let named = self.config.driver.to_string();
            return Err(DeleteError::ForeignDriver { driver, named });
        }
        if !self.config.can.controller {
            return Err(DeleteError::NotSupported("controller service"));
        }
        if !self.config.can.create_delete {
            return Err(DeleteError::NotSupported("CREATE_DELETE_VOLUME"));
        }
        let secret = self.secret(volume)?;
        if self.attached.has(volume.meta.name()) {
            let node = self.attached.node(&self.seat.objects, volume.meta.name()).await;
            return Err(DeleteError::Attached { volume: volume.meta.name().to_owned(), node });
        }
        let mut request = v1::DeleteVolumeRequest { volume_id: handle, ..Default::default() };
        if let Some(reference) = secret {
            // A missing Secret must not keep the volume for ever: let the driver decide without it.
            match read(&self.seat.objects, &reference).await {
                Ok(secrets) => request.secrets = secrets.to_request(),
                Err(error) => base::error!(error, "Cannot read the Secret; calling DeleteVolume without it";
                    "volume" => volume.meta.key, "secret" => reference),
            }
        }
        let reply = self.seat.driver.call_migrated(request, self.config.timeout, migrated).await;
        reply.map(drop).map_err(DeleteError::Driver)
    }

    /// Driver and id of the volume. Those of an in-tree volume are not cached: it is read and translated.
    ///
    /// `Differs:` upstream has them in its cache. If somebody removes an in-tree volume's object by force in the moment before
    /// its deletion, upstream deletes the volume all the same; ours cannot, and says so.
    async fn identity(&self, volume: &Volume) -> Result<(String, String), DeleteError> {
        if let Some(csi) = &volume.spec.csi {
            return Ok((csi.driver.to_string(), csi.volume_handle.to_string()));
        }
        let missing = || DeleteError::Missing(volume.meta.name().to_owned());
        let live = self.volumes.read::<PersistentVolume>(&volume.meta).await?.ok_or_else(missing)?;
        let csi = self.config.plugins.to_csi(live)?.spec.and_then(|spec| spec.csi).ok_or_else(missing)?;
        Ok((csi.driver, csi.volume_handle))
    }

    /// The Secret for the deletion. A class of the in-tree plugin names it once it is translated, for volumes of the plugin.
    fn secret(&self, volume: &Volume) -> Result<Option<SecretRef>, DeleteError> {
        let class = self.classes.get(&Key::cluster(&volume.class));
        let plugin = class.as_ref().and_then(|class| self.config.names().plugin(&class.provisioner));
        let plugin = plugin.filter(|_| volume.spec.csi.is_none() && noted(volume).is_none());
        let class = match (class, plugin) {
            (Some(class), Some(plugin)) => Some(translated(self.config.plugins, plugin, &class)?.into()),
            (class, _) => class,
        };
        Ok(deletion_secret(volume, class.as_deref())?)
    }

    /// Whether another volume has the name by now. That one is queued by its own event.
    fn is_replaced(&self, volume: &Volume) -> bool {
        self.volumes.get(&volume.meta.key).is_some_and(|known| known.meta.uid != volume.meta.uid)
    }

    /// Writes the event. A volume that is in use is no failure.
    fn tell(&self, volume: &Volume, error: &DeleteError) {
        let (kind, reason) = match error {
            DeleteError::Attached { .. } => (Kind::Normal, "VolumeDelete"),
            DeleteError::Translation(_)
            | DeleteError::ForeignDriver { .. }
            | DeleteError::NotSupported(_)
            | DeleteError::SecretReference(_)
            | DeleteError::Missing(_)
            | DeleteError::Driver(_)
            | DeleteError::Api(_) => (Kind::Warning, "VolumeFailedDelete"),
        };
        let object = ObjectRef::core("PersistentVolume", &volume.meta);
        self.seat.events.record(Event { object, kind, reason, message: error.to_string() });
    }

    /// Whether a claim waits for exactly this volume: the one of its `spec.claimRef`, or, if that names no uid, the one that
    /// the volume's name was made for.
    fn is_awaited(&self, volume: &Volume) -> bool {
        if !volume.meta.deleting {
            // Nobody asks.
            return false;
        }
        let waits = |claim: &Claim| claim.waits_for(self.claims.scope());
        let holder = volume.claim.as_deref();
        let key = holder.map(|holder| Key::new(&holder.namespace, &holder.name));
        if let (Some(key), Some(holder)) = (&key, holder.filter(|holder| !holder.uid.is_empty())) {
            return self.claims.get(key).is_some_and(|claim| claim.meta.uid == holder.uid && waits(&claim));
        }
        if names_may_collide(&self.config) {
            return false;
        }
        let is_named = |claim: &Claim| {
            volume_name(&self.config, &claim.meta.uid.to_string()).as_deref() == Some(volume.meta.name())
        };
        let fits = |claim: &Claim| key.as_ref().is_none_or(|key| claim.meta.key == *key);
        self.claims.list().iter().any(|claim| fits(claim) && is_named(claim) && waits(claim))
    }

    fn deletion(&self, uid: &Uid) -> Option<Deletion> {
        self.memory().get(uid).copied()
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<Uid, Deletion>> {
        self.deletions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job<Key> for Volumes {
    async fn run(&self, key: Key) -> Outcome {
        self.pass(&key).await
    }
}

/// Queues volumes that need a step, and forgets those that are gone.
fn feed(queue: &WorkQueue<Key>, volumes: &Store<Volume>, config: Arc<Config>, deletions: Deletions) {
    let queue = queue.clone();
    volumes.subscribe(move |change| {
        let (gone, now) = match change {
            Change::Added(new) => (None, Some(new)),
            Change::Updated { old, new } => (Some(old).filter(|old| old.meta.uid != new.meta.uid), Some(new)),
            Change::Removed(old) | Change::Left(old) => (Some(old), None),
        };
        if let Some(gone) = gone {
            deletions.lock().unwrap_or_else(PoisonError::into_inner).remove(&gone.meta.uid);
        }
        // While the caches fill, the claim may be missing in its own: the pass asks again.
        if let Some(volume) = now.filter(|volume| decide(volume, true, config.names()) != Step::Ignore) {
            queue.add(volume.meta.key.clone(), Place::lane(0));
        }
    });
}

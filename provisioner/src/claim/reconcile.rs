//! Provisions one claim, in one attempt.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::queue::{Job, Outcome, Place, WorkQueue};
use csi::v1;
use kubernetes::collection::Collection;
use kubernetes::event::{Event, Kind, ObjectRef};
use kubernetes::object::annotation::SELECTED_NODE;
use kubernetes::object::{Claim, Class, Key, Uid, Volume, VolumePhase};
use kubernetes::secret::read;
use kubernetes::store::{Change, Store};
use process::Seat;
use tokio::time::Instant;
use tonic::Status;

use super::eligible::{Eligibility, eligibility, source};
use super::error::ProvisionError;
use super::memory::{Background, Memory, Unsaved};
use super::name::volume_name;
use super::object::new_volume;
use super::outcome::State;
use super::request::{Prepared, prepare};
use crate::config::Config;
use crate::metrics::ClaimMetrics;

/// How often we try to delete a volume that is too small.
const CLEANUP_TRIES: usize = 5;
/// When to look again at a claim whose object was created (or is about to be) but is not in the cache: the
/// object may have been created and deleted without the watch showing it.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A claim in the queue. A re-created claim of the same name is another claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClaimId {
    /// Namespace and name.
    pub(crate) key: Key,
    /// The claim's uid.
    pub(crate) uid: Uid,
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

/// Provisions volumes for claims.
pub(crate) struct Claims {
    pub(super) config: Arc<Config>,
    pub(super) seat: Seat,
    claims: Arc<Store<Claim>>,
    classes: Arc<Store<Class>>,
    pub(super) volumes: Collection<Volume>,
    memory: Mutex<Memory>,
    pub(super) unsaved: WorkQueue<ClaimId>,
    pub(super) metrics: ClaimMetrics,
}

/// The caches that provisioning reads.
pub(crate) struct Caches {
    /// Claims that wait for us.
    pub(crate) claims: Arc<Store<Claim>>,
    /// Our classes.
    pub(crate) classes: Arc<Store<Class>>,
    /// Our volumes.
    pub(crate) volumes: Collection<Volume>,
}

impl Claims {
    /// Creates a reconciler that takes its claims from `queue` and puts unsaved volumes into `unsaved`.
    pub(crate) fn new(
        config: Arc<Config>,
        seat: Seat,
        caches: Caches,
        queue: &WorkQueue<ClaimId>,
        unsaved: WorkQueue<ClaimId>,
        metrics: ClaimMetrics,
    ) -> Self {
        feed(queue, &caches);
        let Caches { claims, classes, volumes } = caches;
        Self { config, seat, claims, classes, volumes, memory: Mutex::default(), unsaved, metrics }
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass(&self, id: &ClaimId) -> Outcome {
        if self.memory().unsaved(&id.uid).is_some() {
            return Outcome::After(LOOK_AGAIN);
        }
        if !self.seat.leadership.holds() {
            return Outcome::Retry;
        }
        let stored = self.waiting(&id.key).filter(|claim| claim.meta.uid == id.uid);
        let background = self.memory().background(&id.uid);
        let (claim, class) = match (stored, background) {
            (stored, Some(Background { claim, class })) => {
                // A re-created class replaces the old one, as upstream: the old one may be why the driver
                // gives no final answer. If the claim is gone, only the old request can find what was made
                // for it.
                let anew = stored.and_then(|claim| self.classes.get(&Key::cluster(&claim.class)));
                let ours = |anew: &Arc<Class>| *anew.provisioner == *self.config.driver;
                let anew = anew.filter(|anew| anew.meta.uid != class.meta.uid && ours(anew));
                (claim, anew.unwrap_or(class))
            }
            (Some(claim), None) => {
                let class = self.classes.get(&Key::cluster(&claim.class));
                match eligibility(&claim, class.as_deref(), &self.config.driver) {
                    Eligibility::Ignore | Eligibility::WaitsForNode => return Outcome::Done,
                    Eligibility::ClassMissing => return self.class_missing(&claim),
                    Eligibility::ForPopulator => return self.left_to_populator(&claim),
                    Eligibility::Go => match class {
                        Some(class) => (claim, class),
                        None => return self.class_missing(&claim),
                    },
                }
            }
            (None, None) => {
                self.memory().forget(&id.uid);
                return Outcome::Done;
            }
        };
        let rests = self.memory().rests(&id.uid, &class.meta.uid, Instant::now());
        match rests {
            Some(left) => Outcome::After(left),
            None => self.attempt(claim, class).await,
        }
    }

    fn class_missing(&self, claim: &Claim) -> Outcome {
        base::error!("StorageClass not found", "Cannot provision the claim";
            "claim" => claim.meta.key, "class" => claim.class);
        self.metrics.failed(claim);
        Outcome::Retry
    }

    /// Writes the event about a populator, once for each claim.
    ///
    /// `Differs:` upstream first writes that it provisions the claim, writes this event in another
    /// component's name, and repeats both at each change and resync.
    fn left_to_populator(&self, claim: &Claim) -> Outcome {
        if !self.memory().leave(&claim.meta.uid) {
            return Outcome::Done;
        }
        let kind = source(claim).map_or("", |source| &source.kind);
        let message = format!("Waiting for a volume populator: no CSI driver fills volumes from a {kind}");
        self.tell(claim, Kind::Normal, "Provisioning", message);
        Outcome::Done
    }

    /// Makes one attempt for an eligible claim, and remembers what it may have left behind.
    async fn attempt(&self, claim: Arc<Claim>, class: Arc<Class>) -> Outcome {
        let begun = Instant::now();
        let error = match self.provision(&claim, &class, begun).await {
            Ok(()) => {
                self.memory().settle(&claim.meta.uid);
                let done = self.has_object(&claim) || !self.is_waiting(&claim);
                return if done { Outcome::Done } else { Outcome::After(LOOK_AGAIN) };
            }
            Err(error) => error,
        };
        let uid = &claim.meta.uid;
        let node = claim.meta.annotations.get(SELECTED_NODE).is_some_and(|node| !node.is_empty());
        match error.state(self.config.uses_topology(), node) {
            State::InBackground => {
                self.memory().keep(Background { claim: claim.clone(), class: class.clone() })
            }
            State::Finished | State::Reschedule => self.memory().settle(uid),
            State::NoChange => {}
        }
        if !self.seat.leadership.holds() {
            // We may have failed only because we no longer lead; the next leader goes on.
            return Outcome::Retry;
        }
        self.metrics.failed(&claim);
        base::error!(error, "Provisioning failed"; "claim" => claim.meta.key, "uid" => uid);
        let infeasible = error.is_infeasible();
        let text = if infeasible {
            format!("Volume provisioning failed with infeasible error. Retries will be delayed. {error}")
        } else {
            error.to_string()
        };
        self.tell(&claim, Kind::Warning, "ProvisioningFailed", text);
        if infeasible {
            self.memory().refuse(uid, &class.meta.uid, Instant::now());
            return Outcome::After(super::memory::INFEASIBLE_RETRY);
        }
        Outcome::Retry
    }

    async fn provision(
        &self,
        claim: &Arc<Claim>,
        class: &Class,
        begun: Instant,
    ) -> Result<(), ProvisionError> {
        let name = volume_name(&self.config, &claim.meta.uid.to_string()).ok_or(ProvisionError::NoName)?;
        if let Some(known) = self.volumes.get(&Key::cluster(&name)) {
            let ours = known.claim.as_ref().is_some_and(|holder| holder.uid == claim.meta.uid);
            return if ours { Ok(()) } else { Err(ProvisionError::NameTaken(name)) };
        }
        let message = format!("External provisioner is provisioning volume for claim \"{}\"", claim.meta.key);
        self.tell(claim, Kind::Normal, "Provisioning", message);
        let mut prepared = prepare(&self.config, claim, class, name)?;
        if let Some(reference) = &prepared.secrets.provision {
            let secrets = read(&self.seat.objects, reference)
                .await
                .map_err(|reason| ProvisionError::Secret { name: reference.to_string(), reason })?;
            prepared.request.secrets = secrets.to_request();
        }
        let (made, bytes) = self.create(&prepared).await?;
        let volume = Arc::new(new_volume(&self.config, claim, class, &prepared, &made, bytes));
        let unsaved = Unsaved { volume, claim: claim.clone(), begun };
        self.memory().remember_unsaved(unsaved.clone());
        let saved = self.save(&unsaved).await;
        if !matches!(saved, Ok(true)) {
            let id = ClaimId { key: claim.meta.key.clone(), uid: claim.meta.uid.clone() };
            self.unsaved.add(id, Place::lane(0));
        }
        saved.map(drop)
    }

    /// Calls CreateVolume. Returns the volume and its size in bytes.
    async fn create(&self, prepared: &Prepared) -> Result<(v1::Volume, i64), ProvisionError> {
        let reply = self.seat.driver.call(prepared.request.clone(), self.config.timeout).await;
        let made =
            reply.map_err(ProvisionError::Driver)?.volume.ok_or(ProvisionError::Malformed("a volume"))?;
        if made.volume_id.is_empty() {
            return Err(ProvisionError::Malformed("a volume id"));
        }
        let created = made.capacity_bytes;
        if created != 0 && created < prepared.bytes {
            let cleanup = self.clean_up(&made.volume_id, prepared).await.err();
            return Err(ProvisionError::TooSmall { asked: prepared.bytes, created, cleanup });
        }
        let bytes = if created == 0 { prepared.bytes } else { created };
        Ok((made, bytes))
    }

    /// Deletes a volume that cannot be used, with a few tries within one timeout.
    async fn clean_up(&self, id: &str, prepared: &Prepared) -> Result<(), Status> {
        let request =
            v1::DeleteVolumeRequest { volume_id: id.to_owned(), secrets: prepared.request.secrets.clone() };
        let deadline = Instant::now() + self.config.timeout;
        let mut failed = Status::deadline_exceeded("context deadline exceeded");
        for _ in 0..CLEANUP_TRIES {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match self.seat.driver.call(request.clone(), left).await {
                Ok(_) => return Ok(()),
                Err(status) => failed = status,
            }
        }
        Err(failed)
    }

    pub(super) fn tell(&self, claim: &Claim, kind: Kind, reason: &'static str, message: String) {
        let object = ObjectRef {
            api_version: "v1",
            kind: "PersistentVolumeClaim",
            namespace: claim.meta.namespace().into(),
            name: claim.meta.name().into(),
            uid: claim.meta.uid.clone(),
            version: claim.meta.version,
        };
        self.seat.events.record(Event { object, kind, reason, message });
    }

    /// Whether the cache has a PersistentVolume of the claim's volume name.
    fn has_object(&self, claim: &Claim) -> bool {
        let name = volume_name(&self.config, &claim.meta.uid.to_string());
        name.is_some_and(|name| self.volumes.get(&Key::cluster(&name)).is_some())
    }

    /// Whether the claim still exists and still waits for its volume.
    pub(super) fn is_waiting(&self, claim: &Claim) -> bool {
        self.waiting(&claim.meta.key).is_some_and(|known| known.meta.uid == claim.meta.uid)
    }

    /// The claim of this key, if it waits for a volume of our driver.
    fn waiting(&self, key: &Key) -> Option<Arc<Claim>> {
        self.claims.get(key).filter(|claim| claim.waits_for(self.claims.scope()))
    }
}

impl Job<ClaimId> for Claims {
    async fn run(&self, id: ClaimId) -> Outcome {
        self.pass(&id).await
    }
}

/// Adds claims to the queue when they, their class or their volume change.
fn feed(queue: &WorkQueue<ClaimId>, caches: &Caches) {
    let Caches { claims, classes, volumes } = caches;
    let id = |claim: &Claim| ClaimId { key: claim.meta.key.clone(), uid: claim.meta.uid.clone() };
    let to = queue.clone();
    // A claim in the background is retried by itself. For any other removed claim only its memory is cleared.
    let scope = claims.scope().clone();
    claims.subscribe(move |change| match change.of(|claim| claim.waits_for(&scope)) {
        Some(Change::Added(claim) | Change::Removed(claim) | Change::Left(claim)) => {
            to.add(id(&claim), Place::lane(0))
        }
        Some(Change::Updated { old, new }) => {
            if old.meta.uid != new.meta.uid {
                to.add(id(&old), Place::lane(0));
            }
            to.add(id(&new), Place::lane(0));
        }
        None => {}
    });
    let (to, known) = (queue.clone(), Arc::downgrade(claims));
    classes.subscribe(move |change| {
        let (Change::Added(class) | Change::Updated { new: class, .. }) = change else { return };
        let Some(claims) = known.upgrade() else { return };
        let waits =
            |claim: &&Arc<Claim>| claim.waits_for(claims.scope()) && *claim.class == *class.meta.name();
        for claim in claims.list().iter().filter(waits) {
            to.add(id(claim), Place::lane(0));
        }
    });
    let (to, known) = (queue.clone(), Arc::downgrade(claims));
    volumes.store().subscribe(move |change| {
        let gone = match change {
            Change::Removed(old) | Change::Left(old) => old,
            Change::Updated { old, new } if old.meta.uid != new.meta.uid => old,
            Change::Added(_) | Change::Updated { .. } => return,
        };
        let Some(claims) = known.upgrade() else { return };
        if let Some(claim) = bereft(gone, &claims) {
            to.add(id(&claim), Place::lane(0));
        }
    });
}

/// The claim that needs a new volume because the one made for it is gone.
fn bereft(gone: &Volume, claims: &Store<Claim>) -> Option<Arc<Claim>> {
    match gone.phase {
        // The claim is gone too, even if our cache does not show that yet.
        VolumePhase::Released | VolumePhase::Failed => return None,
        VolumePhase::Pending | VolumePhase::Available | VolumePhase::Bound => {}
    }
    let holder = gone.claim.as_ref()?;
    let claim = claims.get(&Key::new(&holder.namespace, &holder.name))?;
    (claim.meta.uid == holder.uid && claim.waits_for(claims.scope())).then_some(claim)
}

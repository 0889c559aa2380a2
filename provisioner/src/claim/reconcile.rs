//! Provisions one claim, in one attempt.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::queue::{Job, Outcome, Place, WorkQueue};
use kubernetes::collection::Collection;
use kubernetes::object::{Claim, Class, Key, Uid, Volume};
use kubernetes::store::Store;
use kubernetes::waiting::Uncached;
use process::Seat;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::background::Sent;
use super::eligible::{Eligibility, eligibility, selected_node};
use super::error::ProvisionError;
use super::former::Former;
use super::inherited::Inherited;
use super::memory::{Memory, Unsaved};
use super::object::new_volume;
use super::outcome::State;
use super::protection::held::Snapshots;
use super::queue::{ClaimId, feed};
use super::unplaced::Unplaced;
use crate::caches::Caches;
use crate::capacity::Trigger;
use crate::config::Config;
use crate::intent::log::{Intents, Recorded};
use crate::metrics::ClaimMetrics;
use crate::node::Ownership;
use crate::topology::{Known, Nodes};

/// The cache may lack a PersistentVolume that we created or are about to create. The watch may be late, or somebody may have
/// deleted the object. We check the claim again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What to try for a claim.
pub(super) enum Attempt {
    /// The request that follows from the claim and its class.
    New(Arc<Claim>, Arc<Class>),
    /// The request that was sent earlier, unchanged.
    Again(Sent),
}

impl Attempt {
    fn claim(&self) -> &Arc<Claim> {
        match self {
            Self::New(claim, _) | Self::Again(Sent { claim, .. }) => claim,
        }
    }

    /// The name that the request gives its volume, if it was sent.
    fn name(&self) -> Option<String> {
        match self {
            Self::New(..) => None,
            Self::Again(sent) => Some(sent.prepared.name.clone()),
        }
    }

    fn class(&self) -> &Arc<Class> {
        match self {
            Self::New(_, class) | Self::Again(Sent { class, .. }) => class,
        }
    }
}

/// Why an attempt failed. `sent` is the request that failed. `None`: the attempt failed before the call. `is_first`: the
/// request was not under way before.
struct Failure {
    error: ProvisionError,
    sent: Option<Sent>,
    is_first: bool,
}

impl From<ProvisionError> for Failure {
    fn from(error: ProvisionError) -> Self {
        Self { error, sent: None, is_first: false }
    }
}

/// Provisions volumes for claims.
pub(crate) struct Claims {
    pub(super) config: Arc<Config>,
    pub(super) seat: Seat,
    pub(super) claims: Arc<Store<Claim>>,
    classes: Arc<Store<Class>>,
    pub(super) volumes: Collection<Volume>,
    pub(super) nodes: Option<Nodes>,
    capacity: Trigger,
    pub(super) unplaced: Unplaced,
    memory: Mutex<Memory>,
    pub(super) former: Former,
    pub(super) inherited: Inherited,
    pub(super) unsaved: WorkQueue<ClaimId>,
    pub(super) metrics: ClaimMetrics,
    pub(super) intents: Arc<Intents>,
    /// The sources of claims, where they are snapshots.
    pub(super) snapshots: Option<Snapshots>,
    /// Notified when a source was let go of, or could not be.
    pub(super) released: Arc<Notify>,
    /// Objects that claims wait for.
    pub(super) uncached: Arc<Uncached<ClaimId>>,
    pub(super) queue: WorkQueue<ClaimId>,
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
        // First: whoever the queue wakes finds it up to date.
        let former = Former::follow(caches.volumes.store(), config.clone());
        feed(queue, &caches, config.clone());
        let Caches { claims, classes, volumes, nodes, capacity } = caches;
        let unplaced = Unplaced::default();
        if let Some(nodes) = &nodes {
            let (to, waiting) = (queue.clone(), unplaced.clone());
            nodes.on_change(move |node| {
                waiting.take(node).into_iter().for_each(|id| to.add(id, Place::lane(0)))
            });
        }
        let (memory, inherited, queue) = (Mutex::default(), Inherited::follow(&claims), queue.clone());
        let snapshots = config.can.snapshots.then(|| Snapshots::new(&config, &seat, &claims));
        let to = queue.clone();
        let uncached = Uncached::new(
            seat.objects.clone(),
            seat.metrics.clone(),
            seat.streaming_lists,
            move |id: &ClaimId| to.add(id.clone(), Place::lane(0)),
        );
        let intents =
            Intents::new(config.intents.clone(), seat.objects.clone(), claims.scope().clone()).into();
        Self {
            config,
            seat,
            claims,
            classes,
            volumes,
            nodes,
            capacity,
            unplaced,
            memory,
            former,
            inherited,
            unsaved,
            metrics,
            intents,
            snapshots,
            released: Arc::default(),
            uncached,
            queue,
        }
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
        let class = stored.as_ref().and_then(|claim| self.classes.get(&Key::cluster(&claim.class)));
        let background = self.memory().background(&id.uid);
        let attempt = match (stored, background) {
            (stored, Some(background)) => {
                let present =
                    class.filter(|class| stored.as_ref().is_some_and(|claim| self.may_begin(claim, class)));
                match (background.next(present.as_deref()), stored, present) {
                    // Nothing may be left at the driver: begin anew if claim and class are still there.
                    (None, Some(claim), Some(class)) => Attempt::New(claim, class),
                    (None, ..) => return Outcome::Done,
                    (Some(sent), ..) => Attempt::Again(sent.clone()),
                }
            }
            (Some(claim), None) if self.is_elsewhere(&claim, class.as_deref()) => {
                self.memory().end_contest(&id.uid);
                return Outcome::Done;
            }
            (Some(claim), None) => match eligibility(&claim, class.as_deref(), self.config.names()) {
                Eligibility::Ignore | Eligibility::WaitsForNode => return Outcome::Done,
                Eligibility::ForPopulator => return self.left_to_populator(&claim),
                Eligibility::ClassMissing => return self.class_missing(&claim),
                Eligibility::Go => match (class, &self.config.node) {
                    (Some(class), Some(node)) if node.ownership(&claim, &class) == Ownership::Open => {
                        return self.contend(&claim, &class, node).await;
                    }
                    (Some(class), _) => Attempt::New(claim, class),
                    (None, _) => return self.class_missing(&claim),
                },
            },
            (None, None) => {
                self.unplaced.forget(id);
                self.memory().forget(&id.uid);
                return Outcome::Done;
            }
        };
        let rests = self.memory().rests(&id.uid, &attempt.class().meta.uid, Instant::now());
        match rests {
            Some(left) => Outcome::After(left),
            None => self.attempt(attempt).await,
        }
    }

    /// Whether the claim may be provisioned here and now with this class.
    fn may_begin(&self, claim: &Claim, class: &Class) -> bool {
        let own =
            self.config.node.as_ref().is_none_or(|node| node.ownership(claim, class) == Ownership::Ours);
        own && eligibility(claim, Some(class), self.config.names()) == Eligibility::Go
    }

    /// Whether the claim is for another node, or for none yet.
    fn is_elsewhere(&self, claim: &Claim, class: Option<&Class>) -> bool {
        let Some(node) = &self.config.node else { return false };
        match class {
            Some(class) => node.ownership(claim, class) == Ownership::Others,
            None => node.is_selected_elsewhere(claim),
        }
    }

    /// Makes one attempt, and remembers a volume that the driver may still create.
    async fn attempt(&self, attempt: Attempt) -> Outcome {
        let (begun, claim, class) = (Instant::now(), attempt.claim().clone(), attempt.class().clone());
        let (uid, was_sent) = (&claim.meta.uid, matches!(attempt, Attempt::Again(_)));
        self.memory().begin(uid, &class.meta.uid);
        self.unplaced.forget(&ClaimId::of(&claim));
        let name = attempt.name().or_else(|| self.name_of(&claim)).unwrap_or_default();
        let Failure { error, sent, is_first } = match self.provision(attempt, name.clone(), begun).await {
            Ok(()) => {
                self.memory().settle_named(uid, &name);
                self.free(&claim, was_sent);
                if self.memory().is_open(uid) {
                    return Outcome::Retry;
                }
                let done = self.has_object(&claim) || !self.is_waiting(&claim);
                return if done { Outcome::Done } else { Outcome::After(LOOK_AGAIN) };
            }
            Err(failure) => failure,
        };
        if error.is_for_populator() {
            self.free(&claim, was_sent);
            return self.left_to_populator(&claim);
        }
        let state = self.state_after(&error, &claim).await;
        self.keep_or_settle(uid, sent, state, is_first);
        let rests = self.rests_without_secret(&claim, &error);
        if let Some(rest) = &rests
            && self.waits_in_vain(&claim, rest).await
        {
            self.memory().give_up(uid);
        }
        self.free(&claim, was_sent);
        if state != State::NoChange {
            self.capacity.failed(class.meta.name());
        }
        if !self.seat.leadership.holds() {
            // We may have failed only because we no longer lead; the next leader goes on.
            return Outcome::Retry;
        }
        if let Some(rest) = rests {
            if rest.is_news {
                self.tell_of_wait(&claim, &class, &rest, &error);
            }
            return Outcome::Retry;
        }
        self.tell_failure(&claim, &error);
        if state == State::Reschedule && self.reschedule(&claim).await {
            // The claim comes back with the scheduler's next choice.
            let settled = !self.memory().is_open(uid);
            return if settled { Outcome::Done } else { Outcome::Retry };
        }
        if !error.is_infeasible() {
            return Outcome::Retry;
        }
        self.memory().refuse(uid, &class.meta.uid, Instant::now());
        let settled = !self.memory().is_open(uid);
        if settled { Outcome::After(super::memory::INFEASIBLE_RETRY) } else { Outcome::Retry }
    }

    /// Notes what this failure says of what may be under way.
    fn keep_or_settle(&self, uid: &Uid, sent: Option<Sent>, state: State, is_first: bool) {
        match (sent, state) {
            (Some(sent), State::InBackground) => self.memory().keep(sent),
            (Some(sent), State::Finished | State::Reschedule) => {
                self.inherited.settle(uid);
                self.memory().settle(&sent);
            }
            // It did not reach the driver.
            (Some(sent), State::NoChange) if is_first => self.memory().settle(&sent),
            // What we know of earlier calls stays. None of a claim's requests holds up the others.
            (Some(_), State::NoChange) | (None, _) => self.memory().postpone(uid),
        }
    }

    /// Says what may still happen at the driver after this error. A claim that could not be placed waits for the topology that it lacks.
    async fn state_after(&self, error: &ProvisionError, claim: &Claim) -> State {
        let node = selected_node(claim);
        if matches!(error, ProvisionError::Topology(_)) {
            self.unplaced.wait(ClaimId::of(claim), node);
        }
        match error.gone_node() {
            Some(gone) if !self.is_gone(gone).await => State::NoChange,
            Some(_) | None => error.state(self.config.uses_topology(), node.is_some()),
        }
    }

    /// What is known of the nodes, for a claim.
    pub(super) fn known(&self, claim: &Claim) -> Known {
        self.nodes.as_ref().map(|nodes| nodes.known(selected_node(claim))).unwrap_or_default()
    }

    async fn provision(&self, attempt: Attempt, name: String, begun: Instant) -> Result<(), Failure> {
        let claim = attempt.claim().clone();
        let is_first = matches!(attempt, Attempt::New(..));
        if name.is_empty() {
            return Err(ProvisionError::NoName.into());
        }
        if self.has_volume(&claim, &name).await? {
            return Ok(());
        }
        let asked = self.request(attempt, name).await;
        if !matches!(&asked, Err(error) if error.is_for_populator()) {
            self.tell_beginning(&claim);
        }
        let (sent, request) = asked?;
        if self.intents.record(&sent).await? == Recorded::TooLarge {
            self.tell_too_large(&claim, &sent.class);
        }
        if is_first {
            // Before it is sent: even if this worker panics in the middle, the request is not forgotten.
            self.memory().keep(sent.clone());
        }
        let made = async {
            let may_be_taken = self.may_collide(&claim, &sent.prepared.name) || !self.is_waiting(&claim);
            let (made, bytes) = self.create(&request, &sent.prepared, may_be_taken).await?;
            self.check_source(&sent, &request, &made).await?;
            let volume = new_volume(&self.config, &claim, &sent.class, &sent.prepared, &made, bytes);
            let in_tree = self.in_tree(&volume, &request, &sent.prepared).await?;
            Ok((Arc::new(volume), in_tree.map(Arc::new)))
        };
        let (volume, in_tree) = match made.await {
            Ok(made) => made,
            Err(error) => return Err(Failure { error, sent: Some(sent), is_first }),
        };
        self.capacity.volume_in(volume.segments().iter().map(String::as_str), sent.class.meta.name());
        let secret = sent.prepared.secrets.provision.clone();
        let unsaved = Unsaved { volume, in_tree, claim: claim.clone(), secret, begun };
        {
            let mut memory = self.memory();
            memory.settle_named(&claim.meta.uid, &sent.prepared.name);
            memory.remember_unsaved(unsaved.clone());
        }
        let saved = self.save(&unsaved).await;
        if self.memory().unsaved(&claim.meta.uid).is_some() {
            self.unsaved.add(ClaimId::of(&claim), Place::lane(0));
        }
        match saved {
            // The queue of unsaved volumes deletes it: nothing is wrong with the claim.
            Ok(_) | Err(ProvisionError::GivenAway) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the cache has a PersistentVolume of the claim's volume name, or one under another name for the claim.
    pub(super) fn has_object(&self, claim: &Claim) -> bool {
        self.former.has(&claim.meta.uid)
            || self.name_of(claim).is_some_and(|name| self.volumes.get(&Key::cluster(&name)).is_some())
    }

    /// Whether the claim still exists and still waits for its volume.
    pub(super) fn is_waiting(&self, claim: &Claim) -> bool {
        self.waiting(&claim.meta.key).is_some_and(|known| known.meta.uid == claim.meta.uid)
    }

    /// The claim of this key, if it waits for a volume of our driver.
    pub(super) fn waiting(&self, key: &Key) -> Option<Arc<Claim>> {
        self.claims.get(key).filter(|claim| claim.waits_for(self.claims.scope()))
    }
}

impl Job<ClaimId> for Claims {
    async fn run(&self, id: ClaimId) -> Outcome {
        let outcome = self.pass(&id).await;
        self.settle_intents(&id.uid);
        self.uncached.settle(&id);
        self.unplaced.settle(&id);
        outcome
    }
}

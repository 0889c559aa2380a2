//! The effects: withdrawing one volume from one node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::queue::{Job, Limits, Outcome, Place, WorkQueue};
use kubernetes::object::{Key, Uid};
use kubernetes::secret::read;
use kubernetes::store::Change;
use process::Process;

use super::decide::{Rival, Step, decide};
use super::open::{Open, Publication};
use crate::attachment::error::DetachError;
use crate::attachment::in_flight::{InFlight, Pair};
use crate::attachment::reconcile::{Caches, TURN};
use crate::attachment::request;
use crate::config::Config;
use crate::metrics::WITHDRAWAL_QUEUE;

/// How often is looked whether an attachment that is about to stand for a publication does so; its changes are
/// looked at at once.
const LOOK: Duration = Duration::from_secs(30);

/// Withdraws what was published for attachments that are gone.
pub struct Withdrawals {
    config: Arc<Config>,
    process: Process,
    caches: Caches,
    in_flight: Arc<InFlight>,
    /// What may still be written down.
    pub(crate) open: Open,
    orphans: Arc<Orphans>,
    queue: WorkQueue<Pair>,
}

impl Withdrawals {
    /// Nothing to withdraw yet.
    pub fn new(config: Arc<Config>, process: Process, caches: Caches, in_flight: Arc<InFlight>) -> Self {
        let limits = Limits { lanes: 1, ..config.limits() };
        let metrics = process.metrics.queue(WITHDRAWAL_QUEUE);
        let queue = WorkQueue::new(config.backoff, limits, vec![metrics]);
        let orphans = Arc::new(Orphans::default());
        let (looked_at, again) = (orphans.clone(), queue.clone());
        caches.attachments.subscribe(move |change| {
            // One that has come only publishes the volume, and one of another node stands for nothing here.
            if let Change::Updated { new: rival, .. } | Change::Removed(rival) | Change::Left(rival) = change
            {
                for publication in looked_at.waiting_on(&rival.node) {
                    again.add(publication.pair.clone(), place(&publication));
                }
            }
        });
        Self { config, process, caches, in_flight, open: Open::default(), orphans, queue }
    }

    /// The attachment called `key` has this uid, or there is none: what was published for another is withdrawn.
    pub(crate) fn attachment_is(&self, key: &Key, there: Option<&Uid>) {
        let Some(publication) = self.open.orphaned(key, there) else { return };
        let pair = publication.pair.clone();
        base::warn!("An attachment is gone whose volume was published meanwhile";
            "attachment" => key, "volume" => pair.handle, "node" => publication.node);
        let place = place(&publication);
        self.orphans.insert(publication);
        self.queue.add(pair, place);
    }

    /// Works until the process is to stop and what is in flight has ended.
    pub async fn run(self: &Arc<Self>) {
        self.queue.run(self.config.workers, self.clone(), self.process.stop.clone()).await;
    }

    async fn pass(&self, pair: &Pair) -> Outcome {
        let Some(publication) = self.orphans.get(pair) else { return Outcome::Done };
        let (queue, again, place) = (self.queue.clone(), pair.clone(), place(&publication));
        let Some(_claim) = self.in_flight.claim(pair, None, move || queue.add(again, place)) else {
            // The end of that call brings it here again, as it does an attachment that waits for its turn.
            return Outcome::After(TURN);
        };
        // No other call for the pair is under way, and none begins before this ends: what the cache does not show yet
        // publishes after it.
        self.orphans.set_waiting(pair, true);
        match decide(&publication, self.rivals(), &self.config.finalizer) {
            Step::Wait => return Outcome::After(LOOK),
            Step::Leave => {}
            Step::Withdraw => {
                self.orphans.set_waiting(pair, false);
                if let Err(error) = self.withdraw(&publication).await {
                    base::error!(error, "Failed to withdraw a volume whose attachment is gone";
                        "volume" => pair.handle, "node" => publication.node);
                    return error.outcome();
                }
                base::info!("Volume withdrawn whose attachment is gone";
                    "volume" => pair.handle, "node" => publication.node);
            }
        }
        self.orphans.remove(pair);
        Outcome::Done
    }

    async fn withdraw(&self, publication: &Publication) -> Result<(), DetachError> {
        let Publication { pair, secret, migrated, .. } = publication;
        let mut request = request::unpublish(&pair.handle, &pair.node_id);
        if let Some(place) = secret {
            let failed = |cause| DetachError::Secret { name: place.to_string(), cause };
            request.secrets = read(&self.process.objects, place).await.map_err(failed)?.to_request();
        }
        let (driver, timeout) = (&self.process.driver, self.config.timeout);
        driver.call_migrated(request, timeout, *migrated).await.map_err(DetachError::Driver)?;
        Ok(())
    }

    /// Our attachments, with what is known of their volumes and nodes.
    fn rivals(&self) -> impl Iterator<Item = Rival> {
        let ours = self.caches.attachments.list().into_iter().filter(|attachment| attachment.ours);
        ours.map(|attachment| Rival {
            handle: self.caches.handle(&attachment),
            node_id: self.caches.node_id(&self.config.driver, &attachment),
            attachment,
        })
    }
}

/// What is to be withdrawn.
#[derive(Default)]
struct Orphans(Mutex<HashMap<Pair, Orphan>>);

struct Orphan {
    publication: Publication,
    /// Whether it waits for what another attachment does; a failed withdrawal waits for its back-off instead.
    waiting: bool,
}

impl Orphans {
    fn insert(&self, publication: Publication) {
        self.all().insert(publication.pair.clone(), Orphan { publication, waiting: false });
    }

    fn get(&self, pair: &Pair) -> Option<Publication> {
        self.all().get(pair).map(|orphan| orphan.publication.clone())
    }

    fn remove(&self, pair: &Pair) {
        self.all().remove(pair);
    }

    fn set_waiting(&self, pair: &Pair, waiting: bool) {
        if let Some(orphan) = self.all().get_mut(pair) {
            orphan.waiting = waiting;
        }
    }

    /// Those that wait for another attachment to the node of this name.
    fn waiting_on(&self, node: &str) -> Vec<Publication> {
        let all = self.all();
        let waiting = all.values().filter(|orphan| orphan.waiting && *orphan.publication.node == *node);
        waiting.map(|orphan| orphan.publication.clone()).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Pair, Orphan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a publication waits: by node, so that a hung one holds back no other.
fn place(publication: &Publication) -> Place {
    Place { lane: 0, group: Some(publication.node.clone()) }
}

impl Job<Pair> for Withdrawals {
    async fn run(&self, pair: Pair) -> Outcome {
        self.pass(&pair).await
    }
}

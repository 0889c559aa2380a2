//! Unpublishes one volume from one node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::queue::{Job, Limits, Outcome, Place, WorkQueue};
use kubernetes::object::{Key, Uid};
use kubernetes::secret::read;
use kubernetes::store::Change;
use process::Seat;

use super::decide::{Rival, Step, decide};
use super::open::{Open, Publication};
use crate::attachment::error::DetachError;
use crate::attachment::in_flight::{InFlight, Pair};
use crate::attachment::reconcile::{Caches, TURN};
use crate::attachment::request;
use crate::config::Config;
use crate::metrics::WITHDRAWAL_QUEUE;

/// How often we check whether an attachment covers a publication by now. A change of the attachment is
/// checked at once.
const LOOK: Duration = Duration::from_secs(30);

/// Unpublishes what was published for attachments that are gone.
pub struct Withdrawals {
    config: Arc<Config>,
    seat: Seat,
    caches: Caches,
    in_flight: Arc<InFlight>,
    /// Publications that an attachment may still record.
    pub(crate) open: Open,
    orphans: Arc<Orphans>,
    queue: WorkQueue<Pair>,
}

impl Withdrawals {
    /// Creates it with nothing to withdraw.
    pub fn new(config: Arc<Config>, seat: Seat, caches: Caches, in_flight: Arc<InFlight>) -> Self {
        let limits = Limits { lanes: 1, ..config.limits() };
        let metrics = seat.metrics.queue(WITHDRAWAL_QUEUE);
        let queue = WorkQueue::new(config.backoff, limits, vec![metrics]);
        let orphans = Arc::new(Orphans::default());
        let (looked_at, again) = (orphans.clone(), queue.clone());
        caches.attachments.store().subscribe(move |change| {
            // A new attachment only publishes the volume, and one for another node does not cover it.
            if let Change::Updated { new: rival, .. } | Change::Removed(rival) | Change::Left(rival) = change
            {
                for publication in looked_at.waiting_on(&rival.node) {
                    again.add(publication.pair.clone(), place(&publication));
                }
            }
        });
        Self { config, seat, caches, in_flight, open: Open::default(), orphans, queue }
    }

    /// The attachment called `key` now has this uid, or is gone. What was published for an earlier one is
    /// withdrawn.
    pub(crate) fn attachment_is(&self, key: &Key, there: Option<&Uid>) {
        let Some(publication) = self.open.orphaned(key, there) else { return };
        let pair = publication.pair.clone();
        base::warn!("Attachment removed while its volume was being published; will unpublish the volume";
            "attachment" => key, "volume" => pair.handle, "node" => publication.node);
        let place = place(&publication);
        self.orphans.insert(publication);
        self.queue.add(pair, place);
    }

    /// Works until the process is told to stop and the calls in flight have ended.
    pub async fn run(self: &Arc<Self>) {
        self.queue.run(self.config.workers, self.clone(), self.seat.stop.clone()).await;
    }

    async fn pass(&self, pair: &Pair) -> Outcome {
        let Some(publication) = self.orphans.get(pair) else { return Outcome::Done };
        let (queue, again, place) = (self.queue.clone(), pair.clone(), place(&publication));
        let Some(_claim) = self.in_flight.claim(pair, None, move || queue.add(again, place)) else {
            // The end of that call queues it again, as it does a waiting attachment.
            return Outcome::After(TURN);
        };
        // No other call for the pair is under way, and none begins before this one ends. An attachment that
        // the cache does not show yet publishes afterwards.
        self.orphans.set_waiting(pair, true);
        match decide(&publication, self.rivals(), &self.config.finalizer) {
            Step::Wait => return Outcome::After(LOOK),
            Step::Leave => {}
            Step::Withdraw => {
                self.orphans.set_waiting(pair, false);
                if let Err(error) = self.withdraw(&publication).await {
                    base::error!(error, "Failed to unpublish a volume whose attachment is gone";
                        "volume" => pair.handle, "node" => publication.node);
                    return error.outcome();
                }
                base::info!("Unpublished a volume whose attachment is gone";
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
            request.secrets = read(&self.seat.objects, place).await.map_err(failed)?.to_request();
        }
        let (driver, timeout) = (&self.seat.driver, self.config.timeout);
        driver.call_migrated(request, timeout, *migrated).await.map_err(DetachError::Driver)?;
        Ok(())
    }

    /// Our attachments, with what is known of their volumes and nodes.
    fn rivals(&self) -> impl Iterator<Item = Rival> {
        let ours = self.caches.attachments.store().list().into_iter().filter(|attachment| attachment.ours);
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
    /// Whether it waits for another attachment. A failed withdrawal waits for its back-off instead.
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

    /// The withdrawals that wait for another attachment to this node.
    fn waiting_on(&self, node: &str) -> Vec<Publication> {
        let all = self.all();
        let waiting = all.values().filter(|orphan| orphan.waiting && *orphan.publication.node == *node);
        waiting.map(|orphan| orphan.publication.clone()).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Pair, Orphan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its place in the queue: a group for each node, so that a hung node delays no other.
fn place(publication: &Publication) -> Place {
    Place { lane: 0, group: Some(publication.node.clone()) }
}

impl Job<Pair> for Withdrawals {
    async fn run(&self, pair: Pair) -> Outcome {
        self.pass(&pair).await
    }
}

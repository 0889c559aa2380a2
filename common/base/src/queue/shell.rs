//! The queue on tokio: one dispatcher that hands keys to a bounded number of tasks.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::core::{Core, Outcome, Ticket};
use super::place::{Limits, Place};
use super::turn;
use crate::metrics::{QueueMetrics, Waiting, Work};
use crate::noted::{self, Failure, Noted, Notes};
use crate::status::{self, Wanted};

/// Work on one key.
pub trait Job<K>: Send + Sync + 'static {
    /// Works on `key` and returns the outcome. Never runs twice at once for one key.
    fn run(&self, key: K) -> impl Future<Output = Outcome> + Send;
}

/// A queue that any part of the process may add to. Clones share it.
pub struct WorkQueue<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    core: Mutex<Core<K>>,
    changed: Notify,
    /// One per lane.
    metrics: Vec<QueueMetrics>,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<K: Clone + Eq + Hash + Display + Send + Sync + 'static> WorkQueue<K> {
    /// An empty queue. `metrics` has one entry per lane.
    pub fn new(backoff: Backoff, limits: Limits, metrics: Vec<QueueMetrics>) -> Self {
        let core = Mutex::new(Core::new(backoff, limits));
        let inner = Arc::new(Inner { core, changed: Notify::new(), metrics });
        for (lane, metrics) in inner.metrics.iter().enumerate() {
            // Weak: the metrics outlive the queue, and the queue holds them.
            let inner = Arc::downgrade(&inner);
            let shown = inner.clone();
            metrics.ask_what_waits(move || {
                inner.upgrade().map_or_else(Waiting::default, |inner| inner.waiting(lane))
            });
            metrics.show(move |wanted| match shown.upgrade() {
                Some(inner) => inner.view(lane, wanted),
                None => status::Lane::default(),
            });
        }
        Self { inner }
    }

    /// Makes `key` ready now.
    pub fn add(&self, key: K, place: Place) {
        let lane = place.lane;
        let added = self.core().add(key, place, now());
        if added {
            self.inner.tell(lane, |metrics| metrics.count_adds(1));
            self.inner.changed.notify_one();
        }
    }

    /// Ready keys of a lane by group, for metrics: group, how many, age of the oldest.
    pub fn groups(&self, lane: usize) -> Vec<(Option<Arc<str>>, usize, Duration)> {
        let groups = {
            let mut core = self.core();
            core.wake(now());
            core.by_group(lane, now()).map(|(group, count, age)| (group.cloned(), count, age)).collect()
        };
        self.inner.count_woken();
        groups
    }

    /// Works on keys, at most `workers` at once, until `stop` is cancelled; then waits for what is in
    /// flight. A key whose work panics is logged, counted and tried again; the others go on.
    ///
    /// `Differs:` a panic ends the Go sidecars' process, with the work of all other objects.
    pub async fn run<J: Job<K>>(&self, workers: usize, job: Arc<J>, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut running: HashMap<Id, Begun<K>> = HashMap::new();
        let mut stops = pin!(stop.cancelled());
        loop {
            let stopped = stop.is_cancelled();
            while !stopped && running.len() < workers {
                let Some(begun) = self.next() else { break };
                let (job, key) = (job.clone(), begun.ticket.key.clone());
                let notes = self.notes(&begun.ticket);
                let task = tasks.spawn(async move { noted::scope(notes, job.run(key)).await });
                running.insert(task.id(), begun);
            }
            if stopped && running.is_empty() {
                return;
            }
            let due = self.core().next_due().map(Instant::from_std);
            // A key that is due but may not be begun must not keep the loop busy.
            let waits_for_due = |running| due.is_some() && running < workers && !stopped;
            tokio::select! {
                biased;
                Some(ended) = tasks.join_next_with_id() => self.ended(ended, &mut running),
                () = &mut stops, if !stopped => {}
                () = self.inner.changed.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if waits_for_due(running.len()) => {}
            }
        }
    }

    fn next(&self) -> Option<Begun<K>> {
        let ticket = self.core().pop(now());
        self.inner.count_woken();
        let ticket = ticket?;
        let work = self.inner.metrics.get(ticket.lane).map(|metrics| metrics.begin_work(ticket.waited));
        Some(Begun { ticket, _work: work })
    }

    fn ended(&self, ended: Result<(Id, Ended), JoinError>, running: &mut HashMap<Id, Begun<K>>) {
        let (id, (outcome, Noted { mut failure, turn }), panic) = match ended {
            Ok((id, ended)) => (id, ended, None),
            // The span of the pass ended with its task.
            Err(error) => (error.id(), (Outcome::Retry, Noted::default()), Some(error)),
        };
        if let Some(turn) = turn {
            turn::end(turn, outcome, failure.as_ref());
        }
        failure = failure.filter(|_| self.inner.keeps_failures());
        let Some(begun) = running.remove(&id) else { return };
        let key = begun.ticket.key;
        if let Some(error) = panic {
            failure = self.inner.keeps_failures().then(|| Failure::new(PANICKED, &error.to_string(), false));
            crate::error!(error, PANICKED; "key" => key);
            self.inner.tell(begun.ticket.lane, QueueMetrics::count_panic);
        }
        let again = self.core().finish_noting(&key, outcome, failure, now());
        if let Some(delay) = again {
            crate::v!(4, "Will be tried again"; "key" => key, "after" => format!("{delay:?}"));
        }
        if outcome != Outcome::Done {
            self.inner.tell(begun.ticket.lane, QueueMetrics::count_retry);
        }
    }

    /// What is noted while the key is worked on.
    fn notes(&self, ticket: &Ticket<K>) -> Notes {
        let metrics = self.inner.metrics.get(ticket.lane);
        let turn = metrics.and_then(|metrics| metrics.begin_turn(&ticket.key, ticket.waited));
        Notes::new(self.inner.keeps_failures(), turn)
    }

    fn core(&self) -> MutexGuard<'_, Core<K>> {
        self.inner.core()
    }
}

/// How a pass ended, and what it noted.
type Ended = (Outcome, Noted);

const PANICKED: &str = "The worker panicked; will retry";

impl<K: Clone + Eq + Hash + Display> Inner<K> {
    /// What waits in a lane now, for the status page.
    fn view(&self, lane: usize, wanted: &Wanted<'_>) -> status::Lane {
        let view = {
            let mut core = self.core();
            core.wake(now());
            core.view(lane, wanted, now())
        };
        self.count_woken();
        view
    }
}

impl<K: Clone + Eq + Hash> Inner<K> {
    fn keeps_failures(&self) -> bool {
        self.metrics.first().is_some_and(QueueMetrics::is_shown)
    }

    /// What waits in a lane now, for the metrics page.
    fn waiting(&self, lane: usize) -> Waiting {
        let waiting = {
            let mut core = self.core();
            core.wake(now());
            Waiting { depth: core.depth(lane), oldest: core.oldest_since(lane).map(Instant::from_std) }
        };
        self.count_woken();
        waiting
    }

    /// Counts the keys whose pause ended: client-go adds them to its queue then.
    fn count_woken(&self) {
        for (lane, metrics) in self.metrics.iter().enumerate() {
            metrics.count_adds(self.core().take_woken(lane));
        }
    }

    fn tell(&self, lane: usize, what: impl FnOnce(&QueueMetrics)) {
        if let Some(metrics) = self.metrics.get(lane) {
            what(metrics);
        }
    }
}

impl<K> Inner<K> {
    fn core(&self) -> MutexGuard<'_, Core<K>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Begun<K> {
    ticket: Ticket<K>,
    /// Ends with the work, for the metrics.
    _work: Option<Work>,
}

/// The paused clock of tests moves tokio's time, which std's follows only through it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

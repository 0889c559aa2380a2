//! client-go's `workqueue_*` families, and the age of the oldest waiting item.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Error, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntGaugeVec, Opts, Registry,
    exponential_buckets,
};
use tokio::time::Instant;

use super::register::counter;
use crate::status::{Board, Lane, Purpose, Wanted};
use crate::trace::{Description, Kind, Open, Traces};

/// The metrics of the work queues of one name, mostly one; clones share them.
///
/// The queue tells what happens; unfinished work and ages are computed when the page is read.
#[derive(Clone)]
pub struct QueueMetrics {
    queue: Arc<Queue>,
    purpose: Option<Purpose>,
}

struct Queue {
    name: String,
    board: Board,
    traces: Traces,
    adds: IntCounter,
    retries: IntCounter,
    panics: IntCounter,
    waits: Histogram,
    works: Histogram,
    state: Mutex<State>,
}

/// What waits in a queue at this moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waiting {
    /// Items that are ready and that nobody works on.
    pub depth: usize,
    /// Since when the oldest of them has been ready.
    pub oldest: Option<Instant>,
}

type Ask = dyn Fn() -> Waiting + Send + Sync;

#[derive(Default)]
struct State {
    /// One for each queue of the name.
    ask: Vec<Arc<Ask>>,
    next: u64,
    /// When each piece of work in progress began.
    running: BTreeMap<u64, Instant>,
}

impl QueueMetrics {
    /// The same queue. The status page shows it as this operation, on objects of this kind.
    #[must_use]
    pub fn doing(self, operation: &'static str, kind: &'static str) -> Self {
        Self { purpose: Some(Purpose { operation, kind }), ..self }
    }

    /// Whether the status page is served: failures are kept for it.
    pub fn is_shown(&self) -> bool {
        self.queue.board.is_served()
    }

    /// `ask` tells what one lane of a queue holds; it is called whenever the status page is requested.
    pub fn show(&self, ask: impl Fn(&Wanted<'_>) -> Lane + Send + Sync + 'static) {
        if let Some(purpose) = self.purpose {
            self.queue.board.add_lane(purpose, &self.queue.name, ask);
        }
    }

    /// A worker begins a pass over the object that `key` names, which has waited this long: the first span of a trace, if
    /// anything is traced and the operation has a name.
    pub(crate) fn begin_turn(&self, key: &dyn Display, waited: Duration) -> Option<Open> {
        let (tracer, purpose) = (self.queue.traces.get()?, self.purpose?);
        Some(tracer.begin(|| {
            let key = key.to_string();
            let (namespace, name) = key.split_once('/').unwrap_or(("", &key));
            let name_of_name = format!("k8s.{}.name", purpose.kind.to_ascii_lowercase());
            let mut attributes = vec![
                (name_of_name.into(), name.into()),
                ("mooring.queue".into(), self.queue.name.as_str().into()),
                ("mooring.waited_ms".into(), waited.into()),
            ];
            if !namespace.is_empty() {
                attributes.push(("k8s.namespace.name".into(), namespace.into()));
            }
            let name = format!("{} {}", purpose.operation, purpose.kind).into();
            Description { name, kind: Kind::Internal, attributes }
        }))
    }

    /// So many items were added: by an event, or because their pause is over (once per key, however often it is added
    /// while it waits).
    pub fn count_adds(&self, items: u64) {
        self.queue.adds.inc_by(items);
    }

    /// An item is to be tried again after a pause.
    pub fn count_retry(&self) {
        self.queue.retries.inc();
    }

    /// The work on an item panicked.
    pub fn count_panic(&self) {
        self.queue.panics.inc();
    }

    /// `ask` tells what waits in one queue; it is called whenever the page is requested. Queues that share a name are summed
    /// up, as client-go does.
    pub fn ask_what_waits(&self, ask: impl Fn() -> Waiting + Send + Sync + 'static) {
        self.queue.state().ask.push(Arc::new(ask));
    }

    /// A worker took an item that had waited this long; the work lasts until the result is
    /// dropped.
    #[must_use = "the work ends when this is dropped"]
    pub fn begin_work(&self, waited: Duration) -> Work {
        self.queue.waits.observe(waited.as_secs_f64());
        let begun = Instant::now();
        let mut state = self.queue.state();
        let id = state.next;
        state.next += 1;
        state.running.insert(id, begun);
        Work { queue: Arc::clone(&self.queue), id, begun }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One item being worked on. Dropping it ends the work, also when the worker is cancelled.
pub struct Work {
    queue: Arc<Queue>,
    id: u64,
    begun: Instant,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.queue.works.observe(self.begun.elapsed().as_secs_f64());
        self.queue.state().running.remove(&self.id);
    }
}

/// All queues of a process.
#[derive(Clone)]
pub(super) struct Queues {
    adds: prometheus::IntCounterVec,
    retries: prometheus::IntCounterVec,
    panics: prometheus::IntCounterVec,
    waits: HistogramVec,
    works: HistogramVec,
    ages: Ages,
    board: Board,
    traces: Traces,
}

impl Queues {
    pub(super) fn new(registry: &Registry, board: Board, traces: Traces) -> Result<Self, Error> {
        let labels = &["name"];
        let buckets = exponential_buckets(10e-9, 10.0, 10)?;
        let histogram =
            |name, help| HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.clone()), labels);
        let queues = Self {
            adds: counter(registry, "workqueue_adds_total", "Items added.", labels)?,
            retries: counter(
                registry,
                "workqueue_retries_total",
                "Items scheduled to be tried again.",
                labels,
            )?,
            panics: counter(
                registry,
                "mooring_workqueue_panics_total",
                "Items whose worker panicked. They are tried again.",
                labels,
            )?,
            waits: histogram("workqueue_queue_duration_seconds", "How long items waited for a worker.")?,
            works: histogram("workqueue_work_duration_seconds", "How long items were worked on.")?,
            ages: Ages::new()?,
            board,
            traces,
        };
        registry.register(Box::new(queues.waits.clone()))?;
        registry.register(Box::new(queues.works.clone()))?;
        registry.register(Box::new(queues.ages.clone()))?;
        Ok(queues)
    }

    pub(super) fn queue(&self, name: &str) -> QueueMetrics {
        let mut queues = self.ages.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = &[name];
        let queue = queues.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Queue {
                name: name.to_owned(),
                board: self.board.clone(),
                traces: self.traces.clone(),
                adds: self.adds.with_label_values(labels),
                retries: self.retries.with_label_values(labels),
                panics: self.panics.with_label_values(labels),
                waits: self.waits.with_label_values(labels),
                works: self.works.with_label_values(labels),
                state: Mutex::default(),
            })
        });
        QueueMetrics { queue: Arc::clone(queue), purpose: None }
    }
}

/// The gauges that only the moment of reading can tell.
#[derive(Clone)]
struct Ages {
    queues: Arc<Mutex<BTreeMap<String, Arc<Queue>>>>,
    depth: IntGaugeVec,
    unfinished: GaugeVec,
    longest: GaugeVec,
    oldest: GaugeVec,
}

impl Ages {
    fn new() -> Result<Self, Error> {
        let gauge = |name, help| GaugeVec::new(Opts::new(name, help), &["name"]);
        Ok(Self {
            queues: Arc::default(),
            depth: IntGaugeVec::new(Opts::new("workqueue_depth", "Items ready and waiting."), &["name"])?,
            unfinished: gauge(
                "workqueue_unfinished_work_seconds",
                "Seconds of work in progress, summed over all workers.",
            )?,
            longest: gauge(
                "workqueue_longest_running_processor_seconds",
                "How long the longest work in progress has been running.",
            )?,
            oldest: gauge(
                "mooring_workqueue_oldest_item_age_seconds",
                "How long the oldest ready item has been waiting; 0 if none is.",
            )?,
        })
    }
}

impl Collector for Ages {
    fn desc(&self) -> Vec<&Desc> {
        let ages = [&self.unfinished, &self.longest, &self.oldest];
        self.depth.desc().into_iter().chain(ages.into_iter().flat_map(|gauge| gauge.desc())).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = Instant::now();
        let age = |since: &Instant| now.saturating_duration_since(*since).as_secs_f64();
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, queue) in queues.iter() {
            // Asked without the lock: the queue has locks of its own.
            let ask = queue.state().ask.clone();
            let waiting: Vec<Waiting> = ask.iter().map(|ask| ask()).collect();
            let depth: usize = waiting.iter().map(|waiting| waiting.depth).sum();
            let oldest = waiting.iter().filter_map(|waiting| waiting.oldest).min();
            let state = queue.state();
            let labels = &[name.as_str()];
            let ages = || state.running.values().map(age);
            self.depth.with_label_values(labels).set(i64::try_from(depth).unwrap_or(i64::MAX));
            self.unfinished.with_label_values(labels).set(ages().sum());
            self.longest.with_label_values(labels).set(ages().fold(0.0, f64::max));
            self.oldest.with_label_values(labels).set(oldest.as_ref().map_or(0.0, age));
        }
        let gauges = [&self.unfinished, &self.longest, &self.oldest];
        self.depth.collect().into_iter().chain(gauges.into_iter().flat_map(|gauge| gauge.collect())).collect()
    }
}

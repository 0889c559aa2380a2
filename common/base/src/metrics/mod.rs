//! The metrics page: upstream's names, labels and buckets, and a few of our own.
//!
//! A process has one [`Metrics`]. It owns the families of every sidecar (driver calls, work queues, leader
//! status, the page's own counters, the process). Sidecars add theirs with [`Metrics::counter`],
//! [`Metrics::gauge`] and [`Metrics::histogram`]. The page is Prometheus text 0.0.4 with numbers
//! printed as Go prints them, so that bucket labels are the same strings. Our own families begin with
//! `mooring_`. Source: docs/upstream/conventions.md, "Metrics"; docs/upstream/provisioner.md, "Metrics".
//!
//! `Differs:` there are no `go_*` families: they describe the Go runtime.

mod call;
pub(crate) mod page;
mod process;
mod queue;
mod register;

use std::sync::{Arc, Mutex, PoisonError};

pub use prometheus::{
    DEFAULT_BUCKETS, Error as MetricError, HistogramVec, IntCounterVec, IntGaugeVec, Registry,
};
use prometheus::{HistogramOpts, IntCounter, IntGauge};

use call::CallDurations;
use queue::Queues;
pub use queue::{QueueMetrics, Waiting, Work};
use register::{counter, gauge};

use crate::leadership::Leadership;
use crate::status::{Board, Lease};
use crate::trace::{Sampler, Spans, Tracer, Traces};

/// Why the fixed families below register: they are constants, tested once.
const FIXED: &str = "fixed metric families are valid and distinct";

/// Every metric of a process.
pub struct Metrics {
    registry: Registry,
    calls: CallDurations,
    queues: Queues,
    leader_status: IntGaugeVec,
    leader_slow: IntCounterVec,
    malformed: IntCounterVec,
    scrapes: IntCounterVec,
    scrapes_in_flight: IntGauge,
    board: Board,
    traces: Traces,
}

impl Metrics {
    /// All common families, in a registry of their own.
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let calls = CallDurations::new(&registry).expect(FIXED);
        let board = Board::default();
        let traces = Traces::default();
        let queues = Queues::new(&registry, board.clone(), traces.clone()).expect(FIXED);
        let leader_status = gauge(
            &registry,
            "leader_election_master_status",
            "Whether this process holds the lease: 1 leader, 0 candidate.",
            &["name"],
        );
        let leader_slow = counter(
            &registry,
            "leader_election_slowpath_total",
            "Lease renewals that had to read the lease first.",
            &["name"],
        );
        let malformed = counter(
            &registry,
            "mooring_malformed_objects_total",
            "Objects from the API server that could not be read and were skipped.",
            &["kind"],
        );
        let scrapes = counter(
            &registry,
            "promhttp_metric_handler_requests_total",
            "Requests for the metrics page by HTTP status code.",
            &["code"],
        );
        let in_flight = gauge(
            &registry,
            "promhttp_metric_handler_requests_in_flight",
            "Requests for the metrics page being served.",
            &[],
        );
        let scrapes = scrapes.expect(FIXED);
        for code in ["200", "500", "503"] {
            scrapes.with_label_values(&[code]);
        }
        registry.register(Box::new(process::Process::new().expect(FIXED))).expect(FIXED);
        Arc::new(Self {
            registry,
            calls,
            queues,
            leader_status: leader_status.expect(FIXED),
            leader_slow: leader_slow.expect(FIXED),
            malformed: malformed.expect(FIXED),
            scrapes,
            scrapes_in_flight: in_flight.expect(FIXED).with_label_values::<&str>(&[]),
            board,
            traces,
        })
    }

    /// Traces what is done from now on, and counts the spans that are lost. `None` if that is done already.
    pub fn trace(&self, sampler: Sampler) -> Option<Spans> {
        let dropped =
            self.counter("mooring_trace_spans_dropped_total", "Spans that were not sent.", &[]).ok()?;
        let (tracer, spans) = Tracer::new(sampler, dropped.with_label_values::<&str>(&[]));
        self.traces.set(tracer);
        Some(spans)
    }

    #[cfg(test)]
    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// What the status page is made of.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The registry, for collectors of other kinds.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Names the driver in later call samples; those made before stay under `unknown-driver`.
    pub fn set_driver_name(&self, name: &str) {
        self.calls.set_driver_name(name);
    }

    /// Counts one driver call: `method` in full (`/csi.v1.Controller/CreateVolume`), `code` by its
    /// Go name (`OK`, `DeadlineExceeded`, `unknown-non-grpc`).
    ///
    /// `migrated` says whether the call was for a volume migrated from an in-tree plugin. It
    /// becomes a label only for the drivers that in-tree plugins migrate to (none counts as no).
    pub fn observe_call(&self, method: &str, code: &str, seconds: f64, migrated: Option<bool>) {
        self.calls.observe(method, code, seconds, migrated);
    }

    /// The metrics of one work queue, `workqueue_*{name=...}`; the same name gives the same queue.
    pub fn queue(&self, name: &str) -> QueueMetrics {
        self.queues.queue(name)
    }

    /// The metrics of one lease. Upstream's name label is empty in most sidecars.
    pub fn leader(&self, name: &str) -> LeaderMetrics {
        let status = self.leader_status.with_label_values(&[name]);
        status.set(0);
        let slow = self.leader_slow.with_label_values(&[name]);
        LeaderMetrics { status, slow, board: self.board.clone(), holder: Arc::default() }
    }

    /// Counts an object of this kind that could not be read and was skipped.
    pub fn count_malformed(&self, kind: &str) {
        self.malformed.with_label_values(&[kind]).inc();
    }

    /// Adds a counter. No labels: use `with_label_values(&[])`.
    ///
    /// # Errors
    /// The name or a label is invalid, or the name is taken.
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricError> {
        counter(&self.registry, name, help, labels)
    }

    /// Adds a gauge of whole numbers; errors as for [`Metrics::counter`].
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricError> {
        gauge(&self.registry, name, help, labels)
    }

    /// Adds a histogram; errors as for [`Metrics::counter`]. [`DEFAULT_BUCKETS`] are Go's too.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, MetricError> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let histogram = HistogramVec::new(opts, labels)?;
        self.registry.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }

    /// The page as text, without counting the request.
    pub fn render(&self) -> String {
        page::render(&self.registry.gather())
    }

    /// The page as text, counted as one request for it. `names` selects families; none means all.
    pub fn scrape(&self, names: &[String]) -> String {
        self.scrapes_in_flight.inc();
        let mut families = self.registry.gather();
        families.retain(|family| names.is_empty() || names.iter().any(|name| name == family.name()));
        let page = page::render(&families);
        self.scrapes_in_flight.dec();
        self.scrapes.with_label_values(&["200"]).inc();
        page
    }
}

/// The state of one lease.
#[derive(Clone)]
pub struct LeaderMetrics {
    status: IntGauge,
    slow: IntCounter,
    board: Board,
    holder: Arc<Mutex<Option<String>>>,
}

impl LeaderMetrics {
    /// Shows the lease on the status page: its namespace and name, and this process's name in it.
    pub fn show(&self, name: String, identity: String, leadership: Leadership) {
        let holder = self.holder.clone();
        self.board.add_lease(move || Lease {
            name: name.clone(),
            identity: identity.clone(),
            holder: holder.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            leads: leadership.holds(),
        });
    }

    /// Who holds the lease, as far as was seen.
    pub fn set_holder(&self, holder: Option<&str>) {
        *self.holder.lock().unwrap_or_else(PoisonError::into_inner) = holder.map(str::to_owned);
    }

    /// Whether this process leads now.
    pub fn set_leader(&self, leads: bool) {
        self.status.set(i64::from(leads));
    }

    /// Counts a renewal that had to read the lease first.
    pub fn count_slow_path(&self) {
        self.slow.inc();
    }
}

#[cfg(test)]
mod tests;

//! Metrics of the backlog, by operation and node: `mooring_attacher_waiting_attachments` (how many wait for a worker) and
//! `mooring_attacher_oldest_waiting_seconds` (how long the oldest has waited). What is in back-off or in work does not count. An attachment
//! waits because no worker is free, or because its node uses its share of the workers.
//!
//! `Differs:` upstream has one queue, `csi-attacher-va`, for all attachments. Here that is the queue of
//! attaches; `csi-attacher-va-detach` is the queue of detaches, and `csi-attacher-withdrawal` that of volumes
//! whose attachments are gone (see [`crate::publication`]).

use std::time::Duration;

use base::metrics::Metrics;
use base::queue::WorkQueue;
use kubernetes::object::Key;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, GaugeVec, IntGaugeVec, Opts};

use crate::attachment::decide::{ATTACH, DETACH};

/// The queue of attaches, in `workqueue_*{name=}`.
pub(crate) const ATTACH_QUEUE: &str = "csi-attacher-va";
/// The queue of detaches.
pub(crate) const DETACH_QUEUE: &str = "csi-attacher-va-detach";
/// The queue of PersistentVolumes that are deleted: our finalizer comes off when their attachments are gone.
pub(crate) const VOLUME_QUEUE: &str = "csi-attacher-pv";
/// The queue of volumes whose attachments are gone. Upstream has none.
pub(crate) const WITHDRAWAL_QUEUE: &str = "csi-attacher-withdrawal";

/// How many nodes are shown for each operation. The longest waits come first.
const NODES: usize = 10;
const OPERATIONS: [(usize, &str); 2] = [(ATTACH, "attach"), (DETACH, "detach")];

/// Reads the queue when the page is requested.
struct Backlog {
    queue: WorkQueue<Key>,
    depth: IntGaugeVec,
    age: GaugeVec,
}

/// Adds the families to the page; fails if the names are taken.
pub(crate) fn register(metrics: &Metrics, queue: WorkQueue<Key>) -> Result<(), Error> {
    let labels = &["operation", "node"];
    let depth = Opts::new(
        "mooring_attacher_waiting_attachments",
        "Attachments that wait for a worker (none is free, or their node uses its share; not in back-off, not in work), by operation and node. Shows the ten nodes with the longest wait.",
    );
    let age = Opts::new(
        "mooring_attacher_oldest_waiting_seconds",
        "Seconds that the oldest attachment has waited for a worker (none is free, or its node uses its share), by operation and node. Shows the ten nodes with the longest wait.",
    );
    let backlog =
        Backlog { queue, depth: IntGaugeVec::new(depth, labels)?, age: GaugeVec::new(age, labels)? };
    metrics.registry().register(Box::new(backlog))
}

impl Collector for Backlog {
    fn desc(&self) -> Vec<&Desc> {
        self.depth.desc().into_iter().chain(self.age.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.depth.reset();
        self.age.reset();
        for (lane, operation) in OPERATIONS {
            let groups = self.queue.groups(lane);
            let nodes = groups.into_iter().filter_map(|(node, depth, age)| Some((node?, depth, age)));
            for (node, depth, age) in top(nodes.collect()) {
                let labels = &[operation, &*node];
                self.depth.with_label_values(labels).set(i64::try_from(depth).unwrap_or(i64::MAX));
                self.age.with_label_values(labels).set(age.as_secs_f64());
            }
        }
        self.depth.collect().into_iter().chain(self.age.collect()).collect()
    }
}

/// Returns the ten nodes whose oldest attachment has waited longest. If ages are equal, nodes with more attachments come first.
fn top<N: Ord>(mut nodes: Vec<(N, usize, Duration)>) -> Vec<(N, usize, Duration)> {
    nodes.sort_by(|one, other| (other.2, other.1, &one.0).cmp(&(one.2, one.1, &other.0)));
    nodes.truncate(NODES);
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::queue::{Backoff, Limits, Place};

    #[tokio::test(start_paused = true)]
    async fn the_nodes_that_wait_longest_are_shown() {
        let metrics = Metrics::new();
        let backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(2) };
        let queue = WorkQueue::new(backoff, Limits { lanes: 2, per_lane: 1, per_group: 1 }, Vec::new());
        register(&metrics, queue.clone()).unwrap();
        let place = |lane, node: &str| Place { lane, group: Some(node.into()) };
        for number in 0..12 {
            queue.add(Key::cluster(&format!("d{number}")), place(DETACH, &format!("n{number:02}")));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        queue.add(Key::cluster("a"), place(ATTACH, "n00"));
        queue.add(Key::cluster("b"), place(ATTACH, "n00"));
        let page = metrics.render();
        let lines = |prefix: &str| {
            page.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect::<Vec<_>>()
        };
        let depths = lines("mooring_attacher_waiting_attachments{");
        assert_eq!(depths.len(), 11);
        assert_eq!(depths[0], "mooring_attacher_waiting_attachments{node=\"n00\",operation=\"attach\"} 2");
        assert!(!depths.iter().any(|line| line.contains("n10") || line.contains("n11")), "{depths:?}");
        let ages = lines("mooring_attacher_oldest_waiting_seconds{");
        assert!(
            ages.contains(
                &"mooring_attacher_oldest_waiting_seconds{node=\"n03\",operation=\"detach\"} 9".to_owned()
            ),
            "{ages:?}"
        );
    }
}

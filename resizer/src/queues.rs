//! The two queues of work: growth and modification. Both hold claims.

use std::sync::Arc;

use base::metrics::Metrics;
use base::queue::{Limits, Place, WorkQueue};
use kubernetes::object::Key;

use crate::config::Config;

/// What is done about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// The growth of its volume.
    Growth,
    /// The modification of its volume.
    Modification,
}

/// The queues. A queue without workers stays empty.
#[derive(Clone)]
pub(crate) struct Queues {
    /// Claims whose volume may have to grow.
    pub(crate) growth: WorkQueue<Key>,
    /// Claims whose volume may have to be modified.
    pub(crate) modification: WorkQueue<Key>,
    grows: bool,
    modifies: bool,
}

impl Queues {
    /// Empty queues, and their metrics.
    ///
    /// `Differs:` upstream's two queues have one name, and their metrics are one. Here the second is called
    /// `<driver>-pvc-modify`.
    pub(crate) fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        let queue = |name: &str, operation| {
            let metrics = metrics.queue(name).doing(operation, "PersistentVolumeClaim");
            WorkQueue::new(config.backoff, Limits::plain(), vec![metrics])
        };
        let growth = format!("{}-pvc", config.driver);
        Self {
            modification: queue(&format!("{growth}-modify"), "modify"),
            growth: queue(&growth, "grow"),
            grows: config.can.expansion.is_some(),
            modifies: config.classes.is_some(),
        }
    }

    /// Queues a claim for one of the two.
    pub(crate) fn add(&self, operation: Operation, key: &Key) {
        let (queue, is_served) = match operation {
            Operation::Growth => (&self.growth, self.grows),
            Operation::Modification => (&self.modification, self.modifies),
        };
        if is_served {
            queue.add(key.clone(), Place::lane(0));
        }
    }

    /// Gives a function that queues a claim for one of the two.
    pub(crate) fn waker(&self, operation: Operation) -> impl Fn(&Key) + Send + Sync + 'static + use<> {
        let queues = self.clone();
        move |key: &Key| queues.add(operation, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Capabilities, Expansion};
    use crate::fixture::config;

    #[test]
    fn queue_that_nobody_works_on_stays_empty() {
        for (expansion, classes, depths) in [
            (Some(Expansion::Controller), None, (1, 0)),
            (None, Some("v1"), (0, 1)),
            (Some(Expansion::Node), Some("v1"), (1, 1)),
        ] {
            let can = Capabilities { expansion, ..Capabilities::default() };
            let metrics = Metrics::new();
            let queues = Queues::new(&Config { can, classes, ..config() }, &metrics);
            for operation in [Operation::Growth, Operation::Modification] {
                queues.add(operation, &Key::new("ns", "claim"));
            }
            let page = metrics.render();
            for (name, depth) in [("driver.example-pvc", depths.0), ("driver.example-pvc-modify", depths.1)] {
                let line = format!("workqueue_depth{{name=\"{name}\"}} {depth}");
                assert!(page.contains(&line), "{line} is not in {page}");
            }
        }
    }
}

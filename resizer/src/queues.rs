//! The two queues of work: growth and modification. Both hold claims.

use std::sync::Arc;

use base::metrics::Metrics;
use base::queue::{Limits, Place, WorkQueue};
use kubernetes::object::Key;

use crate::config::Config;

/// Who works on a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// The growth of its volume.
    Growth,
    /// The modification of its volume.
    Modification,
}

/// The queues. Only those are filled that somebody works on.
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
        let queue = |name: &str| WorkQueue::new(config.backoff, Limits::plain(), vec![metrics.queue(name)]);
        let growth = format!("{}-pvc", config.driver);
        Self {
            modification: queue(&format!("{growth}-modify")),
            growth: queue(&growth),
            grows: config.can.expansion.is_some(),
            modifies: config.classes.is_some(),
        }
    }

    /// Queues a claim for one of the two.
    pub(crate) fn add(&self, who: Who, key: &Key) {
        let (queue, is_served) = match who {
            Who::Growth => (&self.growth, self.grows),
            Who::Modification => (&self.modification, self.modifies),
        };
        if is_served {
            queue.add(key.clone(), Place::lane(0));
        }
    }

    /// Queues claims for one of the two.
    pub(crate) fn waker(&self, who: Who) -> impl Fn(&Key) + Send + Sync + 'static + use<> {
        let queues = self.clone();
        move |key: &Key| queues.add(who, key)
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
            for who in [Who::Growth, Who::Modification] {
                queues.add(who, &Key::new("ns", "claim"));
            }
            let page = metrics.render();
            for (name, depth) in [("driver.example-pvc", depths.0), ("driver.example-pvc-modify", depths.1)] {
                let line = format!("workqueue_depth{{name=\"{name}\"}} {depth}");
                assert!(page.contains(&line), "{line} is not in {page}");
            }
        }
    }
}

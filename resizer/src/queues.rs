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

/// The queues.
#[derive(Clone)]
pub(crate) struct Queues {
    /// Claims whose volume may have to grow.
    pub(crate) growth: WorkQueue<Key>,
    /// Claims whose volume may have to be modified.
    pub(crate) modification: WorkQueue<Key>,
}

impl Queues {
    /// Empty queues, and their metrics.
    ///
    /// `Differs:` upstream's two queues have one name, and their metrics are one. Here the second is called
    /// `<driver>-pvc-modify`.
    pub(crate) fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        let queue = |name: &str| WorkQueue::new(config.backoff, Limits::plain(), vec![metrics.queue(name)]);
        let growth = format!("{}-pvc", config.driver);
        Self { modification: queue(&format!("{growth}-modify")), growth: queue(&growth) }
    }

    /// The queue of one of the two.
    pub(crate) fn of(&self, who: Who) -> &WorkQueue<Key> {
        match who {
            Who::Growth => &self.growth,
            Who::Modification => &self.modification,
        }
    }

    /// Queues a claim for both.
    pub(crate) fn add(&self, key: &Key) {
        for queue in [&self.growth, &self.modification] {
            queue.add(key.clone(), Place::lane(0));
        }
    }

    /// Queues one claim for one of the two.
    pub(crate) fn waker(&self, who: Who) -> impl Fn(&Key) + Send + Sync + 'static + use<> {
        let queue = self.of(who).clone();
        move |key: &Key| queue.add(key.clone(), Place::lane(0))
    }
}

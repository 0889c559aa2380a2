//! The three queues of work: attachments, volumes, and publications to withdraw.

use std::sync::Arc;

use base::apart::apart;
use base::metrics::Metrics;
use base::queue::{Limits, Place, WorkQueue};
use kubernetes::object::Key;
use tokio_util::sync::CancellationToken;

use crate::attachment::attachments::Attachments;
use crate::attachment::decide::{Step, decide, place};
use crate::caches::Caches;
use crate::config::Config;
use crate::metrics::{self, ATTACH_QUEUE, DETACH_QUEUE, VOLUME_QUEUE, WITHDRAWAL_QUEUE};
use crate::publication::registry::Pair;
use crate::publication::withdraw::Withdrawals;
use crate::volume::{self, reconcile::Volumes};

/// The queues.
#[derive(Clone)]
pub(crate) struct Queues {
    pub(crate) attachments: WorkQueue<Key>,
    pub(crate) volumes: WorkQueue<Key>,
    pub(crate) withdrawals: WorkQueue<Pair>,
}

impl Queues {
    /// Empty queues, and their metrics.
    pub(crate) fn new(config: &Config, metrics: &Metrics) -> Self {
        let limits = config.limits();
        let queue = |name, operation, kind| metrics.queue(name).doing(operation, kind);
        let lanes = vec![
            queue(ATTACH_QUEUE, "attach", "VolumeAttachment"),
            queue(DETACH_QUEUE, "detach", "VolumeAttachment"),
        ];
        let attachments = WorkQueue::new(config.backoff, limits, lanes);
        if let Err(error) = metrics::register(metrics, attachments.clone()) {
            base::error!(error, "Cannot register the metrics of the backlog");
        }
        let volumes = WorkQueue::new(
            config.backoff,
            Limits::plain(),
            vec![queue(VOLUME_QUEUE, "release", "PersistentVolume")],
        );
        let one_lane = Limits { lanes: 1, ..limits };
        let withdrawals = WorkQueue::new(
            config.backoff,
            one_lane,
            vec![queue(WITHDRAWAL_QUEUE, "withdraw", "volume on a node")],
        );
        Self { attachments, volumes, withdrawals }
    }

    /// Works until `stop` is cancelled and what is in flight has ended.
    pub(crate) async fn run(
        &self,
        config: &Config,
        stop: &CancellationToken,
        attachments: &Arc<Attachments>,
        (volumes, withdrawals): (Volumes, Withdrawals),
    ) {
        futures::join!(
            apart(self.attachments.run(config.workers, attachments.clone(), stop.clone())),
            apart(self.volumes.run(config.workers, Arc::new(volumes), stop.clone())),
            apart(self.withdrawals.run(config.withdrawers(), Arc::new(withdrawals), stop.clone())),
        );
    }

    /// Queues every unfinished object, even if its back-off has not ended.
    ///
    /// `Differs:` upstream queues every object.
    pub(crate) fn resync(&self, config: &Config, caches: &Caches) {
        for attachment in caches.attachments.store().list() {
            if decide(&attachment, config.role(), false) != Step::Ignore {
                self.attachments.add(attachment.meta.key.clone(), place(&attachment));
            }
        }
        for volume in caches.volumes.store().list() {
            let step = volume::decide::decide(&volume, &config.driver, &config.finalizer);
            if step != volume::decide::Step::Ignore {
                self.volumes.add(volume.meta.key.clone(), Place::lane(0));
            }
        }
    }
}

//! The duty of a provisioner: its queues, its reconcilers, and what wakes them.

use std::sync::Arc;
use std::time::Duration;

use base::apart::apart;
use base::metrics::MetricError;
use base::queue::{Backoff, Limits, Place, WorkQueue};
use kubernetes::api::Objects;
use kubernetes::collection::Collection;
use kubernetes::object::{Attachment, Claim, Class, CsiNode, Keep, Key, Node, Volume};
use kubernetes::store::Store;
use process::{Caches, Duty, Seat};
use tokio_util::sync::CancellationToken;

use crate::caches;
use crate::capacity::Capacities;
use crate::claim::protection::{self, Protected};
use crate::claim::queue::ClaimId;
use crate::claim::reconcile::Claims;
use crate::claim::save::UnsavedVolumes;
use crate::config::Config;
use crate::metrics::{ClaimMetrics, VolumeMetrics};
use crate::rights::needs;
use crate::topology::Nodes;
use crate::volume::attachments::Attachments;
use crate::volume::reconcile::Volumes;

/// What the queues of claims are about.
const CLAIM: &str = "PersistentVolumeClaim";

/// Workers of the queue of volumes whose objects are not created yet.
const UNSAVED_WORKERS: usize = 4;
/// Back-off of that queue.
///
/// `Differs:` upstream also limits all these retries together to 10 a second, after the first 100. Here the
/// four workers are the limit. The rate is bounded only if `--kube-api-qps` or `--kube-api-burst` is set.
const UNSAVED_BACKOFF: Backoff = Backoff { base: Duration::from_millis(5), max: Duration::from_secs(1000) };

/// What the caches must keep for provisioning.
pub const KEEP: Keep = Keep::PROVISION;

/// The duty of a provisioner on this seat.
///
/// # Errors
/// A metric's name is taken: another provisioner has a seat on the same host.
pub fn provision(seat: Seat, caches: &mut Caches, config: Config) -> Result<Duty, MetricError> {
    provision_through(seat.objects.clone(), seat, caches, config)
}

/// As [`provision`]. Capacities are written through `objects`.
///
/// # Errors
/// As [`provision`].
pub fn provision_through(
    objects: Objects,
    seat: Seat,
    caches: &mut Caches,
    config: Config,
) -> Result<Duty, MetricError> {
    let (needs, config) = (needs(&config), Arc::new(config));
    let (claims, classes) = (caches.store::<Claim>(), caches.store::<Class>());
    let volumes = Collection::new(seat.objects.clone(), caches.store::<Volume>());
    let queue = |name: &str, operation, backoff| {
        let metrics = seat.metrics.queue(name).doing(operation, CLAIM);
        WorkQueue::<ClaimId>::new(backoff, Limits::plain(), vec![metrics])
    };
    let claim_queue = queue("claims", "provision", config.backoff);
    let unsaved_queue = queue("unsavedpvs", "save the volume of", UNSAVED_BACKOFF);
    let volumes_wait = seat.metrics.queue("volumes").doing("delete", "PersistentVolume");
    let volume_queue: WorkQueue<Key> = WorkQueue::new(config.backoff, Limits::plain(), vec![volumes_wait]);
    let (claim_metrics, volume_metrics) =
        (ClaimMetrics::new(&seat.metrics)?, VolumeMetrics::new(&seat.metrics)?);
    let protected_queue = config.can.clones.then(|| protected(&config, &seat, &claims));
    let attached = attachments(&config, caches, &volume_queue);
    let nodes = (config.uses_topology() || config.capacity.is_some()).then(|| match &config.node {
        Some(node) => Nodes::own(node),
        None => Nodes::follow(caches.store::<Node>(), caches.store::<CsiNode>()),
    });
    let capacities = capacities(&config, (seat.clone(), objects), caches, nodes.as_ref())?;
    let capacity = capacities.as_ref().map(|capacities| capacities.trigger()).unwrap_or_default();
    let seen = caches::Caches {
        claims: claims.clone(),
        classes: classes.clone(),
        volumes: volumes.clone(),
        nodes: nodes.filter(|_| config.uses_topology()),
        capacity,
    };
    let claim_job = Arc::new(Claims::new(
        config.clone(),
        seat.clone(),
        seen.clone(),
        &claim_queue,
        unsaved_queue.clone(),
        claim_metrics,
    ));
    let volume_job =
        Arc::new(Volumes::new(config.clone(), seat.clone(), seen, attached, &volume_queue, volume_metrics));
    let stop = seat.stop.clone();
    let work = async move {
        base::info!("Provisioning"; "driver" => config.driver, "claims" => claims.len(), "volumes" => volumes.store().len());
        let unsaved = (&unsaved_queue, Arc::new(UnsavedVolumes(claim_job.clone())));
        let protected = protected_queue.as_ref().map(|queue| (queue, config.clone_workers));
        let claims = work_on_claims((&claim_queue, claim_job), unsaved, protected, config.workers, &stop);
        let volumes = volume_queue.run(config.workers, volume_job, stop.clone());
        let capacities = async {
            if let Some(capacities) = capacities {
                capacities.run().await;
            }
        };
        futures::join!(apart(claims), apart(volumes), apart(capacities));
    };
    Ok(Duty::new(&seat, needs, work))
}

/// Provisions claims, and writes down their requests, until `stop`. What an earlier process has sent comes before anything new.
async fn work_on_claims(
    (queue, job): (&WorkQueue<ClaimId>, Arc<Claims>),
    (unsaved_queue, unsaved_job): (&WorkQueue<ClaimId>, Arc<UnsavedVolumes>),
    protected: Option<(&WorkQueue<Key>, usize)>,
    workers: usize,
    stop: &CancellationToken,
) {
    job.begin_to_lead();
    let intents = job.intents();
    let Some(sent) = stop.run_until_cancelled(intents.load()).await else { return };
    sent.into_iter().for_each(|sent| job.adopt(sent));
    let queues = async {
        let protected = async {
            if let Some((queue, workers)) = protected {
                queue.run(workers, Arc::new(Protected(job.clone())), stop.clone()).await;
            }
        };
        futures::join!(
            apart(queue.run(workers, job.clone(), stop.clone())),
            apart(unsaved_queue.run(UNSAVED_WORKERS, unsaved_job, stop.clone())),
            apart(protected),
            apart(job.release_snapshots(stop)),
        )
    };
    tokio::select! {
        _ = queues => {}
        () = apart(intents.run(|sent| job.adopt(sent))) => {}
        () = apart(intents.sweep()) => {}
        () = apart(job.poll()) => {}
    }
    intents.clean().await;
}

/// The queue of claims that were cloned and are deleted. Upstream calls it as it calls the queue of all claims.
fn protected(config: &Config, seat: &Seat, claims: &Store<Claim>) -> WorkQueue<Key> {
    let metrics = vec![seat.metrics.queue("claims").doing("release the clone source", CLAIM)];
    let queue = WorkQueue::new(config.backoff, Limits::plain(), metrics);
    protection::feed(&queue, claims);
    queue
}

/// The attachments, which a volume's deletion waits for, if the driver attaches volumes.
fn attachments(config: &Config, caches: &mut Caches, queue: &WorkQueue<Key>) -> Attachments {
    if !config.can.publish {
        return Attachments::default();
    }
    let released = queue.clone();
    Attachments::follow(caches.store::<Attachment>(), move |volume| {
        released.add(Key::cluster(volume), Place::lane(0));
    })
}

/// The capacities, if they are published.
fn capacities(
    config: &Arc<Config>,
    sides: (Seat, Objects),
    caches: &mut Caches,
    nodes: Option<&Nodes>,
) -> Result<Option<Arc<Capacities>>, MetricError> {
    let (Some(settings), Some(nodes)) = (config.capacity.clone(), nodes.cloned()) else { return Ok(None) };
    Ok(Some(Arc::new(Capacities::new(config.clone(), settings, sides, caches, nodes)?)))
}

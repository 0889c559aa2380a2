//! Builds the attacher's duty: its caches, queues, reconcilers and background tasks.

use std::sync::Arc;

use base::apart::apart;
use base::queue::Place;
use kubernetes::attached::Attached;
use kubernetes::collection::Collection;
use kubernetes::object::{Attachment, CsiNode, Keep, Key, Volume};
use kubernetes::store::cache;
use process::{Duty, Seat};
use tokio::time::sleep;
use translation::Translation;

use crate::attachment::attachments::Attachments;
use crate::attachment::contradiction::Contradictions;
use crate::caches::Caches;
use crate::config::Config;
use crate::listing::Listing;
use crate::publication::registry::Publications;
use crate::publication::withdraw::Withdrawals;
use crate::queues::Queues;
use crate::rights::needs;
use crate::volume::reconcile::Volumes;

/// What the caches must keep for attaching.
pub const KEEP: Keep = Keep::ATTACH;

/// Builds the attacher's duty. If the driver does not publish volumes, it watches attachments only.
///
/// `Differs:` upstream watches PersistentVolumes for such a driver as well, and ignores what it sees.
pub fn attach(seat: Seat, caches: &mut process::Caches, config: Config) -> Duty {
    let config = Arc::new(config);
    let caches = stores(&seat, caches, config.can.attach);
    let queues = Queues::new(&config, &seat.metrics);
    let to_volumes = queues.volumes.clone();
    let released = move |name: &str| to_volumes.add(Key::cluster(name), Place::lane(0));
    let attached = Attached::follow(caches.attachments.store(), released.clone());
    let publications = Publications::new(queues.withdrawals.clone(), released);
    publications.follow(caches.attachments.store(), &config.finalizer);
    let volumes =
        Volumes::new(config.clone(), caches.volumes.clone(), attached, publications.clone(), &queues.volumes);
    let contradictions = Arc::new(Contradictions::default());
    let translation: Arc<dyn Translation> = Arc::new(config.plugins);
    let attachments = Arc::new(Attachments::new(
        (config.clone(), seat.clone(), caches.clone()),
        translation.clone(),
        &queues.attachments,
        contradictions.clone(),
        publications.clone(),
    ));
    let withdrawals = Withdrawals {
        config: config.clone(),
        seat: seat.clone(),
        caches: caches.clone(),
        calls: attachments.calls(),
        publications,
    };
    let listing = Listing {
        config: config.clone(),
        seat: seat.clone(),
        caches: caches.clone(),
        queue: queues.attachments.clone(),
        contradictions,
        translation,
    };
    let (needs, stop) = (needs(config.can.attach), seat.stop.clone());
    Duty::new(&seat, needs, async move {
        base::info!("Attaching"; "driver" => config.driver, "attachments" => caches.attachments.store().len(),
            "volumes" => caches.volumes.store().len(), "nodes" => caches.nodes.len());
        let background = async {
            let compare = async {
                if config.can.lists_nodes {
                    listing.run().await
                }
            };
            futures::join!(
                apart(compare),
                apart(attachments.poll_secrets()),
                apart(resync(&queues, &config, &caches))
            );
        };
        // After `stop`, no background task begins anything new.
        let background = async { stop.run_until_cancelled(background).await };
        futures::join!(apart(background), queues.run(&config, &stop, &attachments, (volumes, withdrawals)));
    })
}

fn stores(seat: &Seat, caches: &mut process::Caches, attach: bool) -> Caches {
    let attachments = caches.store::<Attachment>();
    let (volumes, nodes) = if attach {
        (caches.store::<Volume>(), caches.store::<CsiNode>())
    } else {
        // These stay empty: nobody watches volumes and nodes if the driver does not publish.
        (cache(caches.scope().clone()).1, cache(caches.scope().clone()).1)
    };
    let objects = || seat.objects.clone();
    Caches {
        attachments: Collection::new(objects(), attachments),
        volumes: Collection::new(objects(), volumes),
        nodes,
    }
}

/// Queues everything unfinished, at intervals. Ends at once when the interval is zero.
async fn resync(queues: &Queues, config: &Config, caches: &Caches) {
    while !config.resync.is_zero() {
        sleep(config.resync).await;
        queues.resync(config, caches);
    }
}

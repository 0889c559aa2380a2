//! Builds the resizer's duty: its caches, queues, reconcilers and background tasks.

use std::sync::Arc;

use base::apart::apart;
use kubernetes::collection::Collection;
use kubernetes::object::{AttributesClass, Claim, Keep, Volume};
use kubernetes::store::cache;
use kubernetes::watch::WatchOptions;
use process::{Duty, Seat};
use tokio::time::sleep;

use crate::caches::Caches;
use crate::config::Config;
use crate::growth::reconcile::Growths;
use crate::in_use::InUse;
use crate::modification::reconcile::Modifications;
use crate::queues::{Operation, Queues};
use crate::rights::needs;
use crate::shared::{Own, Shared};
use crate::wanted::{Wanted, follow};

/// What the caches must keep for resizing.
pub const KEEP: Keep = Keep::RESIZE;

/// Builds the resizer's duty. If nothing is modified, VolumeAttributesClasses are not watched. If they are and cannot be
/// listed, volumes grow all the same.
pub fn resize(seat: Seat, caches: &mut process::Caches, config: Config) -> Duty {
    let config = Arc::new(config);
    let caches = stores(&seat, caches, &config);
    let queues = Queues::new(&config, &seat.metrics);
    let own = Own::new(&queues);
    let wanted = Wanted::new(&config, &caches, &queues);
    follow(&wanted, &caches, &own);
    let (needs, stop) = (needs(&config), seat.stop.clone());
    let shared = Shared::new(config.clone(), seat.clone(), caches.clone(), queues.clone(), own);
    let in_use = InUse::new(
        seat.clone(),
        config.looks_at_pods.then(|| Arc::new(queues.waker(Operation::Growth)) as Arc<_>),
    );
    shared.when_gone({
        let in_use = Arc::downgrade(&in_use);
        move |claim| {
            if let Some(in_use) = in_use.upgrade() {
                in_use.release(claim);
            }
        }
    });
    let growths = config.can.expansion.map(|expansion| Growths::new(shared.clone(), expansion, in_use));
    let modifications = config.classes.map(|_| Modifications::new(shared.clone()));
    Duty::new(&seat, needs, async move {
        base::info!("Starting external resizer"; "driver" => config.driver, "claims" => caches.claims.store().len(),
            "volumes" => caches.volumes.store().len());
        let grow = async {
            if let Some(growths) = growths {
                queues.growth.run(config.workers, Arc::new(growths), stop.clone()).await;
            }
        };
        let modify = async {
            let Some(modifications) = modifications else { return };
            tokio::select! {
                () = caches.classes.synced() => {}
                () = stop.cancelled() => return,
            }
            queues.modification.run(config.workers, Arc::new(modifications), stop.clone()).await;
        };
        let background = async { stop.run_until_cancelled(resync(&config, &wanted)).await };
        // If volumes can be neither expanded nor modified, there is nothing to do; the process stays.
        let stopped = stop.cancelled();
        futures::join!(stopped, apart(background), apart(grow), apart(modify));
    })
}

fn stores(seat: &Seat, caches: &mut process::Caches, config: &Config) -> Caches {
    let objects = || seat.objects.clone();
    let classes = match config.classes {
        Some(version) => {
            let options = WatchOptions { version: Some(version), ..WatchOptions::default() };
            caches.optional_store::<AttributesClass>(options)
        }
        // Stays empty.
        None => cache(caches.scope().clone()).1,
    };
    Caches {
        claims: Collection::new(objects(), caches.store_beside::<Claim, Volume>()),
        volumes: Collection::new(objects(), caches.store::<Volume>()),
        classes,
        objects: objects(),
    }
}

/// Queues everything unfinished, at intervals. Ends at once when the interval is zero.
async fn resync(config: &Config, wanted: &Wanted) {
    while !config.resync.is_zero() {
        sleep(config.resync).await;
        wanted.resync();
    }
}

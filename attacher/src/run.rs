//! Starts the attacher: reads flags, asks the driver, starts caches, queues and reconcilers.

use std::sync::Arc;
use std::time::Duration;

use base::flag::Parsed;
use base::flag::standard::StandardFlags;
use base::queue::{Limits, Place, WorkQueue};
use csi::capability::ControllerCapabilities;
use csi::identity::{controller_capabilities, plugin_capabilities};
use csi::v1::plugin_capability::service::Type as Service;
use csi::{CallLog, Client};
use kubernetes::attached::Attached;
use kubernetes::collection::Collection;
use kubernetes::object::{Attachment, CsiNode, Keep, Key, Volume};
use kubernetes::permission::Need;
use kubernetes::store::cache;
use process::{Duty, Election, Seat, Setup, StartError, start};
use tokio::time::Instant;
use translation::{NotAvailable, Plugin, Translation};

use crate::attachment::contradiction::Contradictions;
use crate::attachment::reconcile::Attachments;
use crate::background::{Background, NEEDS, NEEDS_TO_MARK};
use crate::caches::Caches;
use crate::config::{Capabilities, Config};
use crate::flags::{self, Flags};
use crate::listing::Listing;
use crate::metrics::{self, ATTACH_QUEUE, DETACH_QUEUE, VOLUME_QUEUE};
use crate::publication::registry::Publications;
use crate::publication::withdraw::{self, Withdrawals};
use crate::volume::reconcile::Volumes;

/// Longest time for GetPluginInfo, and for the two capability calls together, whatever `--timeout` says.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the sidecar until it is told to stop. Returns the exit code.
pub async fn main(parsed: &Parsed) -> u8 {
    let (own, standard): (Flags, StandardFlags) = (parsed.read(), parsed.read());
    match begin(parsed, &own, &standard).await {
        Ok(code) => code,
        Err(error) => {
            base::error!(error, "csi-attacher cannot start");
            error.code()
        }
    }
}

async fn begin(parsed: &Parsed, own: &Flags, standard: &StandardFlags) -> Result<u8, StartError> {
    let setup = Setup {
        program: "csi-attacher",
        standard,
        master: None,
        probe_timeout: own.timeout,
        name_timeout: IDENTITY_TIMEOUT,
        identity_code: 1,
        call_log: CallLog {
            max_length: usize::try_from(own.max_grpc_log_length).ok().filter(|length| *length > 0),
        },
    };
    let started = start(&setup).await?;
    let said = capabilities(&started.host.driver).await?;
    let can = Capabilities::new(&said.0, said.1);
    let driver = started.host.driver_name.clone();
    let error_code = parsed.gates().is_enabled(flags::ERROR_CODE);
    let config = Config::new(own, error_code, driver.as_str(), can);
    let election = Election {
        flags: standard.leader_election.clone(),
        lock: format!("external-attacher-leader-{driver}"),
        release: parsed.gates().is_enabled(flags::RELEASE_LEASE),
    };
    let in_tree = Plugin::of_driver(driver.as_str()).map(|plugin| plugin.name());
    let mut caches = started.caches(KEEP, in_tree);
    let duty = attach(started.seat(&format!("external-attacher {driver}")), &mut caches, config);
    Ok(started.work(said, caches, vec![(election, duty)]).await)
}

/// Asks for capabilities. A driver without a controller service is not asked for those of its controller.
async fn capabilities(driver: &Client) -> Result<process::Capabilities, StartError> {
    let failed = |status: tonic::Status| StartError::Capabilities { cause: csi::grpc_text(&status), code: 1 };
    let deadline = Instant::now() + IDENTITY_TIMEOUT;
    let plugin = plugin_capabilities(driver, IDENTITY_TIMEOUT).await.map_err(failed)?;
    if !plugin.has(Service::ControllerService) {
        return Ok((plugin, ControllerCapabilities::default()));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let controller = controller_capabilities(driver, left).await.map_err(failed)?;
    Ok((plugin, controller))
}

/// What the caches must keep for attaching.
pub const KEEP: Keep = Keep::ATTACH;

/// The duty of an attacher on this seat. A driver that publishes nothing needs the attachments only.
///
/// `Differs:` upstream watches PersistentVolumes for such a driver as well, and ignores what it sees.
pub fn attach(seat: Seat, caches: &mut process::Caches, config: Config) -> Duty {
    let config = Arc::new(config);
    let attachments = caches.store::<Attachment>();
    let (volumes, nodes) = if config.can.attach {
        (caches.store::<Volume>(), caches.store::<CsiNode>())
    } else {
        let scope = caches.scope();
        (cache(scope.clone()).1, cache(scope.clone()).1)
    };
    let caches = Caches {
        attachments: Collection::new(seat.objects.clone(), attachments),
        volumes: Collection::new(seat.objects.clone(), volumes),
        nodes,
    };
    let lanes = vec![seat.metrics.queue(ATTACH_QUEUE), seat.metrics.queue(DETACH_QUEUE)];
    let queue: WorkQueue<Key> = WorkQueue::new(config.backoff, config.limits(), lanes);
    let volume_queue: WorkQueue<Key> =
        WorkQueue::new(config.backoff, Limits::plain(), vec![seat.metrics.queue(VOLUME_QUEUE)]);
    let withdrawals_queue = withdraw::queue(&config, &seat.metrics);
    if let Err(error) = metrics::register(&seat.metrics, queue.clone()) {
        base::error!(error, "Cannot register the metrics of the backlog");
    }
    let to_volumes = volume_queue.clone();
    let released = move |name: &str| to_volumes.add(Key::cluster(name), Place::lane(0));
    let attached = Attached::follow(caches.attachments.store(), released.clone());
    let publications = Publications::new(withdrawals_queue.clone(), released);
    publications.follow(caches.attachments.store(), &config.finalizer);
    let contradictions = Arc::new(Contradictions::default());
    let translation: Arc<dyn Translation> = Arc::new(NotAvailable);
    let attachments = Arc::new(Attachments::new(
        (config.clone(), seat.clone(), caches.clone()),
        translation.clone(),
        &queue,
        contradictions.clone(),
        publications.clone(),
    ));
    let withdrawals = Arc::new(Withdrawals {
        config: config.clone(),
        seat: seat.clone(),
        caches: caches.clone(),
        calls: attachments.calls(),
        publications: publications.clone(),
    });
    let volumes =
        Arc::new(Volumes::new(config.clone(), caches.volumes.clone(), attached, publications, &volume_queue));
    let listing = Listing {
        config: config.clone(),
        seat: seat.clone(),
        caches: caches.clone(),
        queue: queue.clone(),
        contradictions,
        translation,
    };
    let needs: &[Need] = if config.can.attach { &NEEDS } else { &NEEDS_TO_MARK };
    let on = seat.clone();
    Duty::new(&seat, needs.to_vec(), async move {
        base::info!("Attaching"; "driver" => config.driver, "attachments" => caches.attachments.store().len(),
            "volumes" => caches.volumes.store().len(), "nodes" => caches.nodes.len());
        let background = Background {
            seat: &on,
            config: &config,
            caches: &caches,
            attachments: &attachments,
            queue: &queue,
            volume_queue: &volume_queue,
        };
        let queues = async {
            futures::join!(
                queue.run(config.tasks(), attachments.clone(), on.stop.clone()),
                volume_queue.run(config.workers, volumes, on.stop.clone()),
                withdrawals_queue.run(config.workers, withdrawals, on.stop.clone()),
            )
        };
        tokio::select! {
            _ = queues => {}
            () = background.run(listing) => {}
        }
    })
}

//! From the command line to running reconcilers.

use std::sync::Arc;
use std::time::Duration;

use base::flag::Parsed;
use base::flag::standard::StandardFlags;
use base::queue::{Limits, Place, WorkQueue};
use csi::capability::ControllerCapabilities;
use csi::identity::{controller_capabilities, plugin_capabilities};
use csi::v1::plugin_capability::service::Type as Service;
use csi::{CallLog, Client};
use futures::FutureExt;
use futures::future::{BoxFuture, select_all};
use kubernetes::attached::Attached;
use kubernetes::object::{Attachment, CsiNode, Key, Scope, Volume};
use process::{Election, Process, Setup, StartError, start};
use tokio::time::Instant;
use translation::{NotAvailable, Plugin, Translation};

use crate::attachment::mark::Marks;
use crate::attachment::reconcile::{Attachments, Caches};
use crate::beside::Beside;
use crate::config::{Capabilities, Config};
use crate::flags::{self, Flags};
use crate::listing::Listing;
use crate::metrics::{self, ATTACH_QUEUE, DETACH_QUEUE, VOLUME_QUEUE};
use crate::volume::hold::Holds;
use crate::volume::reconcile::Volumes;

/// Bound on GetPluginInfo, and on the two capability calls together, whatever `--timeout` says.
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
        event_source: |driver| format!("external-attacher {driver}"),
    };
    let started = start(&setup).await?;
    let can = capabilities(&started.asking).await?;
    let driver = started.process.driver_name.clone();
    let error_code = parsed.gates().is_enabled(flags::ERROR_CODE);
    let config = Config::new(own, error_code, driver.as_str(), can);
    let election = Election {
        flags: &standard.leader_election,
        lock: format!("external-attacher-leader-{driver}"),
        release: parsed.gates().is_enabled(flags::RELEASE_LEASE),
    };
    Ok(started.work(election, |process| attach(process, config)).await)
}

/// A driver without a controller service is not asked what its controller can.
async fn capabilities(driver: &Client) -> Result<Capabilities, StartError> {
    let failed = |status: tonic::Status| StartError::Capabilities { cause: csi::grpc_text(&status), code: 1 };
    let deadline = Instant::now() + IDENTITY_TIMEOUT;
    let plugin = plugin_capabilities(driver, IDENTITY_TIMEOUT).await.map_err(failed)?;
    if !plugin.has(Service::ControllerService) {
        return Ok(Capabilities::new(&plugin, ControllerCapabilities::default()));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let controller = controller_capabilities(driver, left).await.map_err(failed)?;
    Ok(Capabilities::new(&plugin, controller))
}

/// Reconciles until `process.stop` is cancelled and what is in flight has ended.
pub async fn attach(process: Process, config: Config) {
    let config = Arc::new(config);
    let in_tree = Plugin::of_driver(&config.driver).map(|plugin| plugin.name().into());
    let scope = Arc::new(Scope { driver: config.driver.clone(), in_tree, attach: true });
    let caches = Caches {
        attachments: process.store::<Attachment>(&scope),
        volumes: process.store::<Volume>(&scope),
        nodes: process.store::<CsiNode>(&scope),
    };
    let lanes = vec![process.metrics.queue(ATTACH_QUEUE), process.metrics.queue(DETACH_QUEUE)];
    let queue: WorkQueue<Key> = WorkQueue::new(config.backoff, config.limits(), lanes);
    let volume_queue: WorkQueue<Key> =
        WorkQueue::new(config.backoff, Limits::plain(), vec![process.metrics.queue(VOLUME_QUEUE)]);
    if let Err(error) = metrics::register(&process.metrics, queue.clone()) {
        base::error!(error, "Metrics of the backlog could not be registered");
    }
    let (marks, translation): (_, Arc<dyn Translation>) =
        (Arc::new(Marks::default()), Arc::new(NotAvailable));
    let to_volumes = volume_queue.clone();
    let released = move |name: &str| to_volumes.add(Key::cluster(name), Place::lane(0));
    let (attached, holds) = (Attached::follow(&caches.attachments, released.clone()), Holds::new(released));
    let job = Arc::new(Attachments::new(
        config.clone(),
        process.clone(),
        caches.clone(),
        translation.clone(),
        queue.clone(),
        marks.clone(),
        holds.clone(),
    ));
    let volume_job =
        Volumes::new(config.clone(), process.clone(), caches.volumes.clone(), attached, holds, &volume_queue);
    let withdrawals = job.withdrawals();
    let watches = watches(&process, &config, &caches);
    let listing = Listing {
        config: config.clone(),
        process: process.clone(),
        caches: caches.clone(),
        queue: queue.clone(),
        marks,
        translation,
    };
    let work = async {
        let synced = futures::future::join3(
            caches.attachments.synced(),
            caches.volumes.synced(),
            caches.nodes.synced(),
        );
        tokio::select! {
            _ = synced => {}
            () = process.stop.cancelled() => return,
        }
        base::info!("Attaching"; "driver" => config.driver, "attachments" => caches.attachments.len(),
            "volumes" => caches.volumes.len(), "nodes" => caches.nodes.len());
        let beside = Beside {
            process: &process,
            config: &config,
            caches: &caches,
            attachments: &job,
            queue: &queue,
            volume_queue: &volume_queue,
        };
        let queues = async {
            futures::join!(
                queue.run(config.tasks(), job.clone(), process.stop.clone()),
                volume_queue.run(config.workers, Arc::new(volume_job), process.stop.clone()),
                withdrawals.run(),
            )
        };
        tokio::select! {
            _ = queues => {}
            () = beside.run(listing) => {}
        }
    };
    tokio::select! {
        () = work => {}
        // Watches never end by themselves.
        _ = select_all(watches) => {}
    }
}

/// A driver that publishes nothing needs the attachments only.
///
/// `Differs:` upstream watches PersistentVolumes for it as well, and ignores what it sees.
fn watches(process: &Process, config: &Config, caches: &Caches) -> Vec<BoxFuture<'static, ()>> {
    let mut watches: Vec<BoxFuture<'static, ()>> = vec![process.reflect(&caches.attachments).boxed()];
    if config.can.attach {
        watches.push(process.reflect(&caches.volumes).boxed());
        watches.push(process.reflect(&caches.nodes).boxed());
    } else {
        caches.volumes.list_ends();
        caches.nodes.list_ends();
    }
    watches
}

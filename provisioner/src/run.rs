//! From the command line to running reconcilers.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::flag::Parsed;
use base::flag::standard::StandardFlags;
use base::queue::{Backoff, Limits, Place, WorkQueue};
use csi::CallLog;
use csi::identity::{controller_capabilities, plugin_capabilities};
use futures::FutureExt;
use futures::future::{BoxFuture, select_all};
use kubernetes::object::{Attachment, Claim, Class, Key, Scope, Volume};
use kubernetes::permission::{Need, review};
use process::{Election, Process, Setup, StartError, host_name, start};

use crate::claim::reconcile::{Caches, ClaimId, Claims};
use crate::claim::save::UnsavedVolumes;
use crate::config::{Capabilities, Config, Gates};
use crate::flags::{self, Flags};
use crate::metrics::{ClaimMetrics, VolumeMetrics};
use crate::volume::reconcile::Volumes;
use kubernetes::attached::Attached;

/// Exit code of what upstream calls fatal.
const FATAL: u8 = 255;
/// Workers of the queue of volumes that are not stored yet.
const UNSAVED_WORKERS: usize = 4;
/// Its back-off.
///
/// `Differs:` upstream also holds the retries of all volumes together to 10 a second, after the first 100. Here the
/// workers do: at most four of these retries are in flight. Their rate is bounded only where
/// --kube-api-qps or --kube-api-burst is set.
const UNSAVED_BACKOFF: Backoff = Backoff { base: Duration::from_millis(5), max: Duration::from_secs(1000) };

/// Runs the sidecar until it is told to stop. Returns the exit code.
pub async fn main(parsed: &Parsed) -> u8 {
    let (own, mut standard): (Flags, StandardFlags) = (parsed.read(), parsed.read());
    if let Some(path) = std::env::var("KUBECONFIG").ok().filter(|path| !path.is_empty()) {
        // Upstream lets the variable win over the flag.
        standard.kubeconfig = path;
    }
    match begin(parsed, &own, &standard).await {
        Ok(code) => code,
        Err(error) => {
            base::error!(error, "csi-provisioner cannot start");
            error.code()
        }
    }
}

async fn begin(parsed: &Parsed, own: &Flags, standard: &StandardFlags) -> Result<u8, StartError> {
    let setup = Setup {
        program: "csi-provisioner",
        standard,
        master: Some(own.master.clone()),
        probe_timeout: own.timeout,
        name_timeout: own.timeout,
        identity_code: FATAL,
        call_log: CallLog::default(),
        event_source,
    };
    let started = start(&setup).await?;
    let can = capabilities(&started.asking, own.timeout).await?;
    let gates = Gates {
        topology: parsed.gates().is_enabled(flags::TOPOLOGY),
        attributes_classes: has_attributes_classes(parsed, started.process.objects.client()).await,
    };
    let driver = started.process.driver_name.clone();
    let config = Config::new(own, gates, driver.as_str(), identity(driver.as_str()), can);
    for flag in flags::without_effect(parsed) {
        base::warn!("Flag is read but changes nothing in this release"; "flag" => flag);
    }
    warn_of_gaps(&config);
    let election = Election {
        flags: &standard.leader_election,
        lock: driver.to_string(),
        release: parsed.gates().is_enabled(flags::RELEASE_LEASE),
    };
    Ok(started.work(election, |process| provision(process, config)).await)
}

/// The gate; unless it was set, off where the API server says that it has no such kind.
async fn has_attributes_classes(parsed: &Parsed, client: &kube::Client) -> bool {
    let (gates, gate) = (parsed.gates(), flags::VOLUME_ATTRIBUTES_CLASS);
    if gates.is_set(gate) || !gates.is_enabled(gate) {
        return gates.is_enabled(gate);
    }
    match client.list_api_group_resources("storage.k8s.io/v1").await {
        Ok(list) => list.resources.iter().any(|resource| resource.kind == gate),
        Err(error) if kubernetes::api::is(&error, 404) => false,
        // Not knowing is no reason to ignore what a claim asks for.
        Err(_) => true,
    }
}

async fn capabilities(driver: &csi::Client, timeout: Duration) -> Result<Capabilities, StartError> {
    let failed =
        |status: tonic::Status| StartError::Capabilities { cause: csi::grpc_text(&status), code: FATAL };
    let plugin = plugin_capabilities(driver, timeout).await.map_err(failed)?;
    let controller = controller_capabilities(driver, timeout).await.map_err(failed)?;
    Ok(Capabilities::new(&plugin, controller))
}

/// Says at start what the driver has and this release does not use.
fn warn_of_gaps(config: &Config) {
    if config.uses_topology() {
        base::error!(
            "topology is not available in this release of the provisioner",
            "Claims will fail; start with --feature-gates=Topology=false if every node reaches every volume"
        );
    }
    if config.can.clones || config.can.snapshots {
        base::info!(
            "The driver restores snapshots or clones volumes; this release does neither: such claims get an event"
        );
    }
}

/// Reconciles until `process.stop` is cancelled and what is in flight has ended.
pub async fn provision(process: Process, config: Config) {
    let config = Arc::new(config);
    let scope = Arc::new(Scope { driver: config.driver.clone(), ..Scope::default() });
    let (claims, classes) = (process.store::<Claim>(&scope), process.store::<Class>(&scope));
    let (volumes, attachments) = (process.store::<Volume>(&scope), process.store::<Attachment>(&scope));
    let queue = |name: &str, backoff| {
        WorkQueue::<ClaimId>::new(backoff, Limits::plain(), vec![process.metrics.queue(name)])
    };
    let (claim_queue, unsaved_queue) =
        (queue("claims", config.backoff), queue("unsavedpvs", UNSAVED_BACKOFF));
    let volume_queue: WorkQueue<Key> =
        WorkQueue::new(config.backoff, Limits::plain(), vec![process.metrics.queue("volumes")]);
    let (Ok(claim_metrics), Ok(volume_metrics)) =
        (ClaimMetrics::new(&process.metrics), VolumeMetrics::new(&process.metrics))
    else {
        base::error!("names are taken", "Metrics of provisioning could not be registered");
        return;
    };
    let released = volume_queue.clone();
    let attached =
        Attached::follow(&attachments, move |volume| released.add(Key::cluster(volume), Place::lane(0)));
    let caches = Caches { claims: claims.clone(), classes: classes.clone(), volumes: volumes.clone() };
    let claim_job = Arc::new(Claims::new(
        config.clone(),
        process.clone(),
        caches,
        &claim_queue,
        unsaved_queue.clone(),
        claim_metrics,
    ));
    let stores = (volumes.clone(), classes.clone());
    let volume_job = Arc::new(Volumes::new(
        config.clone(),
        process.clone(),
        stores,
        attached,
        &volume_queue,
        volume_metrics,
    ));
    let mut watches: Vec<BoxFuture<'static, ()>> = vec![
        process.reflect(&claims).boxed(),
        process.reflect(&classes).boxed(),
        process.reflect(&volumes).boxed(),
    ];
    if config.can.publish {
        watches.push(process.reflect(&attachments).boxed());
    } else {
        attachments.list_ends();
    }
    let work = async {
        let synced =
            futures::future::join4(claims.synced(), classes.synced(), volumes.synced(), attachments.synced());
        tokio::select! {
            _ = synced => {}
            () = process.stop.cancelled() => return,
        }
        base::info!("Provisioning"; "driver" => config.driver, "claims" => claims.len(), "volumes" => volumes.len());
        let unsaved_job = Arc::new(UnsavedVolumes(claim_job.clone()));
        futures::join!(
            claim_queue.run(config.workers, claim_job, process.stop.clone()),
            unsaved_queue.run(UNSAVED_WORKERS, unsaved_job, process.stop.clone()),
            volume_queue.run(config.workers, volume_job, process.stop.clone()),
            permissions(&process, &config),
        );
    };
    tokio::select! {
        () = work => {}
        // Watches never end by themselves.
        _ = select_all(watches) => {}
    }
}

/// One line for each verb we lack; done once, beside the work.
async fn permissions(process: &Process, config: &Config) {
    let mut needs = NEEDS.to_vec();
    if config.can.publish {
        needs.push(ATTACHMENTS);
    }
    let namespace = "default";
    review(process.objects.client(), namespace, &needs).await;
}

const NEEDS: [Need; 4] = [
    Need {
        group: "",
        resource: "persistentvolumes",
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
        namespaced: false,
    },
    Need { group: "", resource: "persistentvolumeclaims", verbs: &["list", "watch"], namespaced: false },
    Need {
        group: "storage.k8s.io",
        resource: "storageclasses",
        verbs: &["list", "watch"],
        namespaced: false,
    },
    Need { group: "", resource: "events", verbs: &["create", "patch"], namespaced: false },
];
const ATTACHMENTS: Need = Need {
    group: "storage.k8s.io",
    resource: "volumeattachments",
    verbs: &["list", "watch"],
    namespaced: false,
};

/// `<driver>_<host>_<uuid>`, as upstream's events say.
fn event_source(driver: &str) -> String {
    format!("{driver}_{}_{}", host_name(), uuid::Uuid::new_v4())
}

/// Names this instance, new at each start: milliseconds, a number, the driver.
fn identity(driver: &str) -> String {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    format!("{millis}-{}-{driver}", fastrand::u16(..10_000))
}

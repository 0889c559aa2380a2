//! Starts the provisioner: reads flags, asks the driver, starts caches, queues and reconcilers.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::flag::Parsed;
use base::flag::standard::StandardFlags;
use base::metrics::MetricError;
use base::queue::{Backoff, Limits, Place, WorkQueue};
use csi::identity::{controller_capabilities, plugin_capabilities};
use csi::{CallLog, v1};
use kubernetes::api::Objects;
use kubernetes::collection::Collection;
use kubernetes::object::{Attachment, Claim, Class, CsiNode, Keep, Key, Node, Volume};
use kubernetes::permission::review;
use process::{Caches, Duty, Election, Seat, Setup, StartError, host_name, start};
use translation::Plugins;

use crate::caches;
use crate::capacity::{Capacities, CapacitySettings, owner};
use crate::claim::queue::ClaimId;
use crate::claim::reconcile::Claims;
use crate::claim::save::UnsavedVolumes;
use crate::config::{AttributesVersion, Capabilities, Config, Gates};
use crate::flags::{self, FATAL, Flags};
use crate::metrics::{ClaimMetrics, VolumeMetrics};
use crate::node::{NodeSettings, label_with_node};
use crate::rights::{capacity_needs, needs};
use crate::topology::Nodes;
use crate::volume::attachments::Attachments;
use crate::volume::reconcile::Volumes;

/// Workers of the queue of volumes whose objects are not created yet.
const UNSAVED_WORKERS: usize = 4;
/// Back-off of that queue.
///
/// `Differs:` upstream also limits all these retries together to 10 a second, after the first 100. Here the
/// four workers are the limit. The rate is bounded only if `--kube-api-qps` or `--kube-api-burst` is set.
const UNSAVED_BACKOFF: Backoff = Backoff { base: Duration::from_millis(5), max: Duration::from_secs(1000) };

/// Says in capacity objects who made them.
const MANAGED_BY: &str = "external-provisioner";

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
        fatal_code: FATAL,
        call_log: CallLog::default(),
    };
    let started = start(&setup).await?;
    let said = capabilities(&started.host.driver, own.timeout).await?;
    let can = Capabilities::new(&said.0, said.1);
    let gates = Gates {
        topology: parsed.gates().is_enabled(flags::TOPOLOGY),
        attributes_classes: attributes_classes(parsed, &started.host.client).await,
        plugins: Plugins { rbd: parsed.gates().is_enabled(flags::MIGRATE_RBD) },
    };
    let driver = started.host.driver_name.clone();
    let mut config = Config::new(own, gates, driver.as_str(), identity(driver.as_str()), can);
    if own.node_deployment {
        let node = node_settings(own, &started.host.driver).await?;
        config.identity = format!("{}-{}", config.identity, node.name).into();
        config.node = Some(node);
    }
    if own.enable_capacity {
        let managed_by = config.node.as_ref().map(|node| label_with_node(MANAGED_BY, &node.name));
        let managed_by = managed_by.unwrap_or_else(|| MANAGED_BY.to_owned());
        config.capacity = Some(capacity_settings(own, managed_by, &started.host.client).await);
    }
    for flag in flags::without_effect(parsed) {
        base::warn!("This release accepts the flag but ignores it"; "flag" => flag);
    }
    warn_of_gaps(&config);
    let election = Election {
        flags: standard.leader_election.clone(),
        lock: driver.to_string(),
        releases: parsed.gates().is_enabled(flags::RELEASE_LEASE),
    };
    let in_tree = config.names().in_tree.map(|plugin| plugin.name());
    let keep = if own.enable_capacity || own.node_deployment { KEEP.and(Keep::PLACE) } else { KEEP };
    let mut caches = started.caches(keep, in_tree);
    let seat = started.seat(&event_source(driver.as_str()));
    let objects = match &config.capacity {
        None => seat.objects.clone(),
        Some(settings) => {
            let burst = u32::try_from(own.kube_api_capacity_burst).unwrap_or(1);
            let client = started.limited_client(own.kube_api_capacity_qps, burst).await;
            let client = client.map_err(|cause| StartError::Client { cause, code: FATAL })?;
            let (asking, namespace) = (started.host.client.clone(), settings.namespace.clone());
            tokio::spawn(async move { review(&asking, &namespace, &capacity_needs()).await });
            Objects::new(client, seat.leadership.clone())
        }
    };
    let duty = match provision_through(objects, seat, &mut caches, config) {
        Ok(duty) => duty,
        Err(error) => base::log::exit(error, "Metrics of provisioning could not be registered"),
    };
    Ok(started.work(said, caches, vec![(election, duty)]).await)
}

/// An environment variable that a flag needs. Ends the process if it is not set.
fn variable(name: &str, flag: &str) -> String {
    let value = std::env::var(name).unwrap_or_default();
    if value.is_empty() {
        let why = format!("the environment variable {name} is not set");
        base::log::exit(why, &format!("{flag} needs it: set it from the pod's fields"));
    }
    value
}

/// Asks the driver where this node is.
async fn node_settings(own: &Flags, driver: &csi::Client) -> Result<NodeSettings, StartError> {
    let name = variable("NODE_NAME", "--node-deployment").into();
    let info = driver.call(v1::NodeGetInfoRequest {}, own.timeout).await;
    let info =
        info.map_err(|status| StartError::Capabilities { cause: csi::grpc_text(&status), code: FATAL })?;
    Ok(NodeSettings {
        name,
        segments: info.accessible_topology.map(|topology| topology.segments).unwrap_or_default(),
        immediate: own.node_deployment_immediate_binding,
        base_delay: own.node_deployment_base_delay,
        max_delay: own.node_deployment_max_delay,
    })
}

/// Reads from the environment what the flags do not say. Ends the process if something is missing.
async fn capacity_settings(own: &Flags, managed_by: String, client: &kube::Client) -> CapacitySettings {
    let namespace = variable("NAMESPACE", "--enable-capacity");
    let owner = match u32::try_from(own.capacity_ownerref_level) {
        Err(_) => None,
        Ok(level) => {
            match owner(client, &namespace, &variable("POD_NAME", "--capacity-ownerref-level"), level).await {
                Ok(owner) => Some(owner),
                Err(error) => base::log::exit(error, "No owner of CSIStorageCapacity objects"),
            }
        }
    };
    CapacitySettings {
        namespace: namespace.into(),
        managed_by: managed_by.into(),
        owner,
        workers: own.capacity_threads as usize,
        poll: own.capacity_poll_interval,
        immediate: own.capacity_for_immediate_binding,
    }
}

/// In which version VolumeAttributesClasses are read. `None` if the gate is off, or if it was not set and the API server
/// has no such kind.
///
/// `Differs:` upstream reads storage.k8s.io/v1 only. Where the API server serves only v1beta1, we read that.
async fn attributes_classes(parsed: &Parsed, client: &kube::Client) -> Option<AttributesVersion> {
    let (gates, gate) = (parsed.gates(), flags::VOLUME_ATTRIBUTES_CLASS);
    if !gates.is_enabled(gate) {
        return None;
    }
    let has = async |version: &str| {
        let found = client.list_api_group_resources(version).await;
        found.map(|list| list.resources.iter().any(|resource| resource.kind == gate))
    };
    match has("storage.k8s.io/v1").await {
        // Every API server that we support has this group, so a 404 is a proxy's. If we cannot tell, we do not ignore what
        // a claim asks for.
        Ok(true) | Err(_) => Some(AttributesVersion::V1),
        Ok(false) if matches!(has("storage.k8s.io/v1beta1").await, Ok(true)) => Some(AttributesVersion::Beta),
        Ok(false) => gates.is_set(gate).then_some(AttributesVersion::V1),
    }
}

async fn capabilities(driver: &csi::Client, timeout: Duration) -> Result<process::Capabilities, StartError> {
    let failed =
        |status: tonic::Status| StartError::Capabilities { cause: csi::grpc_text(&status), code: FATAL };
    let plugin = plugin_capabilities(driver, timeout).await.map_err(failed)?;
    let controller = controller_capabilities(driver, timeout).await.map_err(failed)?;
    Ok((plugin, controller))
}

/// Logs which features the driver has and this release lacks.
fn warn_of_gaps(config: &Config) {
    if config.can.clones || config.can.snapshots {
        base::info!(
            "The driver supports snapshots or clones, but this release does not: claims with a data source get an event"
        );
    }
}

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
    let queue = |name: &str, backoff| {
        WorkQueue::<ClaimId>::new(backoff, Limits::plain(), vec![seat.metrics.queue(name)])
    };
    let (claim_queue, unsaved_queue) =
        (queue("claims", config.backoff), queue("unsavedpvs", UNSAVED_BACKOFF));
    let volume_queue: WorkQueue<Key> =
        WorkQueue::new(config.backoff, Limits::plain(), vec![seat.metrics.queue("volumes")]);
    let (claim_metrics, volume_metrics) =
        (ClaimMetrics::new(&seat.metrics)?, VolumeMetrics::new(&seat.metrics)?);
    let attached = if config.can.publish {
        let released = volume_queue.clone();
        Attachments::follow(caches.store::<Attachment>(), move |volume| {
            released.add(Key::cluster(volume), Place::lane(0));
        })
    } else {
        Attachments::default()
    };
    let nodes = (config.uses_topology() || config.capacity.is_some()).then(|| match &config.node {
        Some(node) => Nodes::own(node),
        None => Nodes::follow(caches.store::<Node>(), caches.store::<CsiNode>()),
    });
    let capacities = match (config.capacity.clone(), nodes.clone()) {
        (Some(settings), Some(nodes)) => {
            let sides = (seat.clone(), objects);
            Some(Arc::new(Capacities::new(config.clone(), settings, sides, caches, nodes)?))
        }
        _ => None,
    };
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
        let unsaved_job = Arc::new(UnsavedVolumes(claim_job.clone()));
        futures::join!(
            claim_queue.run(config.workers, claim_job, stop.clone()),
            unsaved_queue.run(UNSAVED_WORKERS, unsaved_job, stop.clone()),
            volume_queue.run(config.workers, volume_job, stop),
            async {
                if let Some(capacities) = capacities {
                    capacities.run().await;
                }
            },
        );
    };
    Ok(Duty::new(&seat, needs, work))
}

/// The source of events, as upstream's: `<driver>_<host>_<uuid>`.
fn event_source(driver: &str) -> String {
    format!("{driver}_{}_{}", host_name(), uuid::Uuid::new_v4())
}

/// Names this instance, new at each start: milliseconds, a number, the driver.
fn identity(driver: &str) -> String {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    format!("{millis}-{}-{driver}", fastrand::u16(..10_000))
}

//! Starts the provisioner: reads flags, asks the driver, and hands the duty to the process.

use std::time::{SystemTime, UNIX_EPOCH};

use base::flag::Parsed;
use base::flag::standard::StandardFlags;
use csi::CallLog;
use kubernetes::api::Objects;
use kubernetes::object::Keep;
use kubernetes::permission::review;
use process::{Election, Setup, StartError, host_name, start};
use translation::Plugins;

use crate::config::{Capabilities, Config, Gates};
use crate::duty::{KEEP, provision_through};
use crate::environment::{attributes_classes, capabilities, capacity_settings, node_settings};
use crate::flags::{self, FATAL, Flags};
use crate::rights::capacity_needs;

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
        config.capacity = Some(capacity_settings(own, config.node.as_ref(), &started.host.client).await);
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

/// Logs which features the driver has and this release lacks.
fn warn_of_gaps(config: &Config) {
    if config.can.clones || config.can.snapshots {
        base::info!(
            "The driver supports snapshots or clones, but this release does not: claims with a data source get an event"
        );
    }
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

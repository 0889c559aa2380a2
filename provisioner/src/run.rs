//! Starts the provisioner: reads flags, asks the driver, and hands the duty to the process.

use std::time::{SystemTime, UNIX_EPOCH};

use base::flag::Parsed;
use base::flag::standard::StandardFlags;
use csi::CallLog;
use futures::FutureExt as _;
use kubernetes::api::Objects;
use kubernetes::object::Keep;
use kubernetes::permission::review;
use process::{Caches, Duty, Election, Program, Setup, StartError, Started, host_name, start};
use translation::Plugins;

use crate::config::{Capabilities, Config, Gates};
use crate::duty::{KEEP, provision_through};
use crate::environment::{attributes_version, capabilities, capacity_settings, node_settings};
use crate::flags::{self, FATAL, Flags, ServerFlags};
use crate::intent::place::Place;
use crate::rights::capacity_needs;

/// csi-provisioner, alone or as one of several.
pub const PROGRAM: Program = Program {
    name: "csi-provisioner",
    parse: flags::parse,
    main: |parsed| main(parsed).boxed_local(),
    add_flags: flags::add_flags,
    keep,
    take_seat: |started, caches, parsed, said| take_seat(started, caches, parsed, said).boxed_local(),
};

/// Runs the sidecar until it is told to stop. Returns the exit code.
async fn main(parsed: &Parsed) -> u8 {
    let mut standard: StandardFlags = parsed.read();
    if let Some(path) = std::env::var("KUBECONFIG").ok().filter(|path| !path.is_empty()) {
        // Upstream lets the variable win over the flag.
        standard.kubeconfig = path;
    }
    match begin(parsed, &standard).await {
        Ok(code) => code,
        Err(error) => {
            base::error!(error, "csi-provisioner cannot start");
            error.code()
        }
    }
}

async fn begin(parsed: &Parsed, standard: &StandardFlags) -> Result<u8, StartError> {
    let own: Flags = parsed.read();
    let setup = Setup {
        program: "csi-provisioner",
        standard,
        master: Some(parsed.read::<ServerFlags>().master),
        probe_timeout: own.timeout,
        name_timeout: own.timeout,
        fatal_code: FATAL,
        call_log: CallLog::default(),
    };
    let started = start(&setup).await?;
    let said = capabilities(&started.host.driver, own.timeout).await?;
    let in_tree = plugins(parsed).of_driver(started.host.driver_name.as_str()).map(|plugin| plugin.name());
    let mut caches = started.caches(keep(parsed), in_tree);
    let seat = take_seat(&started, &mut caches, parsed, &said).await?;
    Ok(started.work(said, caches, vec![seat]).await)
}

/// What the caches must keep for a provisioner with these flags.
fn keep(parsed: &Parsed) -> Keep {
    let own: Flags = parsed.read();
    if own.enable_capacity || own.node_deployment { KEEP.and(Keep::PLACE) } else { KEEP }
}

/// The provisioner of a process that has started: how its leader is elected, and its duty.
async fn take_seat(
    started: &Started,
    caches: &mut Caches,
    parsed: &Parsed,
    said: &process::Capabilities,
) -> Result<(Election, Duty), StartError> {
    let (own, standard): (Flags, StandardFlags) = (parsed.read(), parsed.read());
    let driver = started.host.driver_name.as_str();
    let election = Election {
        flags: standard.leader_election,
        lock: driver.to_owned(),
        releases: parsed.gates().is_enabled(flags::RELEASE_LEASE),
    };
    let mut config = configure(started, parsed, said).await?;
    let node = config.node.as_ref().map(|node| &*node.name);
    config.intents = own.volume_intents.then(|| Place::new(election.namespace(), driver, node));
    if let Some(text) = flags::no_profiles(parsed) {
        base::warn!(text);
    }
    let seat = started.seat(&event_source(driver));
    let objects = match &config.capacity {
        None => seat.objects.clone(),
        Some(settings) => {
            let (qps, burst) = flags::capacity_rate(&own);
            let client = started.limited_client(qps, burst).await;
            let client = client.map_err(|cause| StartError::Client { cause, code: FATAL })?;
            let (asking, namespace) = (started.host.client.clone(), settings.namespace.clone());
            tokio::spawn(async move { review(&asking, &namespace, &capacity_needs()).await });
            Objects::new(client, seat.leadership.clone())
        }
    };
    match provision_through(objects, seat, caches, config) {
        Ok(duty) => Ok((election, duty)),
        Err(error) => base::log::exit(error, "Metrics of provisioning could not be registered"),
    }
}

/// What the flags, the driver, the cluster and the environment say.
async fn configure(
    started: &Started,
    parsed: &Parsed,
    said: &process::Capabilities,
) -> Result<Config, StartError> {
    let (own, driver): (Flags, _) = (parsed.read(), started.host.driver_name.as_str());
    let gates = Gates {
        topology: parsed.gates().is_enabled(flags::TOPOLOGY),
        cross_namespace: parsed.gates().is_enabled(flags::CROSS_NAMESPACE),
        attributes_classes: attributes_version(parsed, &started.host.client).await,
        plugins: plugins(parsed),
    };
    let mut config = Config::new(&own, gates, driver, identity(driver), Capabilities::new(&said.0, said.1));
    if own.node_deployment {
        let node = node_settings(&own, &started.host.driver).await?;
        config.identity = format!("{}-{}", config.identity, node.name).into();
        config.node = Some(node);
    }
    if own.enable_capacity {
        config.capacity = Some(capacity_settings(&own, config.node.as_ref(), &started.host.client).await);
    }
    Ok(config)
}

fn plugins(parsed: &Parsed) -> Plugins {
    Plugins { rbd: parsed.gates().is_enabled(flags::MIGRATE_RBD) }
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

//! Starts csi-resizer: reads the flags, asks the driver, takes a seat (docs/upstream/resizer.md, "Start-up").

use std::time::Duration;

use base::flag::Parsed;
use base::flag::standard::StandardFlags;
use csi::capability::NodeCapabilities;
use csi::identity::{controller_capabilities, node_capabilities, plugin_capabilities};
use csi::v1::controller_service_capability::rpc::Type as Rpc;
use csi::v1::plugin_capability::service::Type as Service;
use csi::{CallLog, Client};
use process::{Election, Setup, StartError, start};
use translation::Plugins;

use crate::classes::served;
use crate::config::{Capabilities, Cluster, Config};
use crate::duty::{KEEP, resize};
use crate::flags::{self, Flags};

/// Exit code if the driver can neither expand nor modify volumes.
const USELESS: u8 = 255;

/// Runs the sidecar until it is told to stop. Returns the exit code.
pub async fn main(parsed: &Parsed) -> u8 {
    let (own, standard): (Flags, StandardFlags) = (parsed.read(), parsed.read());
    match begin(parsed, &own, &standard).await {
        Ok(code) => code,
        Err(error) => {
            base::error!(error, "csi-resizer cannot start");
            error.code()
        }
    }
}

async fn begin(parsed: &Parsed, own: &Flags, standard: &StandardFlags) -> Result<u8, StartError> {
    let timeouts = flags::timeouts(parsed);
    let setup = Setup {
        program: "csi-resizer",
        standard,
        master: Some(own.master.clone()),
        probe_timeout: timeouts.identity,
        name_timeout: timeouts.identity,
        fatal_code: 1,
        call_log: CallLog::default(),
    };
    let started = start(&setup).await?;
    let (said, can) = capabilities(&started.host.driver, timeouts.expand).await?;
    let driver = started.host.driver_name.clone();
    let cluster = Cluster {
        annotate: parsed.gates().is_enabled(flags::ANNOTATE),
        plugins: Plugins { rbd: parsed.gates().is_enabled(flags::MIGRATE_RBD) },
        classes: match can.modify && parsed.gates().is_enabled(flags::VOLUME_ATTRIBUTES_CLASS) {
            true => served(&started.host.client).await,
            false => None,
        },
    };
    if can.modify && cluster.classes.is_none() {
        base::info!("VolumeAttributesClasses are off or not served: volumes are not modified");
    }
    let config = Config::new(own, timeouts, cluster, driver.as_str(), can);
    let election = Election {
        flags: standard.leader_election.clone(),
        lock: format!("external-resizer-{driver}"),
        releases: parsed.gates().is_enabled(flags::RELEASE_LEASE),
    };
    let in_tree = config.plugins.of_driver(driver.as_str()).map(|plugin| plugin.name());
    let mut caches = started.caches(KEEP, in_tree);
    let duty = resize(started.seat(&format!("external-resizer {driver}")), &mut caches, config);
    Ok(started.work(said, caches, vec![(election, duty)]).await)
}

/// Asks for capabilities: the node's only if the controller does not expand volumes.
async fn capabilities(
    driver: &Client,
    timeout: Duration,
) -> Result<(process::Capabilities, Capabilities), StartError> {
    let failed = |status: tonic::Status| StartError::Capabilities { cause: csi::grpc_text(&status), code: 1 };
    let refused = |cause: &str, code| StartError::Capabilities { cause: cause.to_owned(), code };
    let plugin = plugin_capabilities(driver, timeout).await.map_err(failed)?;
    if !plugin.has(Service::ControllerService) {
        return Err(refused("the driver has no controller service (CONTROLLER_SERVICE)", 1));
    }
    let controller = controller_capabilities(driver, timeout).await.map_err(failed)?;
    let node = match controller.has(Rpc::ExpandVolume) {
        true => NodeCapabilities::default(),
        false => node_capabilities(driver, timeout).await.map_err(failed)?,
    };
    let can = Capabilities::new(controller, node);
    if !can.is_useful() {
        let text = "the driver has neither EXPAND_VOLUME, of its controller or its node, nor MODIFY_VOLUME";
        return Err(refused(text, USELESS));
    }
    Ok(((plugin, controller), can))
}

//! Starts csi-attacher: reads the flags, asks the driver, takes a seat.

use std::time::Duration;

use base::flag::Parsed;
use base::flag::standard::StandardFlags;
use csi::capability::ControllerCapabilities;
use csi::identity::{controller_capabilities, plugin_capabilities};
use csi::v1::plugin_capability::service::Type as Service;
use csi::{CallLog, Client};
use process::{Election, Setup, StartError, start};
use tokio::time::Instant;
use translation::Plugin;

use crate::config::{Capabilities, Config};
use crate::duty::{KEEP, attach};
use crate::flags::{self, Flags};

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
        fatal_code: 1,
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

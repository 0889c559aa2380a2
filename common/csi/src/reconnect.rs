//! Checks the driver after each reconnect. Other calls wait until the same driver answers and is ready.

use std::time::Duration;

use tokio::time::sleep;
use tonic::Status;

use crate::call::Client;
use crate::capability::{ControllerCapabilities, PluginCapabilities};
use crate::checked::Checked;
use crate::code::grpc_text;
use crate::connection::LinkState;
use crate::identity::{
    DriverName, NameError, ProbeError, controller_capabilities, driver_name, plugin_capabilities,
    probe_until_ready,
};
use crate::v1::plugin_capability::service::Type as Service;

/// The pause before a driver that could not be checked is checked again.
const AGAIN: Duration = Duration::from_secs(2);

/// A driver's name and capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: DriverName,
    /// The plugin's capabilities.
    pub plugin: PluginCapabilities,
    /// The capabilities of its controller service; empty if it has none.
    pub controller: ControllerCapabilities,
}

/// The driver on the socket is no longer the one that this process started with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverChanged {
    /// Another driver answers on the socket.
    #[error(
        "the socket now answers as driver {found:?}, but this process serves {expected:?}: \
         restart it, or give each driver a socket of its own"
    )]
    Name {
        /// The name this process started with.
        expected: DriverName,
        /// The name that answers now.
        found: DriverName,
    },
    /// The same driver, with other capabilities.
    #[error("driver {0:?} has restarted with other capabilities: exiting, so that the next start uses them")]
    Capabilities(DriverName),
}

/// Why a driver could not be checked.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error("the driver does not give its name: {0}")]
    Name(#[from] NameError),
    #[error("the driver does not give its capabilities: {}", grpc_text(.0))]
    Capabilities(#[from] Status),
}

/// After each reconnect waits until the driver is ready, and asks again for its name and capabilities. If they are the
/// same, `checked` lets calls pass. If not, this returns, and the caller ends the process.
///
/// A check that fails is repeated until it succeeds or the connection is lost again. `per_call` bounds each call.
///
/// `Differs:` upstream's process exits whenever the connection is lost.
pub async fn watch_identity(
    driver: &Client,
    expected: &Identity,
    checked: &Checked,
    per_call: Duration,
) -> DriverChanged {
    let mut state = driver.connection().state();
    let mut known = 1;
    loop {
        let now = *state.borrow_and_update();
        if let LinkState::Up { generation } = now
            && generation > known
        {
            tokio::select! {
                changed = check_until_known(driver, expected, per_call) => match changed {
                    Some(changed) => return changed,
                    None => {
                        known = generation;
                        checked.pass(generation);
                        base::info!("CSI driver is connected again"; "driver" => expected.name);
                        continue;
                    }
                },
                _ = state.changed() => continue,
            }
        }
        if state.changed().await.is_err() {
            // The connection's task is gone with its runtime: nobody can answer any more.
            std::future::pending::<()>().await;
        }
    }
}

/// What has changed, if anything.
async fn check_until_known(
    driver: &Client,
    expected: &Identity,
    per_call: Duration,
) -> Option<DriverChanged> {
    loop {
        match identity(driver, per_call).await {
            Ok(found) if found.name != expected.name => {
                return Some(DriverChanged::Name { expected: expected.name.clone(), found: found.name });
            }
            Ok(found) if found != *expected => return Some(DriverChanged::Capabilities(found.name)),
            Ok(_) => return None,
            Err(error) => {
                base::error!(error, "CSI driver came back but cannot be checked, will retry");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn identity(driver: &Client, per_call: Duration) -> Result<Identity, CheckError> {
    probe_until_ready(driver, per_call).await?;
    let name = driver_name(driver, per_call).await?;
    let plugin = plugin_capabilities(driver, per_call).await?;
    let controller = match plugin.has(Service::ControllerService) {
        true => controller_capabilities(driver, per_call).await?,
        false => ControllerCapabilities::default(),
    };
    Ok(Identity { name, plugin, controller })
}

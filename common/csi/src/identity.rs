//! Asks a driver whether it is ready, for its name and its capabilities, and notices when another driver
//! answers.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::{Code, Status};

use super::capability::{ControllerCapabilities, GroupCapabilities, NodeCapabilities, PluginCapabilities};
use super::{Client, grpc_text, v1};

/// The name that a driver gives itself. It is not empty; like upstream we check nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriverName(String);

impl DriverName {
    /// A name, unless it is empty.
    pub fn new(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        (!name.is_empty()).then_some(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DriverName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The driver cannot become ready.
#[derive(Debug, thiserror::Error)]
#[error("CSI driver probe failed: {}", grpc_text(.0))]
pub struct ProbeError(pub Status);

/// Why a driver's name could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// GetPluginInfo failed.
    #[error("{}", grpc_text(.0))]
    Call(Status),
    /// The driver answered without a name.
    #[error("driver name is empty")]
    Empty,
}

/// Probes at once and then every second until the driver is ready; `per_call` bounds each attempt.
///
/// If the driver is not ready or does not answer in time, we ask again without limit. No `ready` means ready.
///
/// # Errors
/// Any other failure (UNIMPLEMENTED and UNAVAILABLE too) ends the wait.
pub async fn probe_until_ready(driver: &Client, per_call: Duration) -> Result<(), ProbeError> {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = Instant::now();
    loop {
        ticks.tick().await;
        match driver.call(v1::ProbeRequest {}, per_call).await {
            Ok(reply) if reply.ready.unwrap_or(true) => return Ok(()),
            Ok(_) => {
                let waited = started.elapsed().as_secs();
                base::info!("CSI driver is not ready yet"; "waitedSeconds" => waited);
            }
            Err(status) if status.code() == Code::DeadlineExceeded => {
                base::info!("CSI driver probe timed out"; "timeoutSeconds" => per_call.as_secs_f64());
            }
            Err(status) => return Err(ProbeError(status)),
        }
    }
}

/// Asks the driver for its name (GetPluginInfo).
///
/// # Errors
/// [`NameError`]: the call failed, or the name is empty.
pub async fn driver_name(driver: &Client, deadline: Duration) -> Result<DriverName, NameError> {
    let reply = driver.call(v1::GetPluginInfoRequest {}, deadline).await.map_err(NameError::Call)?;
    DriverName::new(reply.name).ok_or(NameError::Empty)
}

/// Asks for the plugin's services and features.
///
/// # Errors
/// The status of the call.
pub async fn plugin_capabilities(driver: &Client, deadline: Duration) -> Result<PluginCapabilities, Status> {
    let reply = driver.call(v1::GetPluginCapabilitiesRequest {}, deadline).await?;
    Ok(PluginCapabilities::from(&reply))
}

/// Asks for the features of the Controller service.
///
/// # Errors
/// The status of the call.
pub async fn controller_capabilities(
    driver: &Client,
    deadline: Duration,
) -> Result<ControllerCapabilities, Status> {
    let reply = driver.call(v1::ControllerGetCapabilitiesRequest {}, deadline).await?;
    Ok(ControllerCapabilities::from(&reply))
}

/// Asks for the features of the Node service.
///
/// # Errors
/// The status of the call.
pub async fn node_capabilities(driver: &Client, deadline: Duration) -> Result<NodeCapabilities, Status> {
    let reply = driver.call(v1::NodeGetCapabilitiesRequest {}, deadline).await?;
    Ok(NodeCapabilities::from(&reply))
}

/// Asks for the features of the GroupController service.
///
/// # Errors
/// The status of the call.
pub async fn group_capabilities(driver: &Client, deadline: Duration) -> Result<GroupCapabilities, Status> {
    let reply = driver.call(v1::GroupControllerGetCapabilitiesRequest {}, deadline).await?;
    Ok(GroupCapabilities::from(&reply))
}

//! The driver: connecting to it, and its name.

use std::sync::Arc;
use std::time::Duration;

use base::metrics::Metrics;
use csi::identity::{NameError, driver_name};
use csi::{CallLog, Client, Connection, DialError, DialOptions, Endpoint};
use thiserror::Error;

/// Why the driver's name is not known.
#[derive(Debug, Error)]
pub(crate) enum DriverError {
    /// The driver does not answer.
    #[error("--csi-address: {0}")]
    Dial(#[from] DialError),
    /// The driver does not give its name.
    #[error("failed to get the CSI driver's name: {0}")]
    Name(#[from] NameError),
}

/// Connects to the driver for at most `limit`, and asks for its name within `timeout`. The name labels the metrics from then
/// on.
pub(crate) async fn connect(
    endpoint: Endpoint,
    limit: Duration,
    timeout: Duration,
    metrics: Arc<Metrics>,
) -> Result<(Client, String), DriverError> {
    let options = DialOptions { limit, ..DialOptions::default() };
    let connection = Connection::dial(endpoint, options).await?;
    let driver = Client::new(connection, metrics.clone(), CallLog::default());
    let name = driver_name(&driver, timeout).await?.to_string();
    metrics.set_driver_name(&name);
    base::v!(2, "CSI driver found"; "driver" => name);
    Ok((driver, name))
}

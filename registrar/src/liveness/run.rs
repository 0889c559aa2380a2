//! The life of livenessprobe.

use std::sync::Arc;
use std::time::Duration;

use base::flag::{Parsed, TlsFlags};
use base::http::{Access, ListenError, Routes, Server, TlsError, serve_with};
use base::metrics::Metrics;
use csi::{Endpoint, EndpointError};
use thiserror::Error;

use super::Flags;
use super::probe::Probe;
use crate::driver::{DriverError, connect};
use crate::end::signalled;

/// As good as no limit: the kubelet restarts the driver, whose socket is waited for.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);
/// For the driver's first word. If the driver hangs, we do not serve `/healthz`: the probe fails, and the kubelet restarts the
/// driver.
const NAME_TIMEOUT: Duration = Duration::from_secs(86_400);

/// Why livenessprobe ends with exit code 1; printed as one line.
#[derive(Debug, Error)]
pub(crate) enum LivenessError {
    /// `--csi-address` names nothing that can be dialled.
    #[error("--csi-address: {0}")]
    Endpoint(#[from] EndpointError),
    /// The driver does not give its name.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The certificate of the HTTP server cannot be used.
    #[error("--tls-cert-file: {0}")]
    Tls(#[from] TlsError),
    /// No HTTP server.
    #[error("{flag}: {cause}")]
    Listen {
        /// The flag that names the address.
        flag: &'static str,
        /// What went wrong.
        cause: ListenError,
    },
}

/// Runs livenessprobe until a signal ends it. Returns the exit code.
pub async fn main(parsed: &Parsed) -> u8 {
    let (flags, tls): (Flags, TlsFlags) = (parsed.read(), parsed.read());
    let stop = match signalled() {
        Ok(stop) => stop,
        Err(error) => {
            base::error!(error, "Cannot receive signals");
            return 1;
        }
    };
    tokio::select! {
        Err(error) = live(&flags, &tls) => {
            base::error!(error, "Cannot go on");
            1
        }
        code = stop => code,
    }
}

/// Serves for ever.
async fn live(flags: &Flags, tls: &TlsFlags) -> Result<(), LivenessError> {
    let access = tls.access()?;
    let (endpoint, metrics) = (Endpoint::parse(&flags.csi_address)?, Metrics::new());
    // The connection is closed at once: each probe opens its own.
    connect(endpoint.clone(), FOR_EVER, NAME_TIMEOUT, metrics.clone()).await?;
    let probe = Probe { endpoint, timeout: flags.probe_timeout, metrics: metrics.clone() };
    let _servers = listen(flags, &probe, &metrics, &access)?;
    std::future::pending().await
}

/// Starts the HTTP servers. The server of `/healthz` also serves metrics if `--http-endpoint` is set.
fn listen(
    flags: &Flags,
    probe: &Probe,
    metrics: &Arc<Metrics>,
    access: &Access,
) -> Result<Vec<Server>, LivenessError> {
    let health = Routes::new().route("/healthz", probe.clone().answer());
    let page = |routes: Routes| routes.metrics(&flags.metrics_path, metrics.clone());
    let by_endpoint = !flags.http_endpoint.is_empty();
    let (routes, flag) =
        if by_endpoint { (page(health), "--http-endpoint") } else { (health, "--health-port") };
    let failed = |flag| move |cause| LivenessError::Listen { flag, cause };
    let mut servers =
        vec![serve_with(&flags.listen_address(), routes, access.clone()).map_err(failed(flag))?];
    if !flags.metrics_address.is_empty() {
        let server = serve_with(&flags.metrics_address, page(Routes::new()), access.clone());
        servers.push(server.map_err(failed("--metrics-address"))?);
    }
    Ok(servers)
}

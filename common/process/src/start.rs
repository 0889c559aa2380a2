//! Starts a process: API client, driver connection, metrics server.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::flag::standard::StandardFlags;
use base::http::{Access, ListenError, Routes, Server, TlsError};
use base::leadership::Leadership;
use base::metrics::Metrics;
use csi::capability::ControllerCapabilities;
use csi::identity::{
    NameError, ProbeError, controller_capabilities, driver_name, plugin_capabilities, probe_until_ready,
};
use csi::v1::plugin_capability::service::Type as Service;
use csi::{CallLog, Connection, DialError, DialOptions, Endpoint, EndpointError};
use kubernetes::access::guard;
use kubernetes::client::{ClientError, ClientOptions, RequestMetrics, client};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::host::{Host, streams_lists};
use crate::signal::OnSignal;
use crate::traces::{Exporter, Settings, SettingsError};
use crate::work::{Capabilities, Started};

/// How long a leader that does not renew still counts as healthy after the end of its lease, as in upstream.
const HEALTH_TOLERANCE: Duration = Duration::from_secs(20);

/// Requests a second, and saved up, with which the API server is asked about tokens.
const REVIEWS: (f64, u32) = (5.0, 10);

/// What [`start`] needs to know about a sidecar.
pub struct Setup<'a> {
    /// The program's name, such as `csi-provisioner`.
    pub program: &'static str,
    /// The standard flags.
    pub standard: &'a StandardFlags,
    /// `--master`, where a sidecar has it.
    pub master: Option<String>,
    /// Longest time for one Probe.
    pub probe_timeout: Duration,
    /// Longest time for GetPluginInfo.
    pub name_timeout: Duration,
    /// Exit code of what the Go sidecar calls fatal: no API client, no name or capabilities of the driver, no metrics
    /// address to listen on.
    pub fatal_code: u8,
    /// How calls are logged.
    pub call_log: CallLog,
}

/// Why a process did not start; printed as one line.
#[derive(Debug, Error)]
pub enum StartError {
    /// No API client.
    #[error("{cause}")]
    Client {
        /// What went wrong.
        cause: ClientError,
        /// The sidecar's exit code for it.
        code: u8,
    },
    /// `--csi-address` names nothing that can be dialled.
    #[error("--csi-address: {0}")]
    Endpoint(#[from] EndpointError),
    /// The driver does not answer.
    #[error("--csi-address: {0}")]
    Dial(#[from] DialError),
    /// The driver answers Probe with an error.
    #[error("CSI driver probe failed: {0}")]
    Probe(#[from] ProbeError),
    /// The driver does not give its name.
    #[error("failed to get the CSI driver's name: {cause}")]
    Name {
        /// What went wrong.
        cause: NameError,
        /// The sidecar's exit code for it.
        code: u8,
    },
    /// The driver does not give its capabilities.
    #[error("failed to get the CSI driver's capabilities: {cause}")]
    Capabilities {
        /// What went wrong.
        cause: String,
        /// The sidecar's exit code for it.
        code: u8,
    },
    /// The driver has nothing that this sidecar works with.
    #[error("{why}")]
    Useless {
        /// What it lacks.
        why: &'static str,
        /// The sidecar's exit code for it.
        code: u8,
    },
    /// A variable of the environment that `--enable-otel-tracing` reads cannot work.
    #[error("--enable-otel-tracing: {0}")]
    Traces(#[from] SettingsError),
    /// The certificate of the HTTP server cannot be used.
    #[error("--tls-cert-file: {cause}")]
    Tls {
        /// What went wrong.
        cause: TlsError,
        /// The sidecar's exit code for it.
        code: u8,
    },
    /// The metrics address cannot be listened on.
    #[error("{flag}: {cause}")]
    Listen {
        /// The flag that names the address.
        flag: &'static str,
        /// What went wrong.
        cause: ListenError,
        /// The sidecar's exit code for it.
        code: u8,
    },
}

impl StartError {
    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Client { code, .. }
            | Self::Name { code, .. }
            | Self::Capabilities { code, .. }
            | Self::Useless { code, .. }
            | Self::Tls { code, .. }
            | Self::Listen { code, .. } => *code,
            Self::Endpoint(_) | Self::Dial(_) | Self::Probe(_) | Self::Traces(_) => 1,
        }
    }
}

/// Connects to the API server and the driver, and serves metrics. Waits at most 30 s for the driver's socket, then
/// without limit until the driver is ready. Meanwhile a signal ends the process at once.
pub async fn start(setup: &Setup<'_>) -> Result<Started, StartError> {
    let (standard, stop) = (setup.standard, CancellationToken::new());
    let traces = match standard.enable_otel_tracing {
        true => Some(Settings::read(|name| std::env::var(name).ok(), setup.program)?),
        false => None,
    };
    let signals = OnSignal::listen(stop.clone());
    let metrics = Metrics::new();
    let options = ClientOptions { metrics: RequestMetrics::new(&metrics).ok(), ..client_options(setup) };
    let code = setup.fatal_code;
    let no_client = |cause| StartError::Client { cause, code };
    let main = client(&options).await.map_err(no_client)?;
    let endpoint = Endpoint::parse(&standard.csi_address)?;
    let connection = Connection::dial(endpoint, DialOptions::default()).await?;
    // Every candidate asks the driver who it is. Only calls that change something wait for leadership.
    let driver = csi::Client::new(connection, metrics.clone(), setup.call_log);
    probe_until_ready(&driver, setup.probe_timeout).await?;
    let name =
        driver_name(&driver, setup.name_timeout).await.map_err(|cause| StartError::Name { cause, code })?;
    metrics.set_driver_name(name.as_str());
    base::v!(2, "CSI driver found"; "driver" => name);
    metrics.board().describe(|process| {
        (process.program, process.driver) = (setup.program.to_owned(), name.to_string());
    });
    let exporter = traces.and_then(|traces| trace(&metrics, traces.of_driver(name.as_str())));
    let leaderships = Arc::default();
    let server = listen(setup, &metrics, &leaderships, access(setup, &options).await?)?;
    let (mut host, delivery) = Host::new(main, driver, name, metrics);
    host.stop = stop;
    host.checked = Some(csi::Checked::new());
    host.streaming_lists = streams_lists(&host.client).await;
    let lease_client = match standard.leader_election.enabled {
        true => {
            let options = lease_options(&options, standard.leader_election.renew_deadline);
            Some(client(&options).await.map_err(no_client)?)
        }
        false => None,
    };
    Ok(Started {
        host,
        lease_client,
        delivery: tokio::spawn(delivery),
        exporter,
        exit_on_loss: standard.exit_on_connection_loss,
        signals,
        options,
        leaderships,
        _server: server,
    })
}

/// Asks the driver what it can. A driver without a controller service is not asked for the capabilities of its controller.
/// Each call may take as long as `timeout`; `code` is the exit code if one fails.
///
/// # Errors
/// [`StartError::Capabilities`].
pub async fn capabilities(
    driver: &csi::Client,
    timeout: Duration,
    code: u8,
) -> Result<Capabilities, StartError> {
    let failed = |cause: String| StartError::Capabilities { cause, code };
    let plugin =
        plugin_capabilities(driver, timeout).await.map_err(|status| failed(csi::grpc_text(&status)))?;
    if !plugin.has(Service::ControllerService) {
        return Ok((plugin, ControllerCapabilities::default()));
    }
    let controller =
        controller_capabilities(driver, timeout).await.map_err(|status| failed(csi::grpc_text(&status)))?;
    Ok((plugin, controller))
}

/// Traces what is done from now on.
fn trace(metrics: &Metrics, settings: Settings) -> Option<Exporter> {
    let (host, port) = &settings.collector;
    base::v!(2, "Sending spans to a collector"; "host" => host, "port" => *port);
    let spans = metrics.trace(settings.sampler)?;
    Some(Exporter::start(settings, spans))
}

/// The lease's client has no limit, and pings that find a dead connection while there is still time to renew the lease over
/// a new one.
fn lease_options(options: &ClientOptions, renew_deadline: Duration) -> ClientOptions {
    ClientOptions { rate: None, ping: Some(renew_deadline / 4), ..options.clone() }
}

fn client_options(setup: &Setup<'_>) -> ClientOptions {
    let standard = setup.standard;
    let version = env!("CARGO_PKG_VERSION");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    ClientOptions {
        kubeconfig: Some(PathBuf::from(&standard.kubeconfig)).filter(|path| !path.as_os_str().is_empty()),
        context: None,
        master: setup.master.clone().filter(|master| !master.is_empty()),
        user_agent: format!("{}/v{version} ({os}/{arch}) mooring", setup.program),
        rate: match (standard.kube_api_qps, standard.kube_api_burst) {
            (None, None) => None,
            (qps, burst) => Some((qps.unwrap_or(5.0), burst.unwrap_or(10))),
        },
        ping: None,
        metrics: None,
    }
}

/// How the HTTP server is reached. Who may read its pages is asked by a client of its own: what strangers send to the port
/// takes nothing from our work.
async fn access(setup: &Setup<'_>, options: &ClientOptions) -> Result<Access, StartError> {
    let (standard, code) = (setup.standard, setup.fatal_code);
    let open = standard.tls.access().map_err(|cause| StartError::Tls { cause, code })?;
    let guard = match standard.http_require_token {
        true => {
            let options = ClientOptions { rate: Some(REVIEWS), ..options.clone() };
            let client = client(&options).await.map_err(|cause| StartError::Client { cause, code })?;
            Some(guard(client))
        }
        false => None,
    };
    Ok(Access { guard, ..open })
}

fn listen(
    setup: &Setup<'_>,
    metrics: &Arc<Metrics>,
    leaderships: &Arc<Mutex<Vec<Leadership>>>,
    access: Access,
) -> Result<Option<Server>, StartError> {
    let (standard, code) = (setup.standard, setup.fatal_code);
    let Some(address) = standard.listen_address() else { return Ok(None) };
    let mut routes = Routes::new().metrics(&standard.metrics_path, metrics.clone());
    if standard.status_page {
        routes = routes.status(metrics.board().clone());
    }
    if standard.serves_leader_health() {
        let leaderships = leaderships.clone();
        // Upstream counts from the end of the lease. `overdue` counts from the renew deadline, which is earlier.
        let tolerance = HEALTH_TOLERANCE
            + standard.leader_election.lease_duration.saturating_sub(standard.leader_election.renew_deadline);
        routes = routes.leader_health(move || {
            let leaderships = leaderships.lock().unwrap_or_else(PoisonError::into_inner);
            match leaderships.iter().filter_map(Leadership::overdue).max() {
                Some(overdue) if overdue > tolerance => {
                    Err(format!("the lease was not renewed for {overdue:?} past its deadline"))
                }
                Some(_) | None => Ok(()),
            }
        });
    }
    let flag = if standard.http_endpoint.is_empty() { "--metrics-address" } else { "--http-endpoint" };
    let server = base::http::serve_with(address, routes, access).map_err(|cause| StartError::Listen {
        flag,
        cause,
        code,
    })?;
    Ok(Some(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ping is unanswered for half as long as the pings are apart, and a renewal needs time after that.
    #[test]
    fn a_dead_connection_is_noticed_before_the_lease_is_lost() {
        let main = ClientOptions { rate: Some((5.0, 10)), ..ClientOptions::default() };
        let renew_deadline = Duration::from_secs(10);
        let lease = lease_options(&main, renew_deadline);
        let noticed = lease.ping.map(|ping| ping + (ping / 2).max(Duration::from_secs(2)));
        assert!(noticed.is_some_and(|noticed| noticed <= renew_deadline / 2), "{noticed:?}");
        assert_eq!(lease.rate, None, "work never costs us the lease");
    }
}

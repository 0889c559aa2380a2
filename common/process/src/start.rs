//! Bringing a process up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::Process;
use super::work::Started;
use base::flag::standard::StandardFlags;
use base::http::{ListenError, Routes, Server};
use base::leadership::Leadership;
use base::metrics::Metrics;
use csi::identity::{NameError, ProbeError, driver_name, probe_until_ready};
use csi::{CallLog, Connection, DialError, DialOptions, Endpoint, EndpointError};
use kubernetes::api::Objects;
use kubernetes::client::{ClientError, ClientOptions, client};
use kubernetes::event::{Recorder, deliver};

/// How long past its deadline a leader that does not renew still counts as healthy, as upstream's does.
const HEALTH_TOLERANCE: Duration = Duration::from_secs(20);

/// What a sidecar tells about itself before it starts.
pub struct Setup<'a> {
    /// The program's name, such as `csi-provisioner`.
    pub program: &'static str,
    /// The standard flags.
    pub standard: &'a StandardFlags,
    /// `--master`, where a sidecar has it.
    pub master: Option<String>,
    /// Bound on Probe.
    pub probe_timeout: Duration,
    /// Bound on GetPluginInfo.
    pub name_timeout: Duration,
    /// Exit code when the driver has no name or does not say what it can.
    pub identity_code: u8,
    /// How calls are logged.
    pub call_log: CallLog,
    /// What the component of events is called, given the driver's name.
    pub event_source: fn(&str) -> String,
}

/// Why a process did not start; printed as one line.
#[derive(Debug, Error)]
pub enum StartError {
    /// No API client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// `--csi-address` names nothing that can be dialled.
    #[error("--csi-address: {0}")]
    Endpoint(#[from] EndpointError),
    /// The driver does not answer.
    #[error("--csi-address: {0}")]
    Dial(#[from] DialError),
    /// The driver is not well.
    #[error("CSI driver probe failed: {0}")]
    Probe(#[from] ProbeError),
    /// The driver does not say who it is.
    #[error("failed to get the CSI driver's name: {cause}")]
    Name {
        /// What went wrong.
        cause: NameError,
        /// The sidecar's exit code for it.
        code: u8,
    },
    /// The driver does not say what it can.
    #[error("failed to get the CSI driver's capabilities: {cause}")]
    Capabilities {
        /// What went wrong.
        cause: String,
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
    },
}

impl StartError {
    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Name { code, .. } | Self::Capabilities { code, .. } => *code,
            Self::Client(_) | Self::Endpoint(_) | Self::Dial(_) | Self::Probe(_) | Self::Listen { .. } => 1,
        }
    }
}

/// Connects to both sides and serves metrics. Blocks at most 30 s for the driver's socket, and as long as
/// it takes for the driver to be ready.
pub async fn start(setup: &Setup<'_>) -> Result<Started, StartError> {
    let standard = setup.standard;
    let options = client_options(setup);
    let main = client(&options).await?;
    let metrics = Metrics::new();
    let endpoint = Endpoint::parse(&standard.csi_address)?;
    let connection = Connection::dial(endpoint, DialOptions::default()).await?;
    let election = standard.leader_election.enabled;
    let leadership = if election { Leadership::candidate() } else { Leadership::always() };
    // Discovery is done by every candidate; only what changes something waits for leadership.
    let asking = csi::Client::new(connection, metrics.clone(), setup.call_log);
    probe_until_ready(&asking, setup.probe_timeout).await?;
    let name = driver_name(&asking, setup.name_timeout)
        .await
        .map_err(|cause| StartError::Name { cause, code: setup.identity_code })?;
    metrics.set_driver_name(name.as_str());
    base::v!(2, "CSI driver found"; "driver" => name);
    let server = listen(standard, &metrics, &leadership)?;
    let (events, queue) = Recorder::new(&(setup.event_source)(name.as_str()));
    let objects = Objects::new(main, leadership.clone());
    // Events tell what has happened: they may be written when leadership has just ended.
    let delivery = tokio::spawn(deliver(Objects::new(objects.client().clone(), Leadership::always()), queue));
    let process = Process {
        driver: asking.clone().guarded(leadership.clone()),
        driver_name: name,
        metrics,
        events,
        leadership,
        stop: CancellationToken::new(),
        streaming_lists: streams_lists(objects.client()).await,
        objects,
    };
    let lease_client =
        if election { Some(client(&ClientOptions { rate: None, ..options }).await?) } else { None };
    Ok(Started {
        process,
        asking,
        lease_client,
        delivery,
        exit_on_loss: standard.exit_on_connection_loss,
        _server: server,
    })
}

fn client_options(setup: &Setup<'_>) -> ClientOptions {
    let standard = setup.standard;
    let version = env!("CARGO_PKG_VERSION");
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    ClientOptions {
        kubeconfig: Some(PathBuf::from(&standard.kubeconfig)).filter(|path| !path.as_os_str().is_empty()),
        master: setup.master.clone().filter(|master| !master.is_empty()),
        user_agent: format!("{}/v{version} ({os}/{arch}) mooring", setup.program),
        rate: match (standard.kube_api_qps, standard.kube_api_burst) {
            (None, None) => None,
            (qps, burst) => Some((qps.unwrap_or(5.0), burst.unwrap_or(10))),
        },
    }
}

fn listen(
    standard: &StandardFlags,
    metrics: &Arc<Metrics>,
    leadership: &Leadership,
) -> Result<Option<Server>, StartError> {
    let Some(address) = standard.listen_address() else { return Ok(None) };
    let mut routes = Routes::new().metrics(&standard.metrics_path, metrics.clone());
    if standard.serves_leader_health() {
        let leadership = leadership.clone();
        // Upstream tolerates the lease's duration and 20 s; the deadline passes earlier by the difference.
        let tolerance = HEALTH_TOLERANCE
            + standard.leader_election.lease_duration.saturating_sub(standard.leader_election.renew_deadline);
        routes = routes.leader_health(move || match leadership.overdue() {
            Some(overdue) if overdue > tolerance => {
                Err(format!("the lease was not renewed for {overdue:?} past its deadline"))
            }
            Some(_) | None => Ok(()),
        });
    }
    let flag = if standard.http_endpoint.is_empty() { "--metrics-address" } else { "--http-endpoint" };
    let server = base::http::serve(address, routes).map_err(|cause| StartError::Listen { flag, cause })?;
    Ok(Some(server))
}

/// Kubernetes streams initial lists by default from 1.34 on. An unknown version counts as old.
async fn streams_lists(client: &Client) -> bool {
    let Ok(Ok(version)) = tokio::time::timeout(Duration::from_secs(10), client.apiserver_version()).await
    else {
        return false;
    };
    let minor: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
    (version.major.as_str(), minor.parse().unwrap_or(0)) >= ("1", 34)
}

/// The machine's name, as the kernel knows it.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".into(), |name| name.trim().into())
}

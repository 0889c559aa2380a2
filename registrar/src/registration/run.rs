//! The life of csi-node-driver-registrar.

use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::flag::{Parsed, TlsFlags};
use base::http::{ListenError, Reply, Routes};
use base::metrics::Metrics;
use csi::identity::driver_name;
use csi::registration::registration_server::RegistrationServer;
use csi::{Client, DialOptions, Endpoint, EndpointError};
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::asked::Asked;
use super::authority::Connection;
use super::flags::{Flags, warn_of_ignored};
use super::health::{Kubelet, Silence, SocketState, View, judge};
use super::service::{Service, Verdict};
use super::socket::{self, Identity};
use crate::driver::{DriverError, connect};
use crate::end::signalled;
use crate::endpoint::serve;

/// Pause before a socket that vanished is made again, if that failed.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the socket may be gone before only a restart helps.
const GONE: Duration = Duration::from_secs(60);
/// How often we look at the socket where the operating system cannot tell us that it vanished.
const LOOK: Duration = Duration::from_secs(5);

/// Why the registrar ends with exit code 1; printed as one line.
#[derive(Debug, Error)]
pub(crate) enum RegistrarError {
    /// `--csi-address` names nothing that can be dialled.
    #[error("--csi-address: {0}")]
    Endpoint(#[from] EndpointError),
    /// The driver does not answer, or does not give its name.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// No registration socket.
    #[error("cannot listen on the registration socket {path}: {source}")]
    Socket {
        /// Its path.
        path: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The registration socket could not be removed at the end.
    #[error("cannot remove the registration socket {path}: {source}")]
    Remove {
        /// Its path.
        path: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The kubelet does not take the driver.
    #[error("the kubelet did not register the driver: {0}")]
    Refused(String),
    /// The server broke down.
    #[error("serving the registration socket failed: {0}")]
    Server(#[from] tonic::transport::Error),
    /// No HTTP server.
    #[error("{flag}: {cause}")]
    Listen {
        /// The flag that names the address.
        flag: &'static str,
        /// What went wrong.
        cause: ListenError,
    },
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
}

/// Runs csi-node-driver-registrar until it is told to stop. Returns the exit code.
pub async fn main(parsed: &Parsed) -> u8 {
    let flags: Flags = parsed.read();
    warn_of_ignored(parsed);
    let tls: TlsFlags = parsed.read();
    match run(&flags, &tls).await {
        Ok(()) => 0,
        Err(error) => {
            base::error!(error, "Cannot go on");
            1
        }
    }
}

/// Offers the driver to the kubelet until a signal comes.
async fn run(flags: &Flags, tls: &TlsFlags) -> Result<(), RegistrarError> {
    let mut stop = std::pin::pin!(signalled().map_err(RegistrarError::Signals)?);
    let registrar = tokio::select! {
        connected = Registrar::connect(flags, Metrics::new()) => Arc::new(connected?),
        _ = stop.as_mut() => return Ok(()),
    };
    let served = async {
        let Some((address, flag)) = flags.listen_address() else { return pending().await };
        let routes = Routes::new().route("/healthz", registrar.clone().healthz());
        serve(&address, routes, tls).await.map_err(|cause| RegistrarError::Listen { flag, cause })
    };
    tokio::select! {
        biased;
        served = served => served.map(|never| match never {}),
        ended = registrar.offer() => ended,
        _ = stop => registrar.remove_socket(),
    }
}

/// A driver that is offered to the kubelet.
pub(crate) struct Registrar {
    driver: Client,
    name: String,
    timeout: Duration,
    service: Service,
    path: PathBuf,
    /// Our socket; none before it is made.
    socket: Mutex<Option<Identity>>,
    /// What the driver says when `/healthz` asks it for its name.
    asked: Arc<Asked>,
}

impl Registrar {
    /// Connects to the driver, for at most 30 s, and asks for its name.
    pub(crate) async fn connect(flags: &Flags, metrics: Arc<Metrics>) -> Result<Self, RegistrarError> {
        let (endpoint, limit) = (Endpoint::parse(&flags.csi_address)?, DialOptions::default().limit);
        let (driver, name) = connect(endpoint, limit, flags.timeout, metrics).await?;
        let service = Service::new(&name, &flags.kubelet_path);
        let path = socket::path(&flags.folder, &name);
        let (asked, timeout) = (Asked::new(&name), flags.timeout);
        Ok(Self { driver, name, timeout, service, path, socket: Mutex::default(), asked })
    }

    /// Serves the registration socket for ever, and makes it again when it vanishes.
    ///
    /// # Errors
    /// The socket cannot be made at first, or for a minute not again: if the host's folder was replaced, only a restarted
    /// container sees the new one. The kubelet refused the driver; the server broke down.
    pub(crate) async fn offer(&self) -> Result<(), RegistrarError> {
        let failed = |source| RegistrarError::Socket { path: self.path.display().to_string(), source };
        let mut listener = self.listen().map_err(failed)?;
        loop {
            base::info!("Listening on the registration socket"; "path" => self.path.display());
            let server = Server::builder().add_service(RegistrationServer::new(self.service.clone()));
            tokio::select! {
                biased;
                reason = self.service.refused() => return Err(RegistrarError::Refused(reason)),
                ended = server.serve_with_incoming(UnixListenerStream::new(listener).map(|stream| stream.map(Connection::from))) => ended?,
                () = self.vanished() => base::warn!("The registration socket vanished, making it again"; "path" => self.path.display()),
            }
            let vanished = Instant::now();
            listener = loop {
                match self.listen() {
                    Ok(listener) => break listener,
                    Err(error) if vanished.elapsed() > GONE => return Err(failed(error)),
                    Err(error) => {
                        base::error!(error, "Cannot make the registration socket, will retry"; "path" => self.path.display())
                    }
                }
                sleep(AGAIN).await;
            };
            self.service.offer_again();
        }
    }

    fn listen(&self) -> io::Result<UnixListener> {
        let (listener, identity) = socket::listen(&self.path)?;
        *locked(&self.socket) = Some(identity);
        Ok(listener)
    }

    async fn vanished(&self) {
        if let Err(error) = socket::vanished(&self.path).await {
            base::warn!("Cannot watch the registration socket, will look at it every 5 s"; "path" => self.path.display(), "err" => error);
            while std::fs::symlink_metadata(&self.path).is_ok() {
                sleep(LOOK).await;
            }
        }
    }

    /// Removes our socket, at the end.
    pub(crate) fn remove_socket(&self) -> Result<(), RegistrarError> {
        let Some(ours) = *locked(&self.socket) else { return Ok(()) };
        base::info!("Removing the registration socket"; "path" => self.path.display());
        let failed = |source| RegistrarError::Remove { path: self.path.display().to_string(), source };
        socket::remove(&self.path, ours).map_err(failed)
    }

    /// What the kubelet made of the driver, in words.
    pub(crate) fn standing(&self) -> String {
        match self.service.verdict() {
            Verdict::Pending(since) => {
                format!("offered {} s ago, the kubelet has not asked for it", since.elapsed().as_secs())
            }
            Verdict::Asked(at) => {
                format!(
                    "the kubelet asked {} s ago and has not said whether it uses it",
                    at.elapsed().as_secs()
                )
            }
            Verdict::Registered => "the kubelet uses it".to_owned(),
            Verdict::Refused(reason) => format!("the kubelet refused it: {reason}"),
        }
    }

    /// The driver's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Answers `/healthz`.
    pub(crate) fn healthz(
        self: Arc<Self>,
    ) -> impl Fn() -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync {
        move || {
            let registrar = self.clone();
            Box::pin(async move { registrar.health(Silence::Passes).await })
        }
    }

    /// Whether the driver is offered and registered, as an answer of `/healthz`.
    pub(crate) async fn health(&self, silence: Silence) -> Reply {
        let (driver, timeout) = (self.driver.clone(), self.timeout);
        let driver = self.asked.answer(|| async move { driver_name(&driver, timeout).await }).await;
        let kubelet = match self.service.verdict() {
            Verdict::Pending(since) => Kubelet::Away(since.elapsed()),
            Verdict::Asked(at) => Kubelet::Asked(at.elapsed()),
            Verdict::Registered | Verdict::Refused(_) => Kubelet::Decided,
        };
        let ours = *locked(&self.socket);
        let socket = ours.map_or(SocketState::Missing, |ours| socket::state(&self.path, ours));
        judge(&View { socket, driver, silence, expected: &self.name, kubelet })
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The life of csi-node-driver-registrar.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::flag::Parsed;
use base::http::{ListenError, Reply, Routes, serve};
use base::metrics::Metrics;
use csi::identity::driver_name;
use csi::registration::registration_server::RegistrationServer;
use csi::{Client, DialOptions, Endpoint, EndpointError};
use thiserror::Error;
use tokio::time::sleep;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::flags::{Flags, without_effect};
use super::health::{View, judge};
use super::service::{Service, Verdict};
use super::socket;
use crate::driver::{DriverError, connect};
use crate::end::signalled;

/// Pause before a socket that vanished is made again, if that failed.
const AGAIN: Duration = Duration::from_secs(1);

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
        /// The system's reason.
        source: io::Error,
    },
    /// The registration socket could not be removed at the end.
    #[error("cannot remove the registration socket {path}: {source}")]
    Remove {
        /// Its path.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The kubelet does not take the driver.
    #[error("the kubelet did not register the driver: {0}")]
    Refused(String),
    /// The server broke down.
    #[error("serving the registration socket failed: {0}")]
    Server(#[from] tonic::transport::Error),
    /// No HTTP server.
    #[error("--http-endpoint: {0}")]
    Listen(#[from] ListenError),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
}

/// Runs csi-node-driver-registrar until it is told to stop. Returns the exit code.
pub async fn main(parsed: &Parsed) -> u8 {
    let flags: Flags = parsed.read();
    if let Some(flag) = without_effect(parsed) {
        base::warn!("The flag is deprecated and ignored"; "flag" => flag);
    }
    match live(&flags).await {
        Ok(()) => 0,
        Err(error) => {
            base::error!(error, "csi-node-driver-registrar ends");
            1
        }
    }
}

async fn live(flags: &Flags) -> Result<(), RegistrarError> {
    let mut stop = std::pin::pin!(signalled().map_err(RegistrarError::Signals)?);
    let registrar = tokio::select! {
        connected = Registrar::connect(flags, Metrics::new()) => Arc::new(connected?),
        _ = stop.as_mut() => return Ok(()),
    };
    let _server = match flags.listen_address() {
        Some(address) => Some(serve(&address, Routes::new().route("/healthz", registrar.clone().healthz()))?),
        None => None,
    };
    tokio::select! {
        ended = registrar.offer() => ended,
        _ = stop => registrar.withdraw(),
    }
}

/// A driver that is offered to the kubelet.
pub(crate) struct Registrar {
    driver: Client,
    name: String,
    timeout: Duration,
    service: Service,
    path: PathBuf,
}

impl Registrar {
    /// Connects to the driver, for at most 30 s, and asks for its name.
    pub(crate) async fn connect(flags: &Flags, metrics: Arc<Metrics>) -> Result<Self, RegistrarError> {
        let (endpoint, limit) = (Endpoint::parse(&flags.csi_address)?, DialOptions::default().limit);
        let (driver, name) = connect(endpoint, limit, flags.timeout, metrics).await?;
        let service = Service::new(&name, &flags.kubelet_path);
        let path = socket::path(&flags.folder, &name);
        Ok(Self { driver, name, timeout: flags.timeout, service, path })
    }

    /// Serves the registration socket for ever, and makes it again when it vanishes.
    ///
    /// # Errors
    /// The socket cannot be made at first; the kubelet refused the driver; the server broke down.
    pub(crate) async fn offer(&self) -> Result<(), RegistrarError> {
        let failed = |source| RegistrarError::Socket { path: self.path.display().to_string(), source };
        let mut listener = socket::listen(&self.path).map_err(failed)?;
        loop {
            base::info!("Listening on the registration socket"; "path" => self.path.display());
            let server = Server::builder().add_service(RegistrationServer::new(self.service.clone()));
            tokio::select! {
                ended = server.serve_with_incoming(UnixListenerStream::new(listener)) => ended?,
                reason = self.service.refused() => return Err(RegistrarError::Refused(reason)),
                () = self.vanished() => base::warn!("The registration socket vanished, making it again"; "path" => self.path.display()),
            }
            listener = loop {
                match socket::listen(&self.path) {
                    Ok(listener) => break listener,
                    Err(error) => {
                        base::error!(error, "Cannot make the registration socket, will retry"; "path" => self.path.display())
                    }
                }
                sleep(AGAIN).await;
            };
            self.service.offer_again();
        }
    }

    async fn vanished(&self) {
        if let Err(error) = socket::vanished(&self.path).await {
            base::warn!("Cannot watch the registration socket"; "path" => self.path.display(), "err" => error);
            std::future::pending::<()>().await;
        }
    }

    /// Removes the socket, at the end.
    pub(crate) fn withdraw(&self) -> Result<(), RegistrarError> {
        base::info!("Removing the registration socket"; "path" => self.path.display());
        let failed = |source| RegistrarError::Remove { path: self.path.display().to_string(), source };
        socket::remove(&self.path).map_err(failed)
    }

    /// Answers `/healthz`.
    pub(crate) fn healthz(
        self: Arc<Self>,
    ) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync {
        move || {
            let registrar = self.clone();
            Box::pin(async move { registrar.health().await })
        }
    }

    async fn health(&self) -> Reply {
        let name = driver_name(&self.driver, self.timeout).await;
        let pending = match self.service.verdict() {
            Verdict::Pending(since) => Some(since.elapsed()),
            Verdict::Registered | Verdict::Refused(_) => None,
        };
        judge(&View {
            place: socket::place(&self.path),
            name: name.map(|name| name.to_string()).map_err(|error| error.to_string()),
            expected: &self.name,
            pending,
        })
    }
}

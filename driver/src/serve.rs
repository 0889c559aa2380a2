//! The driver as a process: start, serve, stop; and the proxy that it can be instead.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use csi::Endpoint;
use csi::v1::controller_server::ControllerServer;
use csi::v1::group_controller_server::GroupControllerServer;
use csi::v1::identity_server::IdentityServer;
use csi::v1::node_server::NodeServer;
use csi::v1::snapshot_metadata_server::SnapshotMetadataServer;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;
use tonic::transport::server::Router;

use crate::backend::Backend;
use crate::backend::hostpath::{Hostpath, Space};
use crate::listen::Listener;
use crate::options::Options;
use crate::plugin::{Plugin, StartError};
use crate::rbd::{LoadError, Rbd, RbdOptions};
use crate::service::Service;

/// How long calls that are under way may take after the signal to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// How often a caller is asked whether it is still there, and how long it may take to answer. A caller whose machine is
/// gone closes no connection.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The process failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The driver could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The driver for images could not start.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The endpoint cannot be listened on.
    #[error("cannot listen on {endpoint}: {source}")]
    Listen {
        /// The endpoint.
        endpoint: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The server broke down.
    #[error("serving failed: {0}")]
    Server(#[from] tonic::transport::Error),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
}

/// A driver on the local disk.
///
/// # Errors
/// [`StartError`].
pub fn open(options: Options) -> Result<Plugin, StartError> {
    let space = if options.sparse { Space::WhenWritten } else { Space::AtOnce };
    Plugin::start(options, |own, former| {
        Hostpath::open(own, former, space).map(|backend| Box::new(backend) as Box<dyn Backend>)
    })
}

/// Serves until SIGTERM, SIGINT, SIGHUP or SIGQUIT; then finishes what is under way and removes the socket. A signal
/// that comes while the state folder is being opened ends it at once: the next start recovers what is there.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(options: Options) -> Result<(), ServeError> {
    // First of all: as PID 1 of a container a process without handlers cannot be ended by these signals.
    let stop = stop_signal()?;
    serve_until(stop, options, open).await
}

/// As [`serve`], until `stop`, the driver that `open` opens.
pub(crate) async fn serve_until(
    stop: impl Future<Output = ()>,
    options: Options,
    open: impl FnOnce(Options) -> Result<Plugin, StartError> + Send + 'static,
) -> Result<(), ServeError> {
    let endpoint = options.endpoint.clone();
    let mut stop = std::pin::pin!(stop);
    let plugin = tokio::select! {
        opened = tokio::task::spawn_blocking(move || open(options)) => opened,
        () = stop.as_mut() => return Ok(()),
    };
    let plugin = plugin.map_err(|error| ServeError::Signals(io::Error::other(error)))??;
    let plugin = Arc::new(plugin);
    let listener = bind(&endpoint).await?;
    base::info!("Listening"; "endpoint" => endpoint, "driver" => plugin.options.name, "node" => plugin.options.node_id);
    // Beside the calls: it may take longer than callers wait for a socket. A stop leaves the rest to the next
    // start.
    let cleaner = Arc::clone(&plugin);
    std::thread::spawn(move || cleaner.clean());
    run(&endpoint, listener, services(&plugin), stop).await?;
    // With it goes the state folder's lock.
    drop(plugin);
    Ok(())
}

/// As [`serve`], a driver for images in Ceph.
///
/// # Errors
/// [`ServeError`].
pub async fn serve_rbd(options: RbdOptions) -> Result<(), ServeError> {
    let endpoint = options.endpoint.clone();
    let stop = stop_signal()?;
    let (name, node) = (options.name.clone(), options.node_id.clone());
    let driver = Rbd::start(options)?;
    let listener = bind(&endpoint).await?;
    base::info!("Listening"; "endpoint" => endpoint, "driver" => name, "node" => node);
    let service = Service(driver);
    let router = builder()
        .add_service(IdentityServer::new(service.clone()))
        .add_service(ControllerServer::new(service.clone()))
        .add_service(NodeServer::new(service));
    run(&endpoint, listener, router, stop).await
}

/// Serves until `stop`, and then what is under way for as long as [`GRACE`].
async fn run(
    endpoint: &Endpoint,
    listener: Listener,
    router: Router,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    // Kept to the end: with it goes the state folder's lock, and then a successor makes its socket.
    let incoming = futures::stream::unfold(listener, |listener| async move {
        Some((Ok::<_, io::Error>(listener.next().await), listener))
    });
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let server = router.serve_with_incoming_shutdown(incoming, async move {
        stop.await;
        // Nobody waits for it when the server failed first.
        let _ = stopping.send(());
    });
    tokio::select! {
        served = server => served?,
        () = async {
            let _ = stopped.await;
            tokio::time::sleep(GRACE).await;
        } => base::warn!("Stopping although calls are still under way"),
    }
    if let Some(path) = endpoint.socket_path() {
        // Gone already unless the server was cut short.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

fn builder() -> Server {
    Server::builder().http2_keepalive_interval(Some(KEEPALIVE)).http2_keepalive_timeout(Some(KEEPALIVE))
}

/// What the driver serves on each connection.
fn services(plugin: &Arc<Plugin>) -> Router {
    let service = Service(Arc::clone(plugin));
    let metadata = service.0.options.metadata.then(|| SnapshotMetadataServer::new(service.clone()));
    builder()
        .add_service(IdentityServer::new(service.clone()))
        .add_service(ControllerServer::new(service.clone()))
        .add_service(GroupControllerServer::new(service.clone()))
        .add_service(NodeServer::new(service))
        .add_optional_service(metadata)
}

/// Pairs each connection on `endpoint` with one on `other` and passes bytes between them, until a signal.
///
/// # Errors
/// [`ServeError`] when one of them cannot be listened on.
pub async fn proxy(endpoint: Endpoint, other: Endpoint) -> Result<(), ServeError> {
    let stop = stop_signal()?;
    let callers = bind(&endpoint).await?;
    let drivers = bind(&other).await?;
    base::info!("Passing bytes"; "endpoint" => endpoint, "proxyEndpoint" => other);
    let pair = async {
        loop {
            let (mut caller, mut driver) = futures::future::join(callers.next(), drivers.next()).await;
            tokio::spawn(async move {
                // A broken pair ends; its ends notice by themselves.
                let _ = tokio::io::copy_bidirectional(&mut caller, &mut driver).await;
            });
        }
    };
    tokio::select! {
        () = pair => {}
        () = stop => {}
    }
    Ok(())
}

async fn bind(endpoint: &Endpoint) -> Result<Listener, ServeError> {
    Listener::bind(endpoint)
        .await
        .map_err(|source| ServeError::Listen { endpoint: endpoint.to_string(), source })
}

/// Ends with the first signal to stop. Signals are caught from the call on, not from the first poll.
fn stop_signal() -> Result<impl Future<Output = ()>, ServeError> {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()];
    let mut signals = Vec::new();
    for kind in kinds {
        signals.push(signal(kind).map_err(ServeError::Signals)?);
    }
    Ok(async move {
        let waiting = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures::future::select_all(waiting).await;
        base::info!("Stopping");
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    /// A caller whose machine is gone: it says hello, and nothing more.
    #[tokio::test(start_paused = true)]
    async fn caller_that_answers_no_ping_is_let_go() {
        const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let folder = tempfile::tempdir().unwrap();
        let plugin = Arc::new(open(Options::for_tests(folder.path().to_owned())).unwrap());
        let (mut caller, end) = tokio::io::duplex(1 << 16);
        let callers = futures::StreamExt::chain(
            futures::stream::iter([Ok::<_, io::Error>(end)]),
            futures::stream::pending(),
        );
        tokio::spawn(services(&plugin).serve_with_incoming(callers));
        let begun = Instant::now();
        caller.write_all(HELLO).await.unwrap();
        let mut said = Vec::new();
        let closed = tokio::time::timeout(10 * KEEPALIVE, caller.read_to_end(&mut said));
        closed.await.expect("closed").unwrap();
        assert_eq!(begun.elapsed().as_secs(), 2 * KEEPALIVE.as_secs());
    }
}

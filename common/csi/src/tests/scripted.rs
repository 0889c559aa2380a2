//! A driver whose Identity answers are written down by the test.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::v1;
use crate::v1::identity_server::{Identity, IdentityServer};
use crate::v1::plugin_capability::Type;
use crate::v1::plugin_capability::service::Type as Service;
use crate::{CallLog, Client, Connection};
use base::metrics::Metrics;

/// What the next Probe does.
#[derive(Debug, Clone)]
pub(super) enum Probe {
    Ready(Option<bool>),
    Fail(Status),
    Hang,
}

/// Answers of the driver, and a count of its calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    pub(super) name: Arc<Mutex<Option<String>>>,
    pub(super) manifest: Arc<Mutex<BTreeMap<String, String>>>,
    pub(super) probes: Arc<Mutex<VecDeque<Probe>>>,
    pub(super) probe_calls: Arc<AtomicUsize>,
    pub(super) timeouts: Arc<Mutex<Vec<String>>>,
    pub(super) services: Arc<Mutex<Vec<Service>>>,
}

impl Script {
    pub(super) fn named(name: &str) -> Self {
        let script = Self::default();
        *script.name.lock().unwrap() = Some(name.to_owned());
        script
    }

    pub(super) fn probing(probes: impl IntoIterator<Item = Probe>) -> Self {
        let script = Self::named("test");
        *script.probes.lock().unwrap() = probes.into_iter().collect();
        script
    }
}

#[tonic::async_trait]
impl Identity for Script {
    async fn get_plugin_info(
        &self,
        request: Request<v1::GetPluginInfoRequest>,
    ) -> Result<Response<v1::GetPluginInfoResponse>, Status> {
        if let Some(timeout) = request.metadata().get("grpc-timeout") {
            self.timeouts.lock().unwrap().push(timeout.to_str().unwrap().to_owned());
        }
        let name = self.name.lock().unwrap().clone();
        let name = name.ok_or_else(|| Status::internal("no name today"))?;
        let manifest = self.manifest.lock().unwrap().clone();
        Ok(Response::new(v1::GetPluginInfoResponse { name, manifest, ..Default::default() }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<v1::GetPluginCapabilitiesRequest>,
    ) -> Result<Response<v1::GetPluginCapabilitiesResponse>, Status> {
        let service = |kind: &Service| v1::PluginCapability {
            r#type: Some(Type::Service(v1::plugin_capability::Service { r#type: (*kind).into() })),
        };
        let capabilities = self.services.lock().unwrap().iter().map(service).collect();
        Ok(Response::new(v1::GetPluginCapabilitiesResponse { capabilities }))
    }

    async fn probe(&self, _: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeResponse>, Status> {
        self.probe_calls.fetch_add(1, Ordering::SeqCst);
        let next = self.probes.lock().unwrap().pop_front();
        match next.unwrap_or(Probe::Ready(None)) {
            Probe::Ready(ready) => Ok(Response::new(v1::ProbeResponse { ready })),
            Probe::Fail(status) => Err(status),
            Probe::Hang => pending().await,
        }
    }
}

/// Drivers over in-memory pipes; each connection is served by whatever `script` is then.
#[derive(Clone)]
pub(super) struct Pipes {
    script: Arc<Mutex<Script>>,
    cut: Arc<Mutex<CancellationToken>>,
    refuse: Arc<Mutex<bool>>,
}

impl Pipes {
    pub(super) fn new(script: Script) -> Self {
        Self { script: Arc::new(Mutex::new(script)), cut: Arc::default(), refuse: Arc::default() }
    }

    pub(super) fn connection(&self) -> Connection {
        let pipes = self.clone();
        Connection::from_connector(move || {
            let pipes = pipes.clone();
            async move { pipes.connect() }
        })
    }

    pub(super) fn driver(&self) -> Client {
        Client::new(self.connection(), Metrics::new(), CallLog::default())
    }

    pub(super) fn connect(&self) -> io::Result<DuplexStream> {
        if *self.refuse.lock().unwrap() {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        }
        let (ours, mut near) = tokio::io::duplex(64 * 1024);
        let (mut far, theirs) = tokio::io::duplex(64 * 1024);
        let script = self.script.lock().unwrap().clone();
        let cut = self.cut.lock().unwrap().clone();
        // tonic serves each connection in a task of its own; cutting the wire between is what makes a
        // killed process of it.
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                () = cut.cancelled() => {}
            }
        });
        tokio::spawn(async move {
            let once = futures::stream::iter([Ok::<_, io::Error>(theirs)]);
            Server::builder()
                .add_service(IdentityServer::new(script))
                .serve_with_incoming(once)
                .await
                .unwrap();
        });
        Ok(ours)
    }

    /// From now on connections reach this script.
    pub(super) fn replace(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    /// From now on connections are refused, or accepted again.
    pub(super) fn refuse(&self, refuse: bool) {
        *self.refuse.lock().unwrap() = refuse;
    }

    /// Ends all present connections as if the driver were killed.
    pub(super) fn kill(&self) {
        let mut cut = self.cut.lock().unwrap();
        std::mem::take(&mut *cut).cancel();
    }
}

/// Serves a script on a Unix socket until the task is aborted.
pub(super) fn listen(path: &Path, script: Script) -> JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    let incoming = futures::stream::unfold(listener, |listener| async move {
        Some((listener.accept().await.map(|(stream, _)| stream), listener))
    });
    tokio::spawn(async move {
        Server::builder()
            .add_service(IdentityServer::new(script))
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    })
}

pub(super) const SECOND: Duration = Duration::from_secs(1);

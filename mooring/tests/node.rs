//! csi-node-driver-registrar, livenessprobe and `mooring node` as processes, beside a driver and a kubelet of the test's.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base::metrics::Metrics;
use csi::registration::{InfoRequest, PluginInfo, RegistrationStatus};
use csi::v1::identity_server::{Identity, IdentityServer};
use csi::v1::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    ProbeRequest, ProbeResponse,
};
use csi::{CallLog, Client, Connection, DialOptions, Endpoint};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

const NAME: &str = "driver.example";
const LIMIT: Duration = Duration::from_secs(30);

/// A driver that is ready, or is not, and that says its name, or does not.
#[derive(Clone, Default)]
struct Driver {
    unready: Arc<AtomicBool>,
    nameless: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl Identity for Driver {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        if self.nameless.load(Ordering::Relaxed) {
            return Err(Status::internal("no name today"));
        }
        Ok(Response::new(GetPluginInfoResponse { name: NAME.to_owned(), ..Default::default() }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse { ready: Some(!self.unready.load(Ordering::Relaxed)) }))
    }
}

/// A node: a folder with the driver's socket and the kubelet's plugin folder.
struct Node {
    folder: tempfile::TempDir,
    driver: Driver,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("registration")).unwrap();
        let driver = Driver::default();
        let listener = tokio::net::UnixListener::bind(folder.path().join("csi.sock")).unwrap();
        let server = tonic::transport::Server::builder().add_service(IdentityServer::new(driver.clone()));
        tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        Self { folder, driver }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path(&format!("registration/{NAME}-reg.sock"))
    }

    fn run(&self, sidecar: &str, more: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mooring"));
        command.arg(sidecar).arg(format!("--csi-address={}", self.path("csi.sock").display()));
        if sidecar != "livenessprobe" {
            command.arg("--kubelet-registration-path=/host/csi.sock");
            command.arg(format!("--plugin-registration-path={}", self.path("registration").display()));
        }
        let log = std::fs::File::create(self.path("log")).unwrap();
        Running { child: command.args(more).stderr(Stdio::from(log)).spawn().unwrap() }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }
}

struct Running {
    child: Child,
}

impl Running {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The kubelet: connects to the socket as soon as it is there.
async fn kubelet(socket: &Path) -> Client {
    let options = DialOptions { limit: LIMIT, ..DialOptions::default() };
    let connection = Connection::dial(Endpoint::Unix(socket.to_owned()), options).await.unwrap();
    Client::new(connection, Metrics::new(), CallLog::default())
}

async fn info(socket: &Path) -> PluginInfo {
    kubelet(socket).await.call(InfoRequest {}, LIMIT).await.unwrap()
}

async fn tell(socket: &Path, plugin_registered: bool, error: &str) -> Result<(), Status> {
    let status = RegistrationStatus { plugin_registered, error: error.to_owned() };
    kubelet(socket).await.call(status, LIMIT).await.map(drop)
}

/// A port that is free.
fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks until there is an answer; its status and its body.
async fn get(port: u16, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let ask = move || {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
                stream.write_all(request.as_bytes()).unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                return (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned());
            }
            assert!(Instant::now() < deadline, "nobody listens");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubelet_finds_the_driver_again_after_the_socket_vanished() {
    let (node, port) = (Node::new(), port());
    let mut registrar =
        node.run("csi-node-driver-registrar", &[&format!("--http-endpoint=127.0.0.1:{port}")]);
    let said = info(&node.socket()).await;
    assert_eq!((said.name.as_str(), said.endpoint.as_str()), (NAME, "/host/csi.sock"));
    tell(&node.socket(), true, "").await.unwrap();
    assert_eq!(get(port, "/healthz").await, (200, "ok".to_owned()));

    std::fs::remove_file(node.socket()).unwrap();
    assert_eq!(info(&node.socket()).await, said, "made again without a restart");
    tell(&node.socket(), true, "").await.unwrap();

    node.driver.nameless.store(true, Ordering::Relaxed);
    assert_eq!(
        get(port, "/healthz").await.0,
        200,
        "a driver may restart: our own restart would unregister it"
    );
    assert!(node.log().contains("no name today"), "{}", node.log());
    registrar.signal("-TERM");
    assert_eq!(registrar.ended().code(), Some(0));
    assert!(!node.socket().exists(), "removed at the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusal_of_the_kubelet_ends_the_registrar_with_its_reason() {
    let node = Node::new();
    let mut registrar = node.run("csi-node-driver-registrar", &[]);
    let answer = tell(&node.socket(), false, "no such driver socket").await;
    assert!(answer.is_err(), "it ends before it answers");
    assert_eq!(registrar.ended().code(), Some(1));
    assert!(node.log().contains("no such driver socket"), "{}", node.log());
    assert!(node.socket().exists(), "the next process replaces it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn liveness_probe_asks_the_driver_each_time() {
    let (node, port) = (Node::new(), port());
    let _probe =
        node.run("livenessprobe", &[&format!("--http-endpoint=127.0.0.1:{port}"), "--probe-timeout=1s"]);
    assert_eq!(get(port, "/healthz").await, (200, "ok".to_owned()));
    node.driver.unready.store(true, Ordering::Relaxed);
    assert_eq!(get(port, "/healthz").await, (500, "driver responded but is not ready".to_owned()));
    let (_, page) = get(port, "/metrics").await;
    let sample = format!(
        "csi_sidecar_operations_seconds_count{{driver_name=\"{NAME}\",grpc_status_code=\"OK\",method_name=\"/csi.v1.Identity/Probe\"}} 2"
    );
    assert!(page.contains(&sample), "{page}");
    std::fs::remove_file(node.path("csi.sock")).unwrap();
    let (status, text) = get(port, "/healthz").await;
    assert_eq!(status, 500);
    assert!(text.contains("csi.sock"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_is_registrar_and_liveness_probe_on_one_port() {
    let (node, port) = (Node::new(), port());
    let mut both = node.run("node", &[&format!("--http-endpoint=127.0.0.1:{port}"), "--status-page"]);
    tell(&node.socket(), true, "").await.unwrap();
    assert_eq!(get(port, "/healthz").await.0, 200);
    let (_, page) = get(port, "/status?format=json").await;
    let page: serde_json::Value = serde_json::from_str(page.trim()).unwrap();
    assert_eq!(
        (&page["program"], &page["facts"]["Driver on this node"]),
        (&"mooring node".into(), &NAME.into())
    );
    assert_eq!(page["facts"]["Registration"], "the kubelet uses it");
    assert_eq!(get(port, "/healthz/registration").await.0, 200);
    node.driver.unready.store(true, Ordering::Relaxed);
    assert_eq!(get(port, "/healthz").await.0, 500);
    assert_eq!(get(port, "/healthz/registration").await.0, 200, "the kubelet still has it");
    both.signal("-INT");
    assert_eq!(both.ended().code(), Some(0));
    assert!(!node.socket().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_node_answers_for_the_driver_and_offers_it_again() {
    let (node, port) = (Node::new(), port());
    let mut both = node.run("node", &[&format!("--http-endpoint=127.0.0.1:{port}")]);
    let answer = tell(&node.socket(), false, "the driver is not ready").await;
    assert!(answer.is_err(), "never answered");
    assert_eq!(get(port, "/healthz").await.0, 200, "the driver lives");
    assert_eq!(get(port, "/healthz/registration").await.0, 404);
    assert!(node.log().contains("the driver is not ready"), "{}", node.log());
    tell(&node.socket(), true, "").await.unwrap();
    assert_eq!(get(port, "/healthz/registration").await.0, 200);
    both.signal("-TERM");
    assert_eq!(both.ended().code(), Some(0));
    assert!(!node.socket().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn driver_that_starts_late_is_no_failure_of_the_node() {
    let (node, port) = (Node::new(), port());
    node.driver.nameless.store(true, Ordering::Relaxed);
    let _both = node.run("node", &[&format!("--http-endpoint=127.0.0.1:{port}")]);
    assert_eq!(get(port, "/healthz/registration").await, (200, "ok".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_of_the_node_serve_https() {
    for program in ["csi-node-driver-registrar", "livenessprobe", "node"] {
        let (node, port) = (Node::new(), port());
        let trusted = cluster::tls::write_certificate(node.folder.path());
        let flags = [
            format!("--http-endpoint=127.0.0.1:{port}"),
            format!("--tls-cert-file={}", node.path("tls.crt").display()),
            format!("--tls-private-key-file={}", node.path("tls.key").display()),
        ];
        let _running = node.run(program, &flags.each_ref().map(String::as_str));
        let deadline = Instant::now() + LIMIT;
        let answer = loop {
            match cluster::tls::answer(port, "/healthz", "", &trusted).await {
                Ok(answer) => break answer,
                Err(error) => assert!(Instant::now() < deadline, "{program}: {error}: {}", node.log()),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(answer.starts_with("HTTP/1.1 200 "), "{program}: {answer}");
        let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
        plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut said = Vec::new();
        let _ = plain.read_to_end(&mut said);
        assert!(!String::from_utf8_lossy(&said).contains("HTTP/1.1"), "{program} answers in the clear");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_that_cannot_be_read_bars_no_driver_from_its_node() {
    for program in ["csi-node-driver-registrar", "livenessprobe", "node"] {
        let (node, port) = (Node::new(), port());
        let files = ["tls.crt", "tls.key"].map(|name| node.path(name).display().to_string());
        let flags = [
            format!("--http-endpoint=127.0.0.1:{port}"),
            format!("--tls-cert-file={}", files[0]),
            format!("--tls-private-key-file={}", files[1]),
        ];
        let mut running = node.run(program, &flags.each_ref().map(String::as_str));
        match program {
            "livenessprobe" => assert_eq!(running.ended().code(), Some(1)),
            _ => assert_eq!(info(&node.socket()).await.name, NAME),
        }
        let line = format!("--tls-cert-file: cannot read {}", files[0]);
        assert!(node.log().contains(&line), "{}", node.log());
    }
}

#[test]
fn taken_port_and_missing_folder_exit_with_1_and_are_named() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let node = Node::new();
    let mut probe = node.run("livenessprobe", &[&format!("--health-port={port}")]);
    assert_eq!(probe.ended().code(), Some(1));
    assert!(node.log().contains("--health-port"), "{}", node.log());
    std::fs::remove_dir(node.path("registration")).unwrap();
    let mut registrar = node.run("csi-node-driver-registrar", &[]);
    assert_eq!(registrar.ended().code(), Some(1));
    assert!(node.log().contains("-reg.sock"), "{}", node.log());
}

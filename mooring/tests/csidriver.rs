//! `mooring csidriver` as a process, beside a program that is only the driver's node part. No API server is needed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use csi::v1::identity_server::{Identity, IdentityServer};
use csi::v1::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    ProbeRequest, ProbeResponse,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

const LIMIT: Duration = Duration::from_secs(30);

/// A program without a Controller service.
struct NodePart;

#[tonic::async_trait]
impl Identity for NodePart {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse { name: "driver.example".to_owned(), ..Default::default() }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse::default()))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

/// The command, beside that program, with a kubeconfig that is not there.
struct Running {
    folder: tempfile::TempDir,
    child: Child,
}

impl Running {
    fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        let listener = tokio::net::UnixListener::bind(path("csi.sock")).unwrap();
        let server = tonic::transport::Server::builder().add_service(IdentityServer::new(NodePart));
        tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        let mut command = Command::new(env!("CARGO_BIN_EXE_mooring"));
        command.arg("csidriver").arg(format!("--csi-address={}", path("csi.sock").display()));
        command.arg(format!("--kubeconfig={}", path("none").display())).args(flags);
        command.stderr(Stdio::from(std::fs::File::create(path("log")).unwrap()));
        let child = command.spawn().unwrap();
        Self { folder, child }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits until the log has this text.
    fn says(&self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on: {}", self.log());
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signal_ends_the_command_with_0() {
    for signal in ["-TERM", "-INT"] {
        let mut running = Running::start(&[]);
        running.says("will retry");
        let sent = Command::new("kill").args([signal, &running.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(running.ended().code(), Some(0), "{signal}: {}", running.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_part_says_nothing_of_attaching() {
    let mut running = Running::start(&["--once"]);
    assert_eq!(running.ended().code(), Some(1));
    let said = running.log();
    assert!(said.contains("no Controller service") && said.contains("--attach-required"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flag_says_what_the_node_part_does_not() {
    let mut running = Running::start(&["--once", "--attach-required=false"]);
    assert_eq!(running.ended().code(), Some(1), "{}", running.log());
    assert!(running.log().contains("kubeconfig"), "it goes on to the API server: {}", running.log());
}

//! Bad input at start gives one clear line and the right exit code, and nothing else happens.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use csi::v1;
use csi::v1::identity_server::{Identity, IdentityServer};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// Well-formed, and nobody listens there.
const KUBECONFIG: &str = "apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
";

fn mooring(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooring"));
    command.env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST");
    command.args(args).output().expect("it runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn kubeconfig(folder: &Path) -> String {
    let path = folder.join("kubeconfig");
    std::fs::write(&path, KUBECONFIG).expect("written");
    format!("--kubeconfig={}", path.display())
}

#[test]
fn wrong_flags_exit_with_2_and_name_the_flag() {
    for (args, text) in [
        (&["csi-provisioner", "--no-such-flag"][..], "no-such-flag"),
        (&["csi-provisioner", "--timeout=soon"], "timeout"),
        (&["csi-provisioner", "--worker-threads=-1"], "worker-threads"),
        (&["no-such-sidecar"], "no-such-sidecar"),
    ] {
        let output = mooring(args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(said(&output).contains(text), "{args:?}: {}", said(&output));
    }
}

#[test]
fn flags_that_do_not_go_together_exit_with_1() {
    for (sidecar, _) in SIDECARS {
        let output = mooring(&[sidecar, "--http-endpoint=:1", "--metrics-address=:2"]);
        assert_eq!(code(&output), 1, "{sidecar}");
        assert!(said(&output).contains("--metrics-address"), "{sidecar}: {}", said(&output));
    }
}

#[test]
fn version_and_help_exit_with_0() {
    let output = mooring(&["csi-provisioner", "--version"]);
    assert_eq!(code(&output), 0);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("csi-provisioner v{}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(code(&mooring(&["csi-provisioner", "--help"])), 0);
}

#[test]
fn unreadable_or_missing_kubeconfig_is_fatal_and_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("broken");
    std::fs::write(&broken, "clusters: [").expect("written");
    for (sidecar, exit) in SIDECARS {
        for path in ["/no/such/kubeconfig", broken.to_str().expect("text")] {
            let output = mooring(&[sidecar, &format!("--kubeconfig={path}")]);
            assert_eq!(code(&output), exit, "{sidecar} {path}");
            assert!(said(&output).contains(&format!("--kubeconfig {path}")), "{}", said(&output));
        }
        let output = mooring(&[sidecar]);
        assert_eq!(code(&output), exit, "{sidecar}");
        assert!(said(&output).contains("not running in a pod"), "{}", said(&output));
    }
}

#[test]
fn unknown_gate_exits_with_upstreams_code() {
    for (sidecar, exit) in SIDECARS {
        let output = mooring(&[sidecar, "--feature-gates=NoSuchGate=true"]);
        assert_eq!(code(&output), exit, "{sidecar}");
        assert!(said(&output).contains("NoSuchGate"), "{sidecar}: {}", said(&output));
    }
}

#[test]
fn missing_or_unreadable_sidecar_name_exits_with_2() {
    use std::os::unix::ffi::OsStrExt as _;
    let output = mooring(&[]);
    assert_eq!(code(&output), 2);
    assert!(said(&output).contains("csi-attacher"), "{}", said(&output));
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooring"));
    let output = command.arg(std::ffi::OsStr::from_bytes(b"csi-\xff")).output().expect("it runs");
    assert_eq!(code(&output), 2);
    assert!(said(&output).contains("not UTF-8"), "{}", said(&output));
}

#[test]
fn address_that_is_none_exits_with_1_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = mooring(&["csi-provisioner", &kubeconfig(folder.path()), "--csi-address=http://driver"]);
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("--csi-address"), "{}", said(&output));
}

#[test]
fn absent_socket_is_waited_for_half_a_minute_and_then_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("no.sock");
    let began = std::time::Instant::now();
    let output = mooring(&[
        "csi-provisioner",
        &kubeconfig(folder.path()),
        &format!("--csi-address={}", socket.display()),
    ]);
    assert_eq!(code(&output), 1);
    assert!((29..40).contains(&began.elapsed().as_secs()), "took {:?}", began.elapsed());
    let said = said(&output);
    assert!(said.matches("Still connecting").count() >= 2, "{said}");
    assert!(said.contains("no.sock"), "{said}");
}

/// A driver that answers what it is told to.
struct Odd {
    name: &'static str,
    probe: Option<Status>,
    /// How long it thinks about its name.
    thinks: Duration,
    /// Whether it knows what it can.
    knows: bool,
}

impl Odd {
    fn called(name: &'static str) -> Self {
        Self { name, probe: None, thinks: Duration::ZERO, knows: false }
    }
}

/// The sidecars, and the exit code when the driver does not say who it is or what it can.
const SIDECARS: [(&str, i32); 3] = [("csi-provisioner", 255), ("csi-attacher", 1), ("csi-resizer", 1)];

#[tonic::async_trait]
impl Identity for Odd {
    async fn get_plugin_info(
        &self,
        _: Request<v1::GetPluginInfoRequest>,
    ) -> Result<Response<v1::GetPluginInfoResponse>, Status> {
        tokio::time::sleep(self.thinks).await;
        let name = self.name.to_owned();
        Ok(Response::new(v1::GetPluginInfoResponse { name, ..Default::default() }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<v1::GetPluginCapabilitiesRequest>,
    ) -> Result<Response<v1::GetPluginCapabilitiesResponse>, Status> {
        match self.knows {
            true => Ok(Response::new(v1::GetPluginCapabilitiesResponse::default())),
            false => Err(Status::internal("it does not know")),
        }
    }

    async fn probe(&self, _: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeResponse>, Status> {
        match &self.probe {
            Some(status) => Err(status.clone()),
            None => Ok(Response::new(v1::ProbeResponse::default())),
        }
    }
}

/// Serves `driver` on a socket in `folder`; the argument that names it.
fn served(driver: Odd, folder: &Path) -> (String, tokio::task::JoinHandle<()>) {
    let socket = folder.join("csi.sock");
    let listener = tokio::net::UnixListener::bind(&socket).expect("bound");
    let server = tonic::transport::Server::builder().add_service(IdentityServer::new(driver));
    let serving = server.serve_with_incoming(UnixListenerStream::new(listener));
    (format!("--csi-address={}", socket.display()), tokio::spawn(async { serving.await.expect("served") }))
}

/// Runs a sidecar beside `driver` to its end.
async fn beside(driver: Odd, sidecar: &'static str) -> Output {
    beside_with(driver, sidecar, "--v=0".to_owned()).await
}

/// As [`beside`], with one more argument.
async fn beside_with(driver: Odd, sidecar: &'static str, more: String) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, serving) = served(driver, folder.path());
    let args = [kubeconfig(folder.path()), address];
    let output = tokio::task::spawn_blocking(move || mooring(&[sidecar, &args[0], &args[1], &more]));
    let output = output.await.expect("it ran");
    serving.abort();
    output
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn driver_without_a_name_is_fatal() {
    for (sidecar, exit) in SIDECARS {
        let output = beside(Odd::called(""), sidecar).await;
        assert_eq!(code(&output), exit, "{sidecar}");
        assert!(said(&output).contains("driver name is empty"), "{sidecar}: {}", said(&output));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_address_in_use_is_fatal() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    for (sidecar, exit) in SIDECARS {
        let driver = Odd::called("odd.example");
        let output = beside_with(driver, sidecar, format!("--http-endpoint={address}")).await;
        assert_eq!(code(&output), exit, "{sidecar}");
        assert!(said(&output).contains("--http-endpoint"), "{sidecar}: {}", said(&output));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn driver_that_cannot_tell_what_it_can_is_fatal() {
    for (sidecar, exit) in SIDECARS {
        let output = beside(Odd::called("odd.example"), sidecar).await;
        assert_eq!(code(&output), exit, "{sidecar}");
        assert!(said(&output).contains("it does not know"), "{sidecar}: {}", said(&output));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn driver_whose_probe_fails_exits_with_1() {
    for (sidecar, _) in SIDECARS {
        let probe = Some(Status::failed_precondition("no disk"));
        let output = beside(Odd { probe, ..Odd::called("odd.example") }, sidecar).await;
        assert_eq!(code(&output), 1, "{sidecar}");
        assert!(said(&output).contains("no disk"), "{sidecar}: {}", said(&output));
    }
}

/// csi-attacher waits a second for the name, whatever `--timeout` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attacher_exits_when_the_driver_names_itself_too_late() {
    let thinks = Duration::from_secs(20);
    let began = std::time::Instant::now();
    let output = beside(Odd { thinks, ..Odd::called("odd.example") }, "csi-attacher").await;
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("DeadlineExceeded"), "{}", said(&output));
    assert!(began.elapsed() < thinks, "took {:?}", began.elapsed());
}

#[test]
fn an_attacher_without_workers_exits_with_1_and_names_the_flag() {
    let output = mooring(&["csi-attacher", "--worker-threads=0"]);
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("worker-threads"), "{}", said(&output));
}

/// As PID 1 of a container a process that does not listen for signals cannot be ended by SIGTERM at all.
#[test]
fn signal_before_the_work_begins_ends_the_process_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooring"));
    let socket = folder.path().join("no.sock");
    command.args([
        "csi-attacher",
        &kubeconfig(folder.path()),
        &format!("--csi-address={}", socket.display()),
    ]);
    let (code, took) = ended_after(command, "Still connecting");
    assert_eq!(code, Some(143), "it ends itself, as it must where it is PID 1");
    assert!(took < Duration::from_secs(2), "took {took:?}");
}

/// Runs the command until it says this, sends SIGTERM, and gives the exit code and the time that it took.
fn ended_after(mut command: Command, text: &str) -> (Option<i32>, Duration) {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it runs");
    let lines = BufReader::new(child.stderr.take().expect("its errors")).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(lines.any(|line| line.contains(text)), "it never says {text:?}");
    let asked = std::time::Instant::now();
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(kill.expect("kill").success());
    // Nobody would read what it says after this.
    std::thread::spawn(move || lines.for_each(drop));
    (child.wait().expect("it ends").code(), asked.elapsed())
}

/// Without the gate ReleaseLeaderElectionOnExit nothing is finished, as upstream's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signal_during_the_work_finishes_it_only_with_the_gate() {
    for (gate, expected) in [(true, 0), (false, 143)] {
        let folder = tempfile::tempdir().expect("a folder");
        let driver = Odd { knows: true, ..Odd::called("odd.example") };
        let (address, serving) = served(driver, folder.path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_mooring"));
        let gates = format!("--feature-gates=ReleaseLeaderElectionOnExit={gate}");
        command.args(["csi-attacher", &kubeconfig(folder.path()), &address, &gates]);
        let ended = tokio::task::spawn_blocking(move || ended_after(command, "Listing failed"));
        let (code, took) = ended.await.expect("it ran");
        assert_eq!(code, Some(expected), "{gate}: took {took:?}");
        serving.abort();
    }
}

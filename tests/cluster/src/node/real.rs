//! A node with a kubelet: pods that are bound to it really run.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::Api;

use super::config;
use super::error::NodeError;
use super::space::{BRIDGE, Claim, NODE_ADDRESS, Space, make_group, undo};
use crate::binaries::{self, Binary, Progress};
use crate::control_plane::ControlPlane;
use crate::error::StartError;
use crate::pki::{NODE, SERVICE_ADDRESS};
use crate::process::{Process, last_lines};
use crate::wait;

/// How long each part may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// One real node, named [`NODE`]; everything of it is gone when this is dropped, and when the process that started it is
/// killed. Drop it before its control plane: its files are in that one's folder.
#[derive(Debug)]
pub struct RealNode {
    kubelet: Option<Process>,
    containerd: Option<Process>,
    forwarder: Option<Process>,
    space: Option<Space>,
    kubelet_file: PathBuf,
    /// The control plane's folder.
    folder: PathBuf,
    client: kube::Config,
    server: String,
    _claim: Claim,
}

impl RealNode {
    /// Starts a node beside `control_plane` and waits until it is ready: some four seconds, plus the first build of the
    /// kubelet. containerd gets the images in `archives`. Waits while another process of this machine has a real node.
    ///
    /// # Errors
    /// See [`NodeError`]; the message has the last lines of what failed.
    pub async fn start(control_plane: &ControlPlane, archives: &[PathBuf]) -> Result<RealNode, NodeError> {
        let blocking = tokio::task::spawn_blocking(|| -> Result<_, NodeError> {
            let binaries = binaries::ensure(&[Binary::Kubelet], &Progress::auto())?;
            Ok((binaries.path(Binary::Kubelet).to_owned(), Claim::wait()?))
        });
        let (kubelet_file, claim) = blocking.await.map_err(io::Error::other)??;
        let mut node = RealNode {
            kubelet: None,
            containerd: None,
            forwarder: None,
            space: None,
            kubelet_file,
            folder: control_plane.folder().to_owned(),
            client: control_plane.config(),
            server: control_plane.server().trim_start_matches("https://").to_owned(),
            _claim: claim,
        };
        Space::prepare(&node.own_folder(), &node._claim)?;
        node.write_configuration()?;
        let booted = match node.connect() {
            Ok(()) => node.boot().await,
            Err(error) => Err(error),
        };
        booted.map_err(|error| NodeError::DoesNotBoot(Box::new(error)))?;
        for archive in archives {
            node.import(archive)?;
        }
        node.until_ready().await?;
        Ok(node)
    }

    fn own_folder(&self) -> PathBuf {
        self.folder.join("node")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn write_configuration(&self) -> Result<(), NodeError> {
        let node = self.own_folder();
        std::fs::write(node.join("containerd.toml"), config::containerd(&node))?;
        std::fs::write(node.join("cni/10-mooring.conflist"), config::network().to_string())?;
        std::fs::write(node.join("kubelet.json"), config::kubelet(&self.folder, &node).to_string())?;
        // No name is ever asked for: an answer that never comes would only cost time.
        std::fs::write(node.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")?;
        Ok(())
    }

    /// The bridge with the node's address, and on it the one service there is: the API server.
    fn connect(&mut self) -> Result<(), NodeError> {
        let ip = |arguments: &str| -> Result<(), NodeError> {
            let output = Command::new("ip").args(arguments.split(' ')).output()?;
            if output.status.success() {
                return Ok(());
            }
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(NodeError::Part { name: format!("ip {arguments}"), what: "failed".to_owned(), log })
        };
        ip(&format!("link add {BRIDGE} type bridge"))?;
        ip(&format!("address add {NODE_ADDRESS}/24 dev {BRIDGE}"))?;
        ip(&format!("address add {SERVICE_ADDRESS}/32 dev {BRIDGE}"))?;
        ip(&format!("link set {BRIDGE} up"))?;
        // Its own address from now on, not that of whichever pod came last: pods remember it.
        let address = std::fs::read_to_string(format!("/sys/class/net/{BRIDGE}/address"))?;
        ip(&format!("link set dev {BRIDGE} address {}", address.trim()))?;
        let mut socat = Command::new("socat");
        socat.arg(format!("TCP-LISTEN:443,bind={SERVICE_ADDRESS},fork,reuseaddr"));
        socat.arg(format!("TCP:{}", self.server));
        self.forwarder = Some(Process::start("socat", socat, &self.log("socat"))?);
        Ok(())
    }

    /// Starts the namespaces, containerd and the kubelet.
    async fn boot(&mut self) -> Result<(), NodeError> {
        make_group()?;
        let space = Space::start(&self.own_folder(), &self.log("node-init"))?;
        let mut containerd = space.command("containerd");
        containerd.arg("--config").arg(self.own_folder().join("containerd.toml"));
        self.containerd = Some(Process::start("containerd", containerd, &self.log("containerd"))?);
        self.space = Some(space);
        let answers = wait::until("containerd", PATIENCE, || {
            let answer = self.run("ctr", &["--address", config::RUNTIME_SOCKET, "version"]);
            async move { answer.is_ok().then_some(()) }
        });
        answers
            .await
            .map_err(|_| NodeError::failed("containerd", "does not answer", &self.log("containerd")))?;
        let before = self.heartbeat().await?;
        self.start_kubelet()?;
        let end = Instant::now() + PATIENCE;
        while self.heartbeat().await? == before {
            if Instant::now() > end {
                return Err(NodeError::failed("kubelet", "sends no heartbeat", &self.log("kubelet")));
            }
            // It ends when containerd answers, but not yet for pods: a service would be started again, too.
            if self.kubelet.as_mut().is_none_or(|kubelet| kubelet.exited().is_some()) {
                self.start_kubelet()?;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// When the kubelet last said that it is there.
    async fn heartbeat(&self) -> Result<Option<MicroTime>, NodeError> {
        let client = kube::Client::try_from(self.client.clone()).map_err(StartError::from)?;
        let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
        let lease = leases.get_opt(NODE).await.map_err(StartError::from)?;
        Ok(lease.and_then(|lease| lease.spec?.renew_time))
    }

    fn space(&self) -> Result<&Space, NodeError> {
        let missing = || io::Error::other("the node is switched off");
        Ok(self.space.as_ref().ok_or_else(missing)?)
    }

    /// Starts the kubelet, which is not running.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_kubelet(&mut self) -> Result<(), NodeError> {
        let node = self.own_folder();
        let mut kubelet = self.space()?.command(&self.kubelet_file);
        kubelet.arg("--config").arg(node.join("kubelet.json"));
        kubelet.arg("--kubeconfig").arg(self.folder.join("kubelet.kubeconfig"));
        kubelet.args([format!("--hostname-override={NODE}"), format!("--node-ip={NODE_ADDRESS}")]);
        kubelet.arg("--v=2");
        self.kubelet = Some(Process::start("kubelet", kubelet, &self.log("kubelet"))?);
        Ok(())
    }

    /// Kills the kubelet, and waits until it has gone: in its last moments it keeps its port from the next one. Pods go on.
    ///
    /// # Errors
    /// It is still there after half a minute.
    pub fn kill_kubelet(&mut self) -> Result<(), NodeError> {
        self.kubelet = None;
        let gone = r"for _ in $(seq 300); do grep -qsaP '^[^\x00]*/kubelet\x00' /proc/[0-9]*/cmdline || exit 0; sleep 0.1; done; exit 1";
        self.run("sh", &["-c", gone]).map(drop)
    }

    /// Cuts the power and switches it on again: no process is told, and only files stay. Returns when the kubelet runs.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn reboot(&mut self) -> Result<(), NodeError> {
        if let Some(mut space) = self.space.take() {
            space.cut();
        }
        self.kubelet = None;
        self.containerd = None;
        self.boot().await
    }

    /// Waits until the API server says that the node is ready.
    ///
    /// # Errors
    /// [`NodeError::Late`].
    pub async fn until_ready(&mut self) -> Result<(), NodeError> {
        let client = kube::Client::try_from(self.client.clone()).map_err(StartError::from)?;
        let nodes: Api<Node> = Api::all(client);
        let ready = async || {
            let conditions = nodes.get_opt(NODE).await.ok()??.status?.conditions?;
            conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True").then_some(())
        };
        let waited = wait::until("the node to be ready", PATIENCE, ready).await;
        waited.map_err(|late| NodeError::Late { late, log: last_lines(&self.log("kubelet"), 15) })
    }

    /// Gives containerd the images of an archive.
    ///
    /// # Errors
    /// `ctr` fails.
    pub fn import(&self, archive: &Path) -> Result<(), NodeError> {
        let archive = archive.display().to_string();
        let arguments =
            ["--address", config::RUNTIME_SOCKET, "--namespace", "k8s.io", "images", "import", &archive];
        self.run("ctr", &arguments).map(|_| ())
    }

    /// A program on the node: what it sees is what a process on the node's machine would see.
    ///
    /// # Errors
    /// The node is switched off.
    pub fn command(&self, program: &str) -> Result<Command, NodeError> {
        Ok(self.space()?.command(program))
    }

    /// Runs a program on the node to its end.
    ///
    /// # Errors
    /// It cannot be started, or fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String, NodeError> {
        let Output { status, stdout, stderr } = self.command(program)?.args(arguments).output()?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        let log = String::from_utf8_lossy(&stderr).into_owned();
        Err(NodeError::Part { name: program.to_owned(), what: format!("{arguments:?}: {status}"), log })
    }

    /// The node's `/var/lib` where this process sees it: without what is mounted below it.
    pub fn var_lib(&self) -> PathBuf {
        self.own_folder().join("var-lib")
    }
}

impl Drop for RealNode {
    fn drop(&mut self) {
        self.kubelet = None;
        self.containerd = None;
        self.forwarder = None;
        self.space = None;
        undo(&self.own_folder(), false);
    }
}

//! A control plane, the driver and one sidecar, as they are measured.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cluster::apply::documents;
use cluster::binaries::{Binary, Progress, ensure};
use cluster::built::{cargo, statically};
use cluster::{ControlPlane, Options, Process};
use k8s_openapi::api::storage::v1::CSINode;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::audit::Audit;
use crate::usage::cpu;

/// The driver's name.
pub(crate) const DRIVER: &str = "hostpath.csi.k8s.io";

/// The roles of all controller sidecars.
pub(crate) const ROLES: [&str; 3] = [
    include_str!("../../../manifests/rbac/provisioner.yaml"),
    include_str!("../../../manifests/rbac/attacher.yaml"),
    include_str!("../../../manifests/rbac/resizer.yaml"),
];

/// The roles with what the Go resizer needs and ours does not: it reads objects one by one too.
pub(crate) fn rights_for_go(roles: &str) -> String {
    roles.replace("verbs: [\"list\", \"watch\"]", "verbs: [\"get\", \"list\", \"watch\"]")
}

/// The executables that are measured.
pub(crate) struct Programs {
    pub(crate) mooring: PathBuf,
    pub(crate) driver: PathBuf,
}

impl Programs {
    /// Uses what is given; of what is not, the build that ships.
    pub(crate) fn find(mooring: Option<PathBuf>, driver: Option<PathBuf>) -> Result<Self> {
        let shipped = if mooring.is_none() || driver.is_none() { Some(ship()?) } else { None };
        let of = |given: Option<PathBuf>, name: &str| {
            given.or_else(|| Some(shipped.as_ref()?.join(name))).with_context(|| format!("no {name}"))
        };
        Ok(Self { mooring: of(mooring, "mooring")?, driver: of(driver, "mooring-driver")? })
    }
}

/// Makes the build that ships, and gives its folder.
fn ship() -> Result<PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    if !cargo().args(["run", "--package", "xtask", "--", "dist"]).current_dir(root).status()?.success() {
        bail!("cargo xtask dist failed (above)");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(root).join("target"), PathBuf::from);
    Ok(target.join(statically::target()).join("dist"))
}

/// What runs beside the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// Nothing: nobody binds claims or collects garbage.
    Nothing,
    /// kube-controller-manager.
    Binder,
    /// That, and kube-scheduler.
    Scheduler,
}

/// A stand with everything running but the sidecar.
pub(crate) struct Stand {
    pub(crate) client: kube::Client,
    pub(crate) namespace: String,
    pub(crate) audit: Audit,
    pub(crate) control_plane: ControlPlane,
    /// Where the sidecars find the driver.
    pub(crate) csi_socket: PathBuf,
    driver: Process,
    kubeconfig: PathBuf,
    mooring: PathBuf,
    _folder: TempFolder,
}

struct TempFolder(PathBuf);

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Stand {
    /// Starts the control plane and the driver; the sidecar's account has the rights of `rbac`.
    pub(crate) async fn up(
        programs: &Programs,
        beside: Beside,
        account: &str,
        rbac: &str,
        driver: &[&str],
    ) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("mooring-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let folder = TempFolder(folder);
        let user = format!("system:serviceaccount:bench:{account}");
        let (audit, api_server_flags) = Audit::prepare(&folder.0, &user)?;
        let options = Options {
            controller_manager: beside != Beside::Nothing,
            scheduler: beside == Beside::Scheduler,
            api_server_flags,
            ..Options::default()
        };
        let control_plane = ControlPlane::start(options).await?;
        let namespace = "bench".to_owned();
        control_plane
            .apply_object(
                serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
                "",
            )
            .await?;
        let kubeconfig = control_plane.service_account(&namespace, account, &roles(rbac)?).await?;
        let state = control_plane.folder().join("volumes");
        let csi_socket = control_plane.folder().join("csi.sock");
        let mut command = Command::new(&programs.driver);
        command
            .arg(format!("--endpoint=unix://{}", csi_socket.display()))
            .arg(format!("--statedir={}", state.display()))
            .args(["--nodeid=node-1", "--enable-topology=false"])
            .args(driver);
        let driver = control_plane.spawn("driver", command)?;
        Ok(Self {
            client: control_plane.client()?,
            namespace,
            audit,
            control_plane,
            csi_socket,
            driver,
            kubeconfig,
            mooring: programs.mooring.clone(),
            _folder: folder,
        })
    }

    /// Makes nodes, all called as the driver's own node.
    pub(crate) async fn nodes(&self, count: usize) -> Result<()> {
        let csi_nodes: Api<CSINode> = Api::all(self.client.clone());
        for number in 0..count {
            let node = json!({
                "metadata": {"name": format!("node-{number}")},
                "spec": {"drivers": [{"name": DRIVER, "nodeID": "node-1", "topologyKeys": null}]},
            });
            csi_nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
        }
        Ok(())
    }

    /// The driver's process.
    pub(crate) fn driver(&self) -> u32 {
        self.driver.id()
    }

    /// Starts the sidecar.
    pub(crate) fn sidecar(&self, name: &str, flags: &[&str]) -> Result<Process> {
        self.sidecar_logging_to(name, name, flags)
    }

    /// Starts the sidecar with a log of its own, so that an earlier one's lines are not taken for its.
    pub(crate) fn sidecar_logging_to(&self, log: &str, name: &str, flags: &[&str]) -> Result<Process> {
        let mut command = Command::new(&self.mooring);
        command.arg(name);
        self.start(command, log, flags)
    }

    /// Starts the Go csi-provisioner.
    pub(crate) fn go_provisioner(&self, log: &str, flags: &[&str]) -> Result<Process> {
        let binaries = ensure(&[Binary::CsiProvisioner], &Progress::auto())?;
        self.start(Command::new(binaries.path(Binary::CsiProvisioner)), log, flags)
    }

    /// Starts the Go csi-attacher.
    pub(crate) fn go_attacher(&self, log: &str, flags: &[&str]) -> Result<Process> {
        let binaries = ensure(&[Binary::CsiAttacher], &Progress::auto())?;
        self.start(Command::new(binaries.path(Binary::CsiAttacher)), log, flags)
    }

    /// Starts the Go csi-resizer.
    pub(crate) fn go_resizer(&self, log: &str, flags: &[&str]) -> Result<Process> {
        let binaries = ensure(&[Binary::CsiResizer], &Progress::auto())?;
        self.start(Command::new(binaries.path(Binary::CsiResizer)), log, flags)
    }

    /// Starts an executable with the driver's address and the account's rights.
    pub(crate) fn start(&self, mut command: Command, log: &str, flags: &[&str]) -> Result<Process> {
        command
            .arg(format!("--csi-address={}", self.csi_socket.display()))
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .args(flags)
            .env("NAMESPACE", &self.namespace)
            .env_remove("KUBECONFIG");
        Ok(self.control_plane.spawn(log, command)?)
    }
}

/// Waits until a process that has started uses hardly any CPU: it has read what there is.
pub(crate) async fn quiet(pid: u32) -> Result<()> {
    const LOOK: Duration = Duration::from_millis(500);
    let mut still = 0;
    for _ in 0..240 {
        let before = cpu(pid)?;
        tokio::time::sleep(LOOK).await;
        // Two percent; and long enough for a pause in between not to be taken for the end.
        let idle = cpu(pid)?.saturating_sub(before) < LOOK / 50;
        still = if idle { still + 1 } else { 0 };
        if still == 6 {
            return Ok(());
        }
    }
    bail!("process {pid} is never quiet")
}

/// Waits until a log line of `process` contains `text`.
pub(crate) async fn until_logged(process: &Process, text: &str) -> Result<()> {
    for _ in 0..2400 {
        if process.last_lines(200).contains(text) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("{} never logged {text:?}:\n{}", process.name(), process.last_lines(20))
}

fn roles(manifest: &str) -> Result<String> {
    let is_role = |document: &Value| {
        matches!(document.get("kind").and_then(Value::as_str), Some("Role" | "ClusterRole"))
    };
    let documents = documents(manifest).context("the manifest")?;
    Ok(documents.into_iter().filter(is_role).map(|role| role.to_string()).collect::<Vec<_>>().join("\n---\n"))
}

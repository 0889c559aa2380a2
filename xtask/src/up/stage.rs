//! What the show is played on: the control plane, the driver, the sidecars that this release has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster::built::{cargo, executable};
use cluster::node::NodeDriver;
use cluster::{ControlPlane, Options, Process, wait};

/// The driver's name, as the example class has it.
pub(crate) const DRIVER: &str = "hostpath.csi.k8s.io";
/// The only node, as the example pod has it.
pub(crate) const NODE: &str = "node-1";

/// A sidecar, and what it may do.
struct Sidecar {
    name: &'static str,
    role: &'static str,
}

/// All that the show knows; those that `mooring --help` does not list are left out.
const SIDECARS: &[Sidecar] = &[
    Sidecar { name: "csi-provisioner", role: include_str!("../../../manifests/rbac/provisioner.yaml") },
    Sidecar { name: "csi-attacher", role: include_str!("../../../manifests/rbac/attacher.yaml") },
];

/// Everything that runs; gone when it is dropped.
pub(crate) struct Stage {
    // Sidecars before the driver, the driver before the control plane.
    sidecars: Vec<Process>,
    driver: Process,
    pub(crate) control_plane: ControlPlane,
    pub(crate) namespace: String,
    /// Where the driver keeps volumes.
    pub(crate) volumes: PathBuf,
}

impl Stage {
    /// Builds what is missing and starts everything, saying what it does.
    pub(crate) async fn set() -> Result<Stage> {
        tokio::task::spawn_blocking(build).await??;
        let built = |package, name| tokio::task::spawn_blocking(move || executable(package, name));
        let mooring = built("mooring", "mooring").await??;
        let driver = built("driver", "mooring-driver").await??;
        println!("starting a control plane");
        let control_plane = ControlPlane::start(Options { scheduler: true, ..Options::default() }).await?;
        let namespace = control_plane.fresh_namespace("show").await?;
        let volumes = control_plane.folder().join("volumes");
        let socket = control_plane.folder().join("csi.sock");
        println!("starting {DRIVER}");
        let mut command = Command::new(driver);
        command.arg(format!("--endpoint=unix://{}", socket.display()));
        command.arg(format!("--statedir={}", volumes.display()));
        command.args([format!("--nodeid={NODE}"), "--enable-topology=false".to_owned()]);
        let known = known_sidecars(&mooring)?;
        let attaches = known.iter().any(|sidecar| sidecar.name == "csi-attacher");
        if attaches {
            command.arg("--enable-attach=true");
        }
        let mut driver = control_plane.spawn("mooring-driver", command)?;
        let listening = wait::until("the driver's socket", Duration::from_secs(20), || {
            let state = (socket.exists(), driver.exited());
            async move {
                match state {
                    (true, _) => Some(Ok(())),
                    (false, Some(status)) => Some(Err(status)),
                    (false, None) => None,
                }
            }
        });
        if let Err(status) = listening.await? {
            bail!("the driver ended with {status}:\n{}", driver.last_lines(15));
        }
        let node = NodeDriver { name: DRIVER.to_owned(), node_id: NODE.to_owned(), ..NodeDriver::default() };
        control_plane.node(NODE, &BTreeMap::new(), &[node]).await?;
        let mut stage = Stage { sidecars: Vec::new(), driver, control_plane, namespace, volumes };
        for sidecar in known {
            println!("starting {}", sidecar.name);
            let kubeconfig =
                stage.control_plane.service_account(&stage.namespace, sidecar.name, sidecar.role).await?;
            let mut command = Command::new(&mooring);
            command.arg(sidecar.name).env_remove("KUBECONFIG");
            command.arg(format!("--csi-address={}", socket.display()));
            command.arg(format!("--kubeconfig={}", kubeconfig.display()));
            stage.sidecars.push(stage.control_plane.spawn(sidecar.name, command)?);
        }
        Ok(stage)
    }

    /// Whether the sidecar `name` is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.sidecars.iter().any(|sidecar| sidecar.name() == name)
    }

    /// Fails when something that should run does not.
    pub(crate) fn check(&mut self) -> Result<()> {
        for process in self.sidecars.iter_mut().chain([&mut self.driver]) {
            if let Some(status) = process.exited() {
                bail!("{} ended with {status}:\n{}", process.name(), process.last_lines(15));
            }
        }
        Ok(())
    }

    /// How many volumes the driver keeps on disk: folders named by a volume id, which is a UUID.
    pub(crate) fn folders(&self) -> usize {
        let is_id = |name: &str| name.len() == 36 && name.split('-').count() == 5;
        let entries = std::fs::read_dir(&self.volumes).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().is_dir() && entry.file_name().to_str().is_some_and(is_id)).count()
    }

    /// The end of every log, for when something went wrong.
    pub(crate) fn last_words(&self) -> String {
        let processes = self.sidecars.iter().chain([&self.driver]);
        let words =
            processes.map(|process| format!("---- {} ----\n{}", process.name(), process.last_lines(8)));
        words.collect::<Vec<_>>().join("\n")
    }
}

/// Builds our executables, with cargo's own progress: the first time takes minutes.
fn build() -> Result<()> {
    println!("building mooring and its driver");
    for (package, name) in [("mooring", "mooring"), ("driver", "mooring-driver")] {
        let status = cargo().args(["build", "--package", package, "--bin", name]).status()?;
        if !status.success() {
            bail!("{name} does not build (above)");
        }
    }
    Ok(())
}

/// The sidecars that this `mooring` has.
fn known_sidecars(mooring: &std::path::Path) -> Result<Vec<&'static Sidecar>> {
    let output = Command::new(mooring).arg("--help").output().context("mooring --help")?;
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(SIDECARS.iter().filter(|sidecar| help.split_whitespace().any(|word| word == sidecar.name)).collect())
}

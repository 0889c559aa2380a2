//! What the show is played with: the driver and the sidecars that this release has.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster::built::cargo;
use cluster::ceph::Ceph;
use cluster::node::NodeDriver;
use cluster::{Process, wait};

use super::ground::Ground;
use super::images;

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
    // Sidecars before the driver, the driver before the API server.
    sidecars: Vec<Process>,
    driver: Process,
    pub(crate) ground: Ground,
    pub(crate) namespace: String,
    /// Where the driver keeps volumes.
    pub(crate) volumes: PathBuf,
    /// Where it keeps them instead, as images.
    ceph: Option<Ceph>,
}

/// Our executables.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    mooring: PathBuf,
    driver: PathBuf,
    /// The simulation.
    pub(crate) simulation: PathBuf,
}

impl Programs {
    /// Builds them, with cargo's own progress: the first time takes a minute or more. All at once and always the same ones:
    /// for another set, cargo would choose other features of the same dependencies, and compile those again.
    pub(crate) fn build() -> Result<Programs> {
        let ours = [("mooring", "mooring"), ("driver", "mooring-driver"), ("sim", "mooring-sim")];
        let mut build = cargo();
        build
            .arg("build")
            .args(ours.iter().flat_map(|(package, name)| ["--package", package, "--bin", name]));
        if !build.status()?.success() {
            bail!("mooring does not build (above)");
        }
        let this = std::env::current_exe()?;
        let built = |name: &str| this.with_file_name(name);
        Ok(Programs {
            mooring: built("mooring"),
            driver: built("mooring-driver"),
            simulation: built("mooring-sim"),
        })
    }
}

impl Stage {
    /// Starts everything on `ground`, saying what it does.
    pub(crate) async fn set(ground: Ground, programs: &Programs, ceph: Option<Ceph>) -> Result<Stage> {
        let Programs { mooring, driver, .. } = programs;
        let namespace = ground.namespace().await?;
        let volumes = ground.folder().join("volumes");
        let socket = ground.folder().join("csi.sock");
        let name = if ceph.is_some() { images::DRIVER } else { DRIVER };
        println!("starting {name}");
        let mut command = Command::new(driver);
        command.arg(format!("--endpoint=unix://{}", socket.display())).arg(format!("--nodeid={NODE}"));
        let known = known_sidecars(mooring)?;
        if let Some(ceph) = &ceph {
            command.args(images::flags(ceph)?);
        } else {
            command.arg(format!("--statedir={}", volumes.display())).arg("--enable-topology=false");
            if known.iter().any(|sidecar| sidecar.name == "csi-attacher") {
                command.arg("--enable-attach=true");
            }
        }
        let mut driver = ground.spawn("mooring-driver", command)?;
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
        let node = NodeDriver { name: name.to_owned(), node_id: NODE.to_owned(), ..NodeDriver::default() };
        ground.node(NODE, node).await?;
        let mut stage = Stage { sidecars: Vec::new(), driver, ground, namespace, volumes, ceph };
        for sidecar in known {
            println!("starting {}", sidecar.name);
            let kubeconfig = stage.ground.account(&stage.namespace, sidecar.name, sidecar.role).await?;
            let mut command = Command::new(mooring);
            command.arg(sidecar.name).env_remove("KUBECONFIG");
            command.arg(format!("--csi-address={}", socket.display()));
            command.arg(format!("--kubeconfig={}", kubeconfig.display()));
            stage.sidecars.push(stage.ground.spawn(sidecar.name, command)?);
        }
        Ok(stage)
    }

    /// The driver's name.
    pub(crate) fn driver(&self) -> &'static str {
        if self.ceph.is_some() { images::DRIVER } else { DRIVER }
    }

    /// What a volume is, for the table's head.
    pub(crate) fn volumes_are(&self) -> &'static str {
        if self.ceph.is_some() { "images" } else { "folders" }
    }

    /// The class that the example claim is of.
    pub(crate) fn class(&self) -> String {
        match &self.ceph {
            Some(ceph) => images::class(ceph, &self.namespace),
            None => include_str!("../../../manifests/examples/class.yaml").to_owned(),
        }
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

    /// How many volumes the driver keeps: on disk, folders named by a volume id, which is a UUID; or images.
    pub(crate) fn kept(&self) -> Result<usize> {
        if let Some(ceph) = &self.ceph {
            return images::count(ceph);
        }
        let is_id = |name: &str| name.len() == 36 && name.split('-').count() == 5;
        let entries =
            std::fs::read_dir(self.volumes.join("drivers").join(DRIVER)).into_iter().flatten().flatten();
        let is_volume = |entry: &std::fs::DirEntry| {
            entry.path().is_dir() && entry.file_name().to_str().is_some_and(is_id)
        };
        Ok(entries.filter(is_volume).count())
    }

    /// The end of every log, for when something went wrong.
    pub(crate) fn last_words(&self) -> String {
        let processes = self.sidecars.iter().chain([&self.driver]);
        let words =
            processes.map(|process| format!("---- {} ----\n{}", process.name(), process.last_lines(8)));
        words.collect::<Vec<_>>().join("\n")
    }
}

/// The sidecars that this `mooring` has.
fn known_sidecars(mooring: &std::path::Path) -> Result<Vec<&'static Sidecar>> {
    let output = Command::new(mooring).arg("--help").output().context("mooring --help")?;
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(SIDECARS.iter().filter(|sidecar| help.split_whitespace().any(|word| word == sidecar.name)).collect())
}

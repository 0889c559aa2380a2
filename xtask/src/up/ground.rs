//! Where a show takes place: on a real control plane, or on the in-memory API server of the simulation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster::apply::documents;
use cluster::node::NodeDriver;
use cluster::{ControlPlane, Process, wait};

use kube::api::{Api, DynamicObject, GroupVersionKind, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};

use kube::discovery::Scope;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The API server and what is around it; gone when this is dropped.
pub(crate) enum Ground {
    /// etcd, kube-apiserver and kube-controller-manager.
    Kubernetes(Box<ControlPlane>),
    /// `mooring-sim`.
    Simulation(Box<Simulation>),
}

/// The in-memory API server, in a process of its own.
pub(crate) struct Simulation {
    _server: Process,
    config: kube::Config,
    folder: TempDir,
}

impl Simulation {
    /// Starts `program` and waits until it can be reached.
    pub(crate) async fn start(program: &Path) -> Result<Simulation> {
        let folder = tempfile::Builder::new().prefix("mooring-simulation-").tempdir()?;
        let mut command = Command::new(program);
        command.arg(folder.path());
        let log = folder.path().join("mooring-sim.log");
        let mut server = Process::start("mooring-sim", command, &log)?;
        let kubeconfig = folder.path().join("kubeconfig");
        let written = wait::until("the simulation's port", Duration::from_secs(20), || {
            let state = (kubeconfig.exists(), server.exited());
            async move {
                match state {
                    (true, _) => Some(Ok(())),
                    (false, Some(status)) => Some(Err(status)),
                    (false, None) => None,
                }
            }
        });
        if let Err(status) = written.await? {
            bail!("the simulation ended with {status}:\n{}", server.last_lines(15));
        }
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Simulation { _server: server, config, folder })
    }

    /// Creates `object`, in `namespace` if it is of a namespaced kind.
    async fn create(&self, object: Value, namespace: &str) -> Result<()> {
        let client = kube::Client::try_from(self.config.clone())?;
        let object: DynamicObject = serde_json::from_value(object)?;
        let types = object.types.clone().unwrap_or_default();
        let gvk = GroupVersionKind::try_from(&types)?;
        let (resource, capabilities) = kube::discovery::pinned_kind(&client, &gvk).await?;
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(client, &resource),
            Scope::Namespaced => Api::namespaced_with(client, namespace, &resource),
        };
        api.create(&PostParams::default(), &object).await.with_context(|| format!("a {}", types.kind))?;
        Ok(())
    }
}

impl Ground {
    /// A client with every right.
    pub(crate) fn client(&self) -> Result<kube::Client> {
        Ok(match self {
            Ground::Kubernetes(control_plane) => control_plane.client()?,
            Ground::Simulation(simulation) => kube::Client::try_from(simulation.config.clone())?,
        })
    }

    /// A folder that lives as long.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Ground::Kubernetes(control_plane) => control_plane.folder(),
            Ground::Simulation(simulation) => simulation.folder.path(),
        }
    }

    /// A kubeconfig with every right.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        match self {
            Ground::Kubernetes(control_plane) => control_plane.kubeconfig(),
            Ground::Simulation(simulation) => simulation.folder.path().join("kubeconfig"),
        }
    }

    /// Starts a program, with its output in `NAME.log` of the folder.
    pub(crate) fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Ok(Process::start(name, command, &self.folder().join(format!("{name}.log")))?)
    }

    /// A namespace for the show.
    pub(crate) async fn namespace(&self) -> Result<String> {
        match self {
            Ground::Kubernetes(control_plane) => Ok(control_plane.fresh_namespace("show").await?),
            Ground::Simulation(_) => Ok("default".to_owned()),
        }
    }

    /// The kubeconfig for a sidecar: its account has the rights of `role` only. The simulation grants every right.
    pub(crate) async fn account(&self, namespace: &str, name: &str, role: &str) -> Result<PathBuf> {
        match self {
            Ground::Kubernetes(control_plane) => {
                Ok(control_plane.service_account(namespace, name, role).await?)
            }
            Ground::Simulation(_) => Ok(self.kubeconfig()),
        }
    }

    /// Makes every object of `manifest`.
    pub(crate) async fn apply(&self, manifest: &str, namespace: &str) -> Result<()> {
        match self {
            Ground::Kubernetes(control_plane) => {
                control_plane.apply(manifest, namespace).await?;
            }
            Ground::Simulation(simulation) => {
                for document in documents(manifest)? {
                    simulation.create(document, namespace).await?;
                }
            }
        }
        Ok(())
    }

    /// A node where `driver` runs.
    pub(crate) async fn node(&self, name: &str, driver: NodeDriver) -> Result<()> {
        match self {
            Ground::Kubernetes(control_plane) => {
                control_plane.node(name, &BTreeMap::new(), &[driver]).await?;
            }
            Ground::Simulation(simulation) => {
                let metadata = json!({ "name": name });
                let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata });
                simulation.create(node, "").await?;
                let drivers = json!([{ "name": driver.name, "nodeID": driver.node_id, "topologyKeys": driver.topology_keys }]);
                let csi_node = json!({
                    "apiVersion": "storage.k8s.io/v1",
                    "kind": "CSINode",
                    "metadata": metadata,
                    "spec": { "drivers": drivers },
                });
                simulation.create(csi_node, "").await?;
            }
        }
        Ok(())
    }
}

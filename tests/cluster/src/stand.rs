//! A control plane with our driver and our sidecars beside it.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "it serves tests, and what it cannot do fails them"
)]

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::apply::documents;
use crate::binaries::{Binary, Progress, ensure};
use crate::built::executable;
use crate::skip::{Lack, left_out};
use crate::{ControlPlane, Options, Process, Signal, page};

/// A running sidecar.
#[derive(Debug)]
pub struct Replica {
    process: Process,
}

impl Deref for Replica {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Replica {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Everything a test needs, gone when it is dropped.
pub struct Stand {
    /// A client with every right.
    pub client: kube::Client,
    /// The namespace of the test.
    pub namespace: String,
    driver: Process,
    driver_args: Vec<String>,
    kubeconfig: PathBuf,
    /// The control plane.
    pub control_plane: ControlPlane,
    /// Last to go: the next control plane starts when this one is gone.
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

/// One control plane at a time: two of them on a small machine measure each other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The roles of a manifest, without accounts and bindings, which the control plane makes itself.
pub fn roles(manifest: &str) -> String {
    let role = |document: &serde_json::Value| {
        matches!(document.get("kind").and_then(|kind| kind.as_str()), Some("Role" | "ClusterRole"))
    };
    let roles = documents(manifest).expect("a manifest").into_iter().filter(role);
    roles.map(|role| role.to_string()).collect::<Vec<_>>().join("\n---\n")
}

impl Stand {
    /// A fresh control plane, the hostpath driver, and an account with the provisioner's sample role.
    pub async fn up(name: &str) -> Stand {
        Self::provisioning(name, &[]).await
    }

    /// The same with other flags for the driver.
    pub async fn provisioning(name: &str, driver_flags: &[&str]) -> Stand {
        let role = include_str!("../../../manifests/rbac/provisioner.yaml");
        Self::with(name, driver_flags, "csi-provisioner", role).await
    }

    /// The same with other flags for the driver and another account.
    pub async fn with(name: &str, driver_flags: &[&str], account: &str, rbac: &str) -> Stand {
        Self::on(Options::default(), name, driver_flags, account, rbac).await
    }

    /// As [`Stand::up`], with other flags for the driver, and with kube-scheduler.
    pub async fn scheduled(name: &str, driver_flags: &[&str]) -> Stand {
        let role = include_str!("../../../manifests/rbac/provisioner.yaml");
        Self::scheduled_with(name, driver_flags, "csi-provisioner", role).await
    }

    /// As [`Stand::with`], with kube-scheduler.
    pub async fn scheduled_with(name: &str, driver_flags: &[&str], account: &str, rbac: &str) -> Stand {
        let options = Options { scheduler: true, ..Options::default() };
        Self::on(options, name, driver_flags, account, rbac).await
    }

    async fn on(options: Options, name: &str, driver_flags: &[&str], account: &str, rbac: &str) -> Stand {
        let alone = ALONE.lock().await;
        let control_plane = ControlPlane::start(options).await.expect("a control plane");
        let namespace = control_plane.fresh_namespace(name).await.expect("a namespace");
        let kubeconfig =
            control_plane.service_account(&namespace, account, &roles(rbac)).await.expect("an account");
        let folder = control_plane.folder();
        let mut driver_args = vec![
            format!("--endpoint=unix://{}", folder.join("csi.sock").display()),
            format!("--statedir={}", folder.join("volumes").display()),
            "--nodeid=node-1".to_owned(),
            "--enable-topology=false".to_owned(),
        ];
        driver_args.extend(driver_flags.iter().map(|flag| (*flag).to_owned()));
        let driver = start_driver(&control_plane, &driver_args);
        let client = control_plane.client().expect("a client");
        Stand { client, namespace, driver, driver_args, kubeconfig, control_plane, _alone: alone }
    }

    /// Another driver, for the node of this name: its socket is `csi-NODE.sock` of the control plane's folder.
    pub fn driver_of(&self, node: &str, flags: &[&str]) -> Process {
        let folder = self.control_plane.folder();
        let mut args = vec![
            format!("--endpoint=unix://{}", folder.join(format!("csi-{node}.sock")).display()),
            format!("--statedir={}", folder.join(format!("volumes-{node}")).display()),
            format!("--nodeid={node}"),
        ];
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        start_driver(&self.control_plane, &args)
    }

    /// A csi-provisioner beside the driver of the node of this name ([`Stand::driver_of`]).
    pub fn provisioner_of(&self, node: &str, flags: &[&str]) -> Replica {
        let socket = self.control_plane.folder().join(format!("csi-{node}.sock"));
        let address = format!("--csi-address={}", socket.display());
        let flags: Vec<&str> = std::iter::once(address.as_str()).chain(flags.iter().copied()).collect();
        self.provisioner(node, &flags)
    }

    /// SIGSTOP and SIGCONT: calls hang meanwhile.
    pub fn signal_driver(&mut self, signal: Signal) {
        self.driver.signal(signal);
    }

    /// Kills the driver and starts it again.
    pub fn restart_driver(&mut self) {
        self.driver.kill();
        self.driver = start_driver(&self.control_plane, &self.driver_args);
    }

    /// The API server's address.
    pub fn server(&self) -> SocketAddr {
        let address = self.control_plane.server().trim_start_matches("https://");
        address.parse().expect("an address")
    }

    /// Sidecars started from now on reach the API server at `address`, through a gate or directly.
    pub fn through(&mut self, address: SocketAddr) {
        let text = std::fs::read_to_string(&self.kubeconfig).expect("a kubeconfig");
        let mut kubeconfig: serde_json::Value = serde_yaml_ng::from_str(&text).expect("a kubeconfig");
        let server = kubeconfig.pointer_mut("/clusters/0/cluster/server").expect("a server");
        *server = json!(format!("https://{address}"));
        let name = format!("kubeconfig-{}", address.port());
        self.kubeconfig = self.control_plane.folder().join(name);
        std::fs::write(&self.kubeconfig, kubeconfig.to_string()).expect("written");
    }

    /// A sidecar of `mooring` beside the driver.
    pub fn sidecar(&self, sidecar: &str, name: &str, flags: &[&str]) -> Replica {
        self.sidecar_with(sidecar, name, flags, &[])
    }

    /// The same, with these variables in its environment.
    pub fn sidecar_with(
        &self,
        sidecar: &str,
        name: &str,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Replica {
        let mut command = Command::new(executable("mooring", "mooring").expect("mooring"));
        command.arg(sidecar).envs(variables.iter().copied());
        self.start(command, sidecar, name, flags)
    }

    /// A sidecar on a host of its own name, as replicas are: the name is its identity in the lease.
    pub fn replica(&self, sidecar: &str, name: &str, flags: &[&str]) -> Replica {
        let mut command = on_host(name);
        command.arg(executable("mooring", "mooring").expect("mooring")).arg(sidecar);
        self.start(command, sidecar, name, flags)
    }

    /// The same of a Go sidecar.
    pub(crate) fn go_sidecar(&self, binary: Binary, name: &str, flags: &[&str]) -> Replica {
        let binaries = ensure(&[binary], &Progress::auto()).expect("the Go sidecar");
        let mut command = on_host(name);
        command.arg(binaries.path(binary));
        self.start(command, &format!("go-{}", binary.name()), name, flags)
    }

    fn start(&self, mut command: Command, sidecar: &str, name: &str, flags: &[&str]) -> Replica {
        let folder = self.control_plane.folder();
        command
            .arg(format!("--csi-address={}", folder.join("csi.sock").display()))
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("--leader-election-namespace={}", self.namespace))
            .arg(format!("--http-endpoint=127.0.0.1:{}", port(name)))
            .args(["--v=2"])
            .args(flags)
            // As a pod of this name would have it.
            .env("NAMESPACE", &self.namespace)
            .env("POD_NAME", name)
            .env("NODE_NAME", name)
            .env_remove("KUBECONFIG");
        let process = self.control_plane.spawn(&format!("{sidecar}-{name}"), command).expect("started");
        Replica { process }
    }

    /// A csi-provisioner.
    pub fn provisioner(&self, name: &str, flags: &[&str]) -> Replica {
        self.sidecar("csi-provisioner", name, flags)
    }

    /// The port on which a sidecar serves its pages.
    pub fn port(&self, name: &str) -> u16 {
        port(name)
    }

    /// The address of a sidecar's pages.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}", port(name))
    }

    /// A sidecar's metrics page.
    pub async fn metrics(&self, name: &str) -> String {
        self.get(name, "/metrics").await
    }

    /// A page of a sidecar, with the head of the answer.
    pub async fn get(&self, name: &str, path: &str) -> String {
        page::get(port(name), path).await.expect("answered")
    }

    /// A class of the driver.
    pub async fn class(&self, name: &str, policy: &str, binding: &str, parameters: &[(&str, &str)]) {
        let parameters: std::collections::BTreeMap<_, _> = parameters.iter().copied().collect();
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": "hostpath.csi.k8s.io", "reclaimPolicy": policy, "volumeBindingMode": binding,
            "parameters": parameters,
        });
        self.control_plane.apply_object(class, "").await.expect("a class");
    }

    /// A claim of a class; gives the namespace's claims.
    pub async fn claim(&self, name: &str, class: &str, size: &str) -> Api<PersistentVolumeClaim> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &self.namespace);
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": {"requests": {"storage": size}},
            },
        });
        let claim = serde_json::from_value(claim).expect("a claim");
        api.create(&PostParams::default(), &claim).await.expect("created");
        api
    }

    /// So many claims at once.
    pub async fn claims(&self, count: usize, class: &str) -> Api<PersistentVolumeClaim> {
        let mut tasks = tokio::task::JoinSet::new();
        let stand = std::sync::Arc::new((self.client.clone(), self.namespace.clone(), class.to_owned()));
        for first in 0..20 {
            let stand = stand.clone();
            tasks.spawn(async move {
                let api: Api<PersistentVolumeClaim> = Api::namespaced(stand.0.clone(), &stand.1);
                for number in (first..count).step_by(20) {
                    let claim = json!({
                        "metadata": {"name": format!("claim-{number}")},
                        "spec": {
                            "accessModes": ["ReadWriteOnce"], "storageClassName": stand.2,
                            "resources": {"requests": {"storage": "1Mi"}},
                        },
                    });
                    let claim = serde_json::from_value(claim).expect("a claim");
                    api.create(&PostParams::default(), &claim).await.expect("created");
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("created");
        }
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Does what the scheduler does for the first pod of a claim.
    pub async fn select_node(&self, claim: &str, node: &str) {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &self.namespace);
        let patch = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": node}}});
        api.patch(claim, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    }

    /// The folders of the driver's volumes, by name: a volume's is called as its id.
    pub fn directories(&self) -> Vec<String> {
        let folder = self.control_plane.folder().join("volumes/drivers/hostpath.csi.k8s.io");
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> =
            names.filter(|name| name.len() == 36 && name.matches('-').count() == 4).collect();
        names.sort();
        names
    }
}

/// Whether [`Stand::replica`] and the Go sidecars can be had here; if not, says that `what` is left out.
pub fn has_hosts(what: &str) -> bool {
    let has =
        on_host("probe").arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !has {
        left_out(what, Lack::Root);
    }
    has
}

/// A command that runs what it is given on a host of this name: for root, or where users may have namespaces.
fn on_host(name: &str) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        // Only root may name a host: the user becomes root of a namespace.
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--uts", "sh", "-c", &format!("hostname {name} && exec \"$@\""), "sh"]);
    command
}

fn start_driver(control_plane: &ControlPlane, args: &[String]) -> Process {
    let mut command = Command::new(executable("driver", "mooring-driver").expect("mooring-driver"));
    command.args(args);
    control_plane.spawn("driver", command).expect("started")
}

/// A port for a sidecar of this test process, the same each time it is asked for.
fn port(name: &str) -> u16 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (std::process::id(), std::thread::current().id(), name).hash(&mut hasher);
    20_000 + u16::try_from(hasher.finish() % 10_000).unwrap_or(0)
}

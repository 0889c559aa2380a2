//! The control plane, its node and our drivers in pods, started once.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cluster::binaries::{Binary, Progress, ensure};
use cluster::built::statically;
use cluster::image;
use cluster::node::{self, NodeError, RealNode};
use cluster::skip::{Lack, left_out};
use cluster::{ControlPlane, Options};

use crate::guest::Guest;

/// The repository.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The driver of `manifests/hostpath/split`.
pub(crate) const DRIVER: &str = "hostpath.csi.k8s.io";
/// The driver of `testdata/team`.
pub(crate) const TEAM_DRIVER: &str = "com.example.team.csi-driver";

/// Everything, for as long as the process lives; the guard clears it away then.
pub(crate) struct Site {
    pub(crate) control_plane: ControlPlane,
    node: RwLock<RealNode>,
    pub(crate) kubectl: PathBuf,
    pub(crate) runtime: tokio::runtime::Runtime,
    /// Static, as they are in the images.
    pub(crate) mooring: PathBuf,
    pub(crate) driver: PathBuf,
}

static SITE: OnceLock<Option<Site>> = OnceLock::new();

/// The site; `None`, said aloud, where there can be none.
fn site(what: &str) -> Option<&'static Site> {
    if let Some(lack) = node::lack() {
        left_out(what, lack);
        return None;
    }
    let site = SITE.get_or_init(Site::start).as_ref();
    if site.is_none() {
        left_out(what, Lack::Node);
    }
    site
}

/// A place on the node beside other tests.
pub(crate) fn calm(what: &str) -> Option<Guest<RwLockReadGuard<'static, RealNode>>> {
    let site = site(what)?;
    Some(Guest::new(site, site.node.read().unwrap_or_else(PoisonError::into_inner)))
}

/// The node for one test alone, which may disturb it.
pub(crate) fn alone(what: &str) -> Option<Guest<RwLockWriteGuard<'static, RealNode>>> {
    let site = site(what)?;
    Some(Guest::new(site, site.node.write().unwrap_or_else(PoisonError::into_inner)))
}

impl Site {
    /// `None` if no node starts on this machine.
    fn start() -> Option<Site> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
        let [mooring, driver] = statically::for_images().expect("static executables");
        let kubectl = ensure(&[Binary::Kubectl], &Progress::auto()).expect("kubectl");
        let kubectl = kubectl.path(Binary::Kubectl).to_owned();
        let started = runtime.block_on(async {
            let options = Options { scheduler: true, ..Options::default() };
            let control_plane = ControlPlane::start(options).await.expect("a control plane");
            let archives = ["ours.tar", "tests.tar"].map(|name| control_plane.folder().join(name));
            let [ours, tests] = &archives;
            image::ours(&[image::Build::here(&mooring, &driver).expect("a platform")])
                .expect("our images")
                .write(ours)
                .expect("written");
            image::for_tests("/bin/busybox".as_ref())
                .expect("images of tests")
                .write(tests)
                .expect("written");
            match RealNode::start(&control_plane, &archives).await {
                Ok(node) => Some((control_plane, node)),
                Err(error @ NodeError::DoesNotBoot(_)) => {
                    println!("no real node: {error}");
                    None
                }
                Err(error) => panic!("{error}"),
            }
        });
        let (control_plane, node) = started?;
        let site = Site { control_plane, node: RwLock::new(node), kubectl, runtime, mooring, driver };
        site.deploy();
        Some(site)
    }

    /// Applies our manifests, as an operator does, and waits until every pod is ready.
    fn deploy(&self) {
        let kubectl = |arguments: &[&str]| {
            let mut command = Command::new(&self.kubectl);
            command
                .arg("--kubeconfig")
                .arg(self.control_plane.kubeconfig())
                .args(arguments)
                .current_dir(ROOT);
            let output = command.output().expect("kubectl runs");
            if !output.status.success() {
                let pods = Command::new(&self.kubectl)
                    .arg("--kubeconfig")
                    .arg(self.control_plane.kubeconfig())
                    .args(["get", "pods,events", "--all-namespaces", "-o", "wide"])
                    .output();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                panic!("{arguments:?}: {}\n{}", text(&output.stderr), text(&pods.expect("kubectl").stdout));
            }
        };
        kubectl(&["create", "namespace", "team"]);
        kubectl(&["apply", "-k", "manifests/hostpath/split"]);
        kubectl(&["apply", "-k", "tests/cluster/testdata/team"]);
        kubectl(&["apply", "-f", "manifests/examples/team/fast-storage.yaml"]);
        for (namespace, workload) in [
            ("default", "daemonset/csi-hostpath-node"),
            ("default", "deployment/csi-hostpath-controller"),
            ("team", "statefulset/csi-hostpathplugin"),
        ] {
            kubectl(&["--namespace", namespace, "rollout", "status", "--timeout=120s", workload]);
        }
    }
}

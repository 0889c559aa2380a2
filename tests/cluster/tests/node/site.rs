//! The control plane and its node, started once; and a namespace for each test.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use cluster::binaries::{Binary, Progress, ensure};
use cluster::built::statically;
use cluster::image;
use cluster::node::{self, RealNode};
use cluster::skip::left_out;
use cluster::{ControlPlane, Options};

/// Everything, for as long as the process lives; the guard clears it away then.
pub struct Site {
    pub control_plane: ControlPlane,
    pub node: RwLock<RealNode>,
    pub kubectl: PathBuf,
    runtime: tokio::runtime::Runtime,
}

static SITE: OnceLock<Option<Site>> = OnceLock::new();

/// The site; `None`, said aloud, where there can be none.
pub fn site(what: &str) -> Option<&'static Site> {
    if let Some(lack) = node::lack() {
        left_out(what, lack);
        return None;
    }
    SITE.get_or_init(|| Some(Site::start())).as_ref()
}

impl Site {
    fn start() -> Site {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let [mooring, driver] = statically::for_images().expect("static executables");
        let kubectl = ensure(&[Binary::Kubectl], &Progress::auto()).expect("kubectl").path(Binary::Kubectl).to_owned();
        let (control_plane, node) = runtime.block_on(async {
            let options = Options { scheduler: true, ..Options::default() };
            let control_plane = ControlPlane::start(options).await.expect("a control plane");
            let archives = ["ours.tar", "tests.tar"].map(|name| control_plane.folder().join(name));
            let [ours, tests] = &archives;
            image::ours(&mooring, &driver).expect("our images").write(ours).expect("written");
            image::for_tests("/bin/busybox".as_ref()).expect("images of tests").write(tests).expect("written");
            let node = RealNode::start(&control_plane, &archives).await.expect("a node");
            (control_plane, node)
        });
        Site { control_plane, node: RwLock::new(node), kubectl, runtime }
    }

    /// A namespace on the node beside others.
    pub fn calm(&'static self) -> Guest<RwLockReadGuard<'static, RealNode>> {
        let node = self.node.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.guest(node)
    }

    /// The node for one test alone, which may disturb it.
    pub fn alone(&'static self) -> Guest<RwLockWriteGuard<'static, RealNode>> {
        let node = self.node.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.guest(node)
    }

    fn guest<N>(&'static self, node: N) -> Guest<N> {
        let namespace = self.runtime.block_on(self.control_plane.fresh_namespace("pods")).expect("a namespace");
        Guest { site: self, node, namespace }
    }
}

/// A test's place.
pub struct Guest<N> {
    pub site: &'static Site,
    pub node: N,
    pub namespace: String,
}

impl<N> Guest<N> {
    /// Runs kubectl in the test's namespace; its complaint is the error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl_with(arguments, "")
    }

    fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(&self.site.kubectl);
        command.arg("--kubeconfig").arg(self.site.control_plane.kubeconfig()).arg("--namespace").arg(&self.namespace);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl runs");
        let mut stdin = child.stdin.take().expect("its input");
        std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Applies a manifest.
    pub fn kubectl_apply(&self, manifest: &str) {
        self.kubectl_with(&["apply", "-f", "-"], manifest).expect("applied");
    }

    /// Waits until something holds; a test that waits in vain shows what there is.
    pub fn wait_for(&self, what: &str, limit: Duration, holds: impl Fn() -> bool) {
        let end = Instant::now() + limit;
        while !holds() {
            if Instant::now() > end {
                let state = self.kubectl(&["get", "pods,pvc,events", "-o", "wide"]).unwrap_or_else(|error| error);
                panic!("waited {} s for {what}:\n{state}", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

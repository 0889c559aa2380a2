//! One test's place on the node: a namespace, and kubectl in it.

use std::ops::{Deref, DerefMut};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cluster::node::RealNode;
use serde_json::{Value, json};

use crate::site::Site;

/// How long anything may take. The kubelet looks at a running pod's volumes every minute and a half: only then does a file
/// system in use grow.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

/// What pods of tests run: something that ends when it is told to.
pub(crate) const WAIT: &str = "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done";

/// A test's place, with the node that it shares or has alone.
pub(crate) struct Guest<N> {
    pub(crate) site: &'static Site,
    node: N,
    pub(crate) namespace: String,
}

impl<N> Deref for Guest<N> {
    type Target = N;

    fn deref(&self) -> &N {
        &self.node
    }
}

impl<N> DerefMut for Guest<N> {
    fn deref_mut(&mut self) -> &mut N {
        &mut self.node
    }
}

impl<N: Deref<Target = RealNode>> Guest<N> {
    /// How many volumes of a driver have a file of this name, on the node's disk.
    pub(crate) fn volumes_with(&self, driver: &str, file: &str) -> usize {
        let volumes = self.node.var_lib().join("csi-hostpath-data/drivers").join(driver);
        let entries = std::fs::read_dir(&volumes).expect("the driver's folder").flatten();
        entries.filter(|entry| entry.path().join(file).is_file()).count()
    }
}

impl<N> Guest<N> {
    pub(crate) fn new(site: &'static Site, node: N) -> Guest<N> {
        let namespace =
            site.runtime.block_on(site.control_plane.fresh_namespace("pods")).expect("a namespace");
        Guest { site, node, namespace }
    }

    /// Runs kubectl in the test's namespace; its complaint is the error.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl_with(arguments, "")
    }

    fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(&self.site.kubectl);
        command.arg("--kubeconfig").arg(self.site.control_plane.kubeconfig());
        if !arguments.contains(&"--namespace") {
            command.args(["--namespace", &self.namespace]);
        }
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl runs");
        let mut stdin = child.stdin.take().expect("its input");
        std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Applies a manifest.
    pub(crate) fn apply(&self, manifest: &str) {
        self.kubectl_with(&["apply", "-f", "-"], manifest).expect("applied");
    }

    /// What kubectl says of one field; empty when there is no such object or field.
    pub(crate) fn field(&self, object: &str, path: &str) -> String {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")]).unwrap_or_default()
    }

    /// Waits until something holds; a test that waits in vain shows what there is.
    pub(crate) fn wait_for(&self, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !holds() {
            if Instant::now() > end {
                let state = self
                    .kubectl(&["get", "pods,pvc,pv,volumeattachments,events"])
                    .unwrap_or_else(|error| error);
                let logs = ["kubelet", "containerd", "node-init"]
                    .map(|name| format!("---- {name}\n{}", self.site.control_plane.log(name, 12)));
                panic!("waited {} s for {what}:\n{state}\n{}", LIMIT.as_secs(), logs.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Claims a volume of a class.
    pub(crate) fn claim(&self, name: &str, class: &str, spec: Value) {
        let mut claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
            "spec": {
                "storageClassName": class, "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "64Mi" } },
            },
        });
        merge(&mut claim["spec"], spec);
        self.apply(&claim.to_string());
    }

    /// Lets a claim ask for another size.
    pub(crate) fn request(&self, claim: &str, size: &str) {
        let change = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
        self.kubectl(&["patch", "pvc", claim, "--patch", &change.to_string()]).expect("patched");
    }

    /// Creates a pod of one container with what `spec` and `container` add to it; nobody waits for it.
    pub(crate) fn pod(&self, name: &str, spec: Value, container: Value) {
        let mut main = json!({
            "name": "main", "image": cluster::image::BUSYBOX, "command": ["sh", "-c", WAIT],
        });
        merge(&mut main, container);
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": { "terminationGracePeriodSeconds": 5, "containers": [main] },
        });
        merge(&mut pod["spec"], spec);
        self.apply(&pod.to_string());
    }

    /// A running pod with a claim at `/data`.
    pub(crate) fn pod_with_claim(&self, name: &str, claim: &str) {
        self.pod(name, claimed(claim), mounted());
        self.wait_ready(name);
    }

    /// Waits until a pod is ready.
    pub(crate) fn wait_ready(&self, pod: &str) {
        let ready =
            || self.field(&format!("pod/{pod}"), ".status.conditions[?(@.type==\"Ready\")].status") == "True";
        self.wait_for(&format!("{pod} to be ready"), ready);
    }

    /// Runs a script in a pod.
    pub(crate) fn exec(&self, pod: &str, script: &str) -> Result<String, String> {
        self.kubectl(&["exec", pod, "--", "sh", "-c", script])
    }

    /// Writes a mebibyte of noise to a file of a pod; gives its checksum.
    pub(crate) fn write(&self, pod: &str, file: &str) -> String {
        let script =
            format!("dd if=/dev/urandom of={file} bs=64k count=16 2>/dev/null && sync && {}", sum(file));
        self.exec(pod, &script).expect("written")
    }

    /// Checks that a file of a pod has this checksum.
    pub(crate) fn check(&self, pod: &str, file: &str, expected: &str) {
        assert_eq!(self.exec(pod, &sum(file)).as_deref(), Ok(expected), "{file} of {pod}");
    }

    /// Deletes something and waits until it is gone.
    pub(crate) fn delete(&self, object: &str) {
        let deleted = self.kubectl(&["delete", object, "--timeout=90s"]);
        if let Err(error) = deleted {
            let state = self.kubectl(&["get", "pods,pvc,pv,volumeattachments,events"]).unwrap_or_default();
            panic!("cannot delete {object}: {error}\n{state}");
        }
    }

    /// The volume that a claim is bound to.
    pub(crate) fn volume(&self, claim: &str) -> String {
        let path = || self.field(&format!("pvc/{claim}"), ".spec.volumeName");
        self.wait_for(&format!("{claim} to be bound"), || !path().is_empty());
        path()
    }

    /// Waits until a volume and its attachment are gone.
    pub(crate) fn wait_gone(&self, volume: &str) {
        let there = || self.kubectl(&["get", "pv,volumeattachments", "--no-headers"]).unwrap_or_default();
        self.wait_for(&format!("{volume} to be gone"), || !there().contains(volume));
    }
}

/// The command that prints the checksum of a file's first mebibyte.
fn sum(file: &str) -> String {
    format!("dd if={file} bs=64k count=16 2>/dev/null | sha256sum | cut -d' ' -f1")
}

/// A pod's volume `data` that is a claim.
pub(crate) fn claimed(claim: &str) -> Value {
    json!({ "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }] })
}

/// The volume `data` at `/data`.
pub(crate) fn mounted() -> Value {
    json!({ "volumeMounts": [{ "name": "data", "mountPath": "/data" }] })
}

/// Adds the fields of `more`.
fn merge(to: &mut Value, more: Value) {
    let (Some(to), Value::Object(more)) = (to.as_object_mut(), more) else { return };
    to.extend(more);
}

//! The same on a real node, where this machine can have one: our images in containerd, our manifests, a pod that writes to its
//! volume and another one that reads it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use cluster::binaries::{Binaries, Binary};
use cluster::built::statically;
use cluster::image;
use cluster::node::RealNode;
use cluster::{ControlPlane, Options, wait};
use serde_json::json;

use crate::tool::root;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is written.
const TEXT: &str = "written by one pod, read by another";

/// A control plane with a real node; gone when it is dropped.
pub(crate) struct RealStage {
    // The node's files are in the control plane's folder.
    node: RealNode,
    control_plane: ControlPlane,
    kubectl: PathBuf,
    started: Instant,
}

impl RealStage {
    /// Starts everything, saying what it does.
    pub(crate) async fn set(binaries: Binaries) -> Result<RealStage> {
        println!(
            "\n== a real node: kubelet, containerd, our images\nbuilding static executables for the images"
        );
        let [mooring, driver] = tokio::task::spawn_blocking(statically::for_images).await??;
        let started = Instant::now();
        let kubectl = binaries.path(Binary::Kubectl).to_owned();
        let options = Options { scheduler: true, binaries, ..Options::default() };
        let control_plane = ControlPlane::start(options).await?;
        let [ours, pods] = ["ours.tar", "pods.tar"].map(|name| control_plane.folder().join(name));
        image::ours(&[image::Build::here(&mooring, &driver)?])?.write(&ours)?;
        image::for_tests(Path::new("/bin/busybox"))?.write(&pods)?;
        let node = RealNode::start(&control_plane, &[ours, pods]).await?;
        Ok(RealStage { node, control_plane, kubectl, started })
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.control_plane.kubeconfig()).args(arguments).current_dir(root());
        let output = command.output().context("kubectl cannot run")?;
        if !output.status.success() {
            bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn say(&self, what: &str) {
        println!("{:5.1} s {what}", self.started.elapsed().as_secs_f32());
    }

    /// Applies an object.
    async fn apply(&self, object: serde_json::Value) -> Result<()> {
        self.control_plane.apply_object(object, "default").await?;
        Ok(())
    }

    /// Runs `script` in a pod with the claim at /data; gives what it prints.
    async fn pod(&self, name: &str, script: &str) -> Result<String> {
        self.apply(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": {
                "restartPolicy": "Never",
                "containers": [{
                    "name": "main", "image": image::BUSYBOX, "command": ["sh", "-c", script],
                    "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                }],
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }],
            },
        }))
        .await?;
        let phase =
            || self.kubectl(&["get", "pod", name, "-o", "jsonpath={.status.phase}"]).unwrap_or_default();
        let what = format!("the pod {name} to end");
        let ended = wait::until(&what, PATIENCE, || {
            let phase = phase();
            async move { ["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase) }
        });
        let phase = ended.await?;
        let log = self.kubectl(&["logs", name])?;
        if phase == "Failed" {
            bail!("the pod {name} failed: {log}");
        }
        self.kubectl(&["delete", "pod", name])?;
        Ok(log)
    }

    /// A claim's life with pods that run.
    pub(crate) async fn play(&self) -> Result<()> {
        self.say("the node is ready");
        self.kubectl(&["apply", "-k", "manifests/hostpath/split"])?;
        for workload in ["daemonset/csi-hostpath-node", "deployment/csi-hostpath-controller"] {
            self.kubectl(&["rollout", "status", "--timeout=120s", workload])?;
        }
        self.say("driver and sidecars run in pods, from our images and manifests");
        self.apply(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
            "spec": {
                "storageClassName": "csi-hostpath-sc", "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "1Gi" } },
            },
        }))
        .await?;
        self.pod("writer", &format!("echo {TEXT} >/data/file && sync")).await?;
        self.say("a pod wrote to its volume, and is gone");
        let read = self.pod("reader", "cat /data/file").await?;
        if read != TEXT {
            bail!("the second pod read {read:?} instead of {TEXT:?}");
        }
        self.say(&format!("another pod read: {read}"));
        self.kubectl(&["delete", "pvc", "data"])?;
        let gone = wait::until("the volume to go", PATIENCE, || {
            let left = self.kubectl(&["get", "pv,volumeattachments", "-o", "name"]);
            async move { left.is_ok_and(|names| names.is_empty()).then_some(()) }
        });
        gone.await?;
        self.say("the claim is deleted, and its volume with it");
        Ok(())
    }

    /// How to go on by hand.
    pub(crate) fn invitation(&self) -> String {
        format!(
            "\nIt stays up until Ctrl-C. In another terminal:\n\n  alias k='{} --kubeconfig {}'\n  \
             k get pods,pvc,pv --all-namespaces      # pods may use the image {}\n\nVolumes: {}\nLogs:    {}",
            self.kubectl.display(),
            self.control_plane.kubeconfig().display(),
            image::BUSYBOX,
            self.node.var_lib().join("csi-hostpath-data").display(),
            self.control_plane.folder().display(),
        )
    }
}

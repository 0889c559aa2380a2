//! The configuration files of containerd, the pods' network and the kubelet.

use std::path::Path;

use serde_json::{Value, json};

use super::lack::{network_plugins, program};
use super::space::{BRIDGE, NODE_ADDRESS, POD_RANGE, group};
use crate::image::SANDBOX;

/// containerd's socket, in the node's `/run`.
pub(super) const RUNTIME_SOCKET: &str = "/run/containerd/containerd.sock";

/// The magic number of overlayfs, as statfs tells it.
const OVERLAY: u64 = 0x794c_7630;

/// containerd's configuration, version 2.
pub(super) fn containerd(folder: &Path) -> String {
    let on_overlay = rustix::fs::statfs(folder)
        .is_ok_and(|statfs| u64::try_from(statfs.f_type).is_ok_and(|kind| kind == OVERLAY));
    // An overlay cannot be written on top of another one.
    let snapshotter = if on_overlay { "native" } else { "overlayfs" };
    let runc = program("runc").unwrap_or_else(|| "runc".into());
    let plugins = network_plugins().unwrap_or(Path::new("/opt/cni/bin"));
    format!(
        r#"version = 2
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "{RUNTIME_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{SANDBOX}"
  disable_hugetlb_controller = true
  # Without CAP_SYS_RESOURCE, which a container may lack, runc may not protect its own processes and fails.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "{runc}"
"#,
        plugins = plugins.display(),
        folder = folder.display(),
        runc = runc.display(),
    )
}

/// A bridge without masquerade: pods reach each other, the node and what the node forwards, and nothing else.
pub(super) fn network() -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "mooring",
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "ipMasq": false,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                // In `/run`: a reboot frees every address.
                "dataDir": "/run/cni-addresses",
                "ranges": [[{ "subnet": POD_RANGE }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
}

/// The kubelet's configuration. Files are in the control plane's folder `folder`, and in `node` below it.
pub(super) fn kubelet(folder: &Path, node: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{RUNTIME_SOCKET}"),
        "address": NODE_ADDRESS,
        "healthzPort": 0,
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": folder.join("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        // Both kinds of groups of control, and no systemd.
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", group()),
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": false,
        "serializeImagePulls": false,
        "resolvConf": node.join("resolv.conf"),
        "volumePluginDir": node.join("volume-plugins"),
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": { "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
        // A pod waits until the node's status names its volume, which is told at this pace: 10 s for each pod otherwise.
        "nodeStatusUpdateFrequency": "1s",
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
    })
}

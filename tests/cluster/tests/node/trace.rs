//! The whole life of a driver on a node and of a volume in a pod, step by step, in its order.
//!
//! The driver and what is beside it run on the node, but in no pod, so that their logs can be read to the end.

use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cluster::Process;
use cluster::node::{NODE, RealNode};
use serde_json::{Value, json};

use crate::guest::Guest;
use crate::site::alone;

const DRIVER: &str = "trace.example.com";

/// Methods that are asked again and again, and change nothing.
const QUESTIONS: [&str; 7] = [
    "Probe",
    "GetPluginCapabilities",
    "ControllerGetCapabilities",
    "NodeGetCapabilities",
    "NodeGetVolumeStats",
    "GetPluginInfo",
    "ListVolumes",
];

/// The methods that the driver was called with so far, without the questions.
fn calls(driver: &Process) -> Vec<String> {
    let log = std::fs::read_to_string(driver.log()).expect("the driver's log");
    let methods = log.lines().filter_map(|line| {
        // In the log the line's text is quoted.
        let text = line.split_once("gRPCCall: ")?.1.replace("\\\"", "\"");
        let method = text.split_once("\"Method\":\"")?.1.split('"').next()?.to_owned();
        Some(method.rsplit('/').next()?.to_owned())
    });
    methods.filter(|method| !QUESTIONS.contains(&method.as_str())).collect()
}

/// What one field of the CSINode says about the driver.
fn csi_node<N>(guest: &Guest<N>, field: &str) -> String {
    guest.field(&format!("csinode/{NODE}"), &format!(".spec.drivers[?(@.name==\"{DRIVER}\")]{field}"))
}

/// The ids of the node by driver, as the Node has them.
fn node_ids<N>(guest: &Guest<N>) -> Value {
    let ids =
        guest.field(&format!("node/{NODE}"), ".metadata.annotations.csi\\.volume\\.kubernetes\\.io/nodeid");
    if ids.is_empty() { Value::Null } else { serde_json::from_str(&ids).expect("JSON") }
}

/// Starts a program of ours on the node.
fn on_node<N: Deref<Target = RealNode>>(
    guest: &Guest<N>,
    name: &str,
    program: &Path,
    arguments: &[&str],
) -> Process {
    let mut command = guest.command(&program.display().to_string()).expect("the node is on");
    command.args(arguments).arg("--v=5");
    guest.site.control_plane.spawn(name, command).expect("started")
}

/// Starts a sidecar that speaks to the API server, beside the node.
fn beside<N>(guest: &Guest<N>, sidecar: &str, socket: &Path, flags: &[&str]) -> Process {
    let plane = &guest.site.control_plane;
    let mut command = Command::new(&guest.site.mooring);
    command.arg(sidecar).arg(format!("--csi-address={}", socket.display()));
    command.arg(format!("--kubeconfig={}", plane.kubeconfig().display()));
    command.args(flags).env_remove("KUBECONFIG");
    plane.spawn(&format!("trace-{sidecar}"), command).expect("started")
}

/// The six steps of a driver's registration. Gives the registrar.
fn register<N: Deref<Target = RealNode>>(guest: &Guest<N>, driver: &Process) -> Process {
    assert_eq!(csi_node(guest, ".name"), "");
    // 1: the registrar asks the driver for its name; 2, 3: it serves its socket, where the kubelet asks it.
    let arguments = [
        "node",
        "--csi-address=/var/lib/kubelet/plugins/trace/csi.sock",
        "--kubelet-registration-path=/var/lib/kubelet/plugins/trace/csi.sock",
        "--plugin-registration-path=/var/lib/kubelet/plugins_registry",
        "--http-endpoint=127.0.0.1:9877",
    ];
    let registrar = on_node(guest, "trace-node", &guest.site.mooring, &arguments);
    // 6, the last: the kubelet tells the registrar. Whatever comes before it has been done now, so nothing below waits.
    guest.wait_for("the registrar to hear of it", || registrar.last_lines(100).contains("has registered"));
    let log = registrar.last_lines(1000);
    let order = [
        "CSI driver found",
        "Listening on the registration socket",
        "The kubelet asks for the driver",
        "The kubelet has registered the driver",
    ];
    let places: Vec<_> = order.iter().map(|step| log.find(step)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}\n{log}");
    // 4: the kubelet asks the driver itself. 5: it writes what the driver has answered into Node and CSINode.
    assert_eq!(calls(driver), ["NodeGetInfo"]);
    assert_eq!(node_ids(guest).get(DRIVER), Some(&json!(NODE)));
    assert_eq!(csi_node(guest, ".nodeID"), NODE);
    assert_eq!(csi_node(guest, ".topologyKeys"), r#"["topology.hostpath.csi/node"]"#);
    registrar
}

/// A volume's way into a pod, and back.
fn use_volume<N>(guest: &Guest<N>) {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": { "name": "trace" }, "provisioner": DRIVER,
    });
    guest.apply(&class.to_string());
    guest.claim("data", "trace", json!({}));
    guest.pod_with_claim("user", "data");
    let sum = guest.write("user", "/data/file");
    guest.check("user", "/data/file", &sum);
    let volume = guest.volume("data");
    guest.delete("pod/user");
    guest.wait_for("the volume to be detached", || {
        let attachments = guest.field("volumeattachments", ".items[*].spec.source.persistentVolumeName");
        !attachments.contains(&volume)
    });
    guest.delete("pvc/data");
    guest.wait_gone(&volume);
    guest.delete("storageclass/trace");
}

#[test]
fn each_step_of_registration_use_and_teardown_is_in_order() {
    let Some(guest) = alone("registration and teardown, step by step") else { return };
    guest.run("mkdir", &["-p", "/var/lib/kubelet/plugins/trace"]).expect("made");
    let (name, node) = (format!("--drivername={DRIVER}"), format!("--nodeid={NODE}"));
    let arguments = [
        name.as_str(),
        "--endpoint=unix:///var/lib/kubelet/plugins/trace/csi.sock",
        "--statedir=/var/lib/kubelet/plugins/trace/state",
        node.as_str(),
        "--enable-attach=true",
    ];
    let driver = on_node(&guest, "trace-driver", &guest.site.driver, &arguments);
    let socket = guest.var_lib().join("kubelet/plugins/trace/csi.sock");
    guest.wait_for("the driver to listen", || socket.exists());
    let mut registrar = register(&guest, &driver);
    let registration = guest.var_lib().join(format!("kubelet/plugins_registry/{DRIVER}-reg.sock"));
    assert!(registration.exists());

    let _provisioner = beside(&guest, "csi-provisioner", &socket, &["--feature-gates=Topology=false"]);
    let _attacher = beside(&guest, "csi-attacher", &socket, &[]);
    use_volume(&guest);
    let mut seen = calls(&driver);
    // The kubelet may ask for the same again while it waits for the answer to be written. Our sidecars ask once.
    seen.dedup_by(|later, earlier| later == earlier && later.starts_with("Node"));
    let expected = [
        "NodeGetInfo",
        "CreateVolume",
        "ControllerPublishVolume",
        "NodeStageVolume",
        "NodePublishVolume",
        "NodeUnpublishVolume",
        "NodeUnstageVolume",
        "ControllerUnpublishVolume",
        "DeleteVolume",
    ];
    assert_eq!(seen, expected);

    // And the way back of the registration: the socket goes, and with it the entry in the CSINode.
    guest.run("pkill", &["-TERM", "-f", "--", "127.0.0.1:9877"]).expect("told to end");
    let ended = guest.site.runtime.block_on(registrar.wait(Duration::from_secs(10)));
    assert!(ended.is_some(), "{}", registrar.last_lines(10));
    assert!(!registration.exists());
    guest.wait_for("the driver to be gone from the CSINode", || csi_node(&guest, ".name").is_empty());
    guest.wait_for("the driver to be gone from the Node", || node_ids(&guest).get(DRIVER).is_none());
}

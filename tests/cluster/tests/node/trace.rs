//! The whole life of a driver on a node and of a volume in a pod, step by step, in its order.
//!
//! The driver and what is beside it run on the node, but in no pod, so that their logs can be read to the end.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cluster::Process;
use cluster::node::NODE;
use serde_json::{Value, json};

use crate::guest::Guest;
use crate::site::alone;

const DRIVER: &str = "trace.example.com";
/// The driver's folder on the node.
const FOLDER: &str = "/var/lib/kubelet/plugins/trace";

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

fn flags(list: &[String]) -> Vec<String> {
    list.iter().map(|flag| format!("--{flag}")).chain(["--v=5".to_owned()]).collect()
}

#[test]
fn each_step_of_registration_use_and_teardown_is_in_order() {
    let Some(guest) = alone("registration and teardown, step by step") else { return };
    let plane = &guest.site.control_plane;
    guest.run("mkdir", &["-p", FOLDER]).expect("made");
    let on_node = |name: &str, program: &Path, words: &[&str], list: &[String]| {
        let mut command = guest.command(&program.display().to_string()).expect("the node is on");
        command.args(words).args(flags(list));
        plane.spawn(name, command).expect("started")
    };
    let driver = on_node(
        "trace-driver",
        &guest.site.driver,
        &[],
        &[
            format!("drivername={DRIVER}"),
            format!("endpoint=unix://{FOLDER}/csi.sock"),
            format!("statedir={FOLDER}/state"),
            format!("nodeid={NODE}"),
            "enable-attach=true".to_owned(),
        ],
    );
    let socket = guest.var_lib().join("kubelet/plugins/trace/csi.sock");
    guest.wait_for("the driver to listen", || socket.exists());
    assert_eq!(csi_node(&guest, ".name"), "");

    // 1: the registrar asks the driver for its name; 2, 3: it serves its socket, where the kubelet asks it.
    let registration = guest.var_lib().join(format!("kubelet/plugins_registry/{DRIVER}-reg.sock"));
    let mut registrar = on_node(
        "trace-node",
        &guest.site.mooring,
        &["node"],
        &[
            format!("csi-address={FOLDER}/csi.sock"),
            format!("kubelet-registration-path={FOLDER}/csi.sock"),
            "plugin-registration-path=/var/lib/kubelet/plugins_registry".to_owned(),
            "http-endpoint=127.0.0.1:9877".to_owned(),
        ],
    );
    // 5: the kubelet writes Node and CSINode; 6: and tells the registrar.
    guest.wait_for("the driver to be registered", || csi_node(&guest, ".nodeID") == NODE);
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
    // 4: the kubelet asks the driver itself.
    assert_eq!(calls(&driver), ["NodeGetInfo"]);
    let ids =
        guest.field(&format!("node/{NODE}"), ".metadata.annotations.csi\\.volume\\.kubernetes\\.io/nodeid");
    let ids: Value = serde_json::from_str(&ids).expect("JSON");
    assert_eq!(ids.get(DRIVER), Some(&json!(NODE)));
    assert_eq!(csi_node(&guest, ".topologyKeys"), r#"["topology.hostpath.csi/node"]"#);
    assert!(registration.exists());

    let admin = format!("kubeconfig={}", plane.kubeconfig().display());
    let beside = |sidecar: &str, more: &[&str]| {
        let mut command = Command::new(&guest.site.mooring);
        command.arg(sidecar).arg(format!("--csi-address={}", socket.display())).arg(format!("--{admin}"));
        plane
            .spawn(&format!("trace-{sidecar}"), {
                command.args(more).env_remove("KUBECONFIG");
                command
            })
            .expect("started")
    };
    let _provisioner = beside("csi-provisioner", &["--feature-gates=Topology=false"]);
    let _attacher = beside("csi-attacher", &[]);
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "trace" }, "provisioner": DRIVER,
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
    let mut seen = calls(&driver);
    // The kubelet may ask for the same again while it waits for the answer to be written.
    seen.dedup();
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
    guest.delete("storageclass/trace");
}

//! Pods go on while their node, or what serves their volumes, is disturbed.

use std::ops::Deref;

use cluster::node::{NODE, RealNode};
use serde_json::json;

use crate::guest::{Guest, claimed, mounted};
use crate::site::{DRIVER, TEAM_DRIVER, alone, calm};

/// A running pod with a volume, and the checksum of its file.
fn running<N>(guest: &Guest<N>) -> String {
    guest.claim("data", "csi-hostpath-sc", json!({}));
    guest.pod_with_claim("user", "data");
    guest.write("user", "/data/file")
}

/// The pod's data is there, it can write, and its volume can be taken down.
fn check_and_end<N>(guest: &Guest<N>, sum: &str) {
    guest.check("user", "/data/file", sum);
    let more = guest.write("user", "/data/more");
    guest.check("user", "/data/more", &more);
    let volume = guest.volume("data");
    guest.delete("pod/user");
    guest.delete("pvc/data");
    guest.wait_gone(&volume);
}

/// How often the containers of a pod were started again.
fn restarts<N>(guest: &Guest<N>, pod: &str) -> String {
    guest.field(pod, ".status.containerStatuses[*].restartCount")
}

/// The pod of the DaemonSet.
fn node_pod<N>(guest: &Guest<N>) -> String {
    let selector = "app.kubernetes.io/name=csi-hostpath-node";
    let arguments = ["get", "pods", "--namespace", "default", "-l", selector, "-o", "name"];
    guest.kubectl(&arguments).expect("the DaemonSet's pod")
}

/// One field of an object in the namespace of the driver's pods.
fn of_driver<N>(guest: &Guest<N>, object: &str, path: &str) -> String {
    let path = format!("jsonpath={{{path}}}");
    guest.kubectl(&["get", object, "--namespace", "default", "-o", &path]).unwrap_or_default()
}

/// Sends a signal to the node's processes with these words in their command line.
fn signal<N: Deref<Target = RealNode>>(guest: &Guest<N>, signal: &str, words: &str) {
    // Not from a shell, whose own command line has these words too.
    guest.run("pkill", &[&format!("-{signal}"), "-f", "--", words]).expect("signalled");
}

fn is_registered<N>(guest: &Guest<N>, driver: &str) -> bool {
    let path = format!(".spec.drivers[?(@.name==\"{driver}\")].nodeID");
    guest.field(&format!("csinode/{NODE}"), &path) == NODE
}

#[test]
fn a_pod_deleted_by_force_leaves_its_volume_to_the_next() {
    let Some(guest) = calm("a pod deleted by force") else { return };
    let sum = running(&guest);
    guest.kubectl(&["delete", "pod", "user", "--force", "--grace-period=0"]).expect("deleted");
    guest.pod_with_claim("user", "data");
    check_and_end(&guest, &sum);
}

#[test]
fn pods_go_on_while_the_kubelet_restarts() {
    let Some(mut guest) = alone("a kubelet that restarts") else { return };
    let sum = running(&guest);
    let of_pod =
        |guest: &Guest<_>| of_driver(guest, &node_pod(guest), ".status.containerStatuses[*].restartCount");
    let before = of_pod(&guest);
    guest.kill_kubelet().expect("killed");
    guest.start_kubelet().expect("started");
    // A new pod proves that it is back, and that the driver is registered again without a restart of its own.
    guest.claim("other", "csi-hostpath-sc", json!({}));
    guest.pod_with_claim("other", "other");
    assert_eq!(restarts(&guest, "pod/user"), "0");
    assert_eq!(of_pod(&guest), before, "neither driver nor registrar");
    check_and_end(&guest, &sum);
    guest.delete("pod/other");
}

#[test]
fn pods_go_on_while_driver_and_registrar_are_killed() {
    let Some(guest) = alone("a driver and a registrar that are killed") else { return };
    let sum = running(&guest);
    let pod = node_pod(&guest);
    let counts = || of_driver(&guest, &pod, ".status.containerStatuses[*].restartCount");
    let before = counts();
    signal(&guest, "KILL", &format!("--drivername={DRIVER}"));
    signal(&guest, "KILL", "--kubelet-registration-path=/var/lib/kubelet/plugins/csi-hostpath/");
    guest.check("user", "/data/file", &sum);
    let ready = || of_driver(&guest, &pod, ".status.containerStatuses[*].ready") == "true true";
    guest.wait_for("both to be started again", || counts() != before && ready());
    guest.wait_for("the driver to be registered", || is_registered(&guest, DRIVER));
    assert_eq!(restarts(&guest, "pod/user"), "0");
    check_and_end(&guest, &sum);
}

#[test]
fn a_hung_driver_is_restarted_and_its_volumes_survive() {
    let Some(guest) = alone("a driver that hangs") else { return };
    let sum = running(&guest);
    let pod = node_pod(&guest);
    let count = || {
        of_driver(&guest, &pod, ".status.containerStatuses[?(@.name==\"hostpath\")].restartCount")
            .parse::<u32>()
            .unwrap_or(0)
    };
    let before = count();
    signal(&guest, "STOP", &format!("--drivername={DRIVER}"));
    guest.wait_for("the liveness probe to have it restarted", || count() > before);
    let events =
        guest.kubectl(&["get", "events", "--namespace", "default", "-o", "jsonpath={.items[*].message}"]);
    let events = events.expect("events");
    assert!(events.contains("Container hostpath failed liveness probe"), "{events}");
    assert_eq!(restarts(&guest, "pod/user"), "0");
    check_and_end(&guest, &sum);
}

#[test]
fn volumes_come_back_after_a_power_cut() {
    let Some(mut guest) = alone("a node that reboots") else { return };
    let sum = running(&guest);
    guest.claim("raw", "csi-hostpath-sc", json!({ "volumeMode": "Block" }));
    let device = json!({ "volumeDevices": [{ "name": "data", "devicePath": "/dev/xvda" }] });
    guest.pod("raw", claimed("raw"), device);
    let inline = json!({ "volumes": [{ "name": "data", "csi": { "driver": DRIVER } }] });
    guest.pod("inline", inline, mounted());
    guest.wait_ready("raw");
    guest.wait_ready("inline");
    let raw = guest.write("raw", "/dev/xvda");
    let own = guest.write("inline", "/data/file");
    let runtime = &guest.site.runtime;
    runtime.block_on(guest.reboot()).expect("rebooted");
    let pods = ["user", "raw", "inline"];
    guest.wait_for("the containers to be started again", || {
        pods.iter().all(|pod| restarts(&guest, &format!("pod/{pod}")) == "1")
    });
    pods.iter().for_each(|pod| guest.wait_ready(pod));
    guest.check("raw", "/dev/xvda", &raw);
    guest.check("inline", "/data/file", &own);
    guest.wait_for("the drivers to be registered", || {
        is_registered(&guest, DRIVER) && is_registered(&guest, TEAM_DRIVER)
    });
    guest.delete("pod/raw");
    guest.delete("pvc/raw");
    check_and_end(&guest, &sum);
}

#[test]
fn two_drivers_of_a_node_leave_each_others_volumes_alone() {
    let Some(guest) = alone("two drivers side by side") else { return };
    let block = || json!({ "volumeMode": "Block" });
    let sum = running(&guest);
    guest.claim("raw", "csi-hostpath-sc", block());
    guest.claim("team", "team-sc", json!({}));
    guest.claim("team-raw", "team-sc", block());
    let claims = ["raw", "team", "team-raw"];
    let volumes = claims.map(|name| json!({ "name": name, "persistentVolumeClaim": { "claimName": name } }));
    let container = json!({
        "volumeMounts": [{ "name": "team", "mountPath": "/team" }],
        "volumeDevices": [{ "name": "raw", "devicePath": "/dev/raw" }, { "name": "team-raw", "devicePath": "/dev/team" }],
    });
    guest.pod("both", json!({ "volumes": volumes }), container);
    guest.wait_ready("both");
    let files = ["/team/file", "/dev/raw", "/dev/team"];
    let sums = files.map(|file| guest.write("both", file));
    // Each looks for what it left behind when it starts.
    for (driver, pod) in [(DRIVER, node_pod(&guest)), (TEAM_DRIVER, String::new())] {
        signal(&guest, "KILL", &format!("--drivername={driver}"));
        if pod.is_empty() {
            let arguments = [
                "wait",
                "--namespace",
                "team",
                "--for=condition=Ready=false",
                "--timeout=30s",
                "pod/csi-hostpathplugin-0",
            ];
            guest.kubectl(&arguments).expect("it was seen to end");
            let arguments = [
                "wait",
                "--namespace",
                "team",
                "--for=condition=Ready",
                "--timeout=90s",
                "pod/csi-hostpathplugin-0",
            ];
            guest.kubectl(&arguments).expect("ready again");
        } else {
            guest.wait_for("the driver to run again", || {
                of_driver(&guest, &pod, ".status.containerStatuses[*].ready") == "true true"
            });
        }
        files.iter().zip(&sums).for_each(|(file, sum)| guest.check("both", file, sum));
    }
    guest.delete("pod/both");
    for claim in claims {
        guest.delete(&format!("pvc/{claim}"));
    }
    check_and_end(&guest, &sum);
}

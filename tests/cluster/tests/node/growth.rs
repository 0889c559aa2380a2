//! Volumes that grow while pods use them, or once they do not.

use serde_json::json;

use crate::guest::{Guest, claimed, mounted};
use crate::site::calm;

const SIZE: &str = ".status.capacity.storage";

fn until_has<N>(guest: &Guest<N>, claim: &str, size: &str) {
    guest.wait_for(&format!("{claim} to have {size}"), || guest.field(&format!("pvc/{claim}"), SIZE) == size);
}

fn end<N>(guest: &Guest<N>, claim: &str) {
    let volume = guest.volume(claim);
    guest.delete("pod/user");
    guest.delete(&format!("pvc/{claim}"));
    guest.wait_gone(&volume);
}

/// The driver's file systems are folders: what is seen is the claim's way to its size, kubelet included, under a pod that
/// writes. That what a pod uses really grows is seen with devices, below.
#[test]
fn claim_grows_while_its_pod_writes() {
    let Some(guest) = calm("growth while a pod writes") else { return };
    guest.claim("data", "csi-hostpath-sc", json!({}));
    guest.pod_with_claim("user", "data");
    let sum = guest.write("user", "/data/file");
    let writer = "(i=0; while :; do i=$((i+1)); echo $i || break; sleep 0.01; done) < /dev/null > /data/log 2> /data/errors &";
    guest.exec("user", writer).expect("the writer starts");
    let lines = || guest.exec("user", "wc -l < /data/log").expect("lines").parse::<u64>().expect("a number");
    guest.wait_for("the pod to write", || lines() > 10);
    let before = lines();
    guest.request("data", "128Mi");
    until_has(&guest, "data", "128Mi");
    let during = lines();
    assert!(during > before, "it wrote meanwhile: {before}, {during}");
    guest.wait_for("the pod to go on", || lines() > during);
    guest.check("user", "/data/file", &sum);
    let whole = "awk '$1 != NR { exit 1 }' /data/log && test ! -s /data/errors";
    guest.exec("user", whole).expect("no line is missing and no write failed");
    let volume = guest.volume("data");
    assert_eq!(guest.field(&format!("pv/{volume}"), ".spec.capacity.storage"), "128Mi");
    let status = guest.kubectl(&["get", "pvc", "data", "-o", "jsonpath={.status}"]).expect("the claim");
    assert!(!status.contains("Resizing") && !status.contains("allocatedResourceStatuses"), "{status}");
    assert_eq!(guest.field("pod/user", ".status.containerStatuses[0].restartCount"), "0");
    end(&guest, "data");
}

#[test]
fn device_grows_under_its_pod() {
    let Some(guest) = calm("growth of a device in use") else { return };
    guest.claim("raw", "csi-hostpath-sc", json!({ "volumeMode": "Block" }));
    let devices = json!({ "volumeDevices": [{ "name": "data", "devicePath": "/dev/xvda" }] });
    guest.pod("user", claimed("raw"), devices);
    guest.wait_ready("user");
    let sum = guest.write("user", "/dev/xvda");
    guest.request("raw", "128Mi");
    until_has(&guest, "raw", "128Mi");
    let size = guest.exec("user", "blockdev --getsize64 /dev/xvda");
    assert_eq!(size.as_deref(), Ok((128 << 20).to_string().as_str()));
    guest.check("user", "/dev/xvda", &sum);
    end(&guest, "raw");
}

#[test]
fn offline_volume_grows_once_its_pod_has_gone() {
    let Some(guest) = calm("growth of a volume that is in use") else { return };
    guest.claim("data", "team-sc", json!({}));
    guest.pod("user", claimed("data"), mounted());
    guest.wait_ready("user");
    let sum = guest.write("user", "/data/file");
    guest.request("data", "128Mi");
    let state = || guest.field("pvc/data", ".status.allocatedResourceStatuses.storage");
    let condition =
        |kind: &str| guest.field("pvc/data", &format!(".status.conditions[?(@.type==\"{kind}\")].message"));
    guest.wait_for("the driver to refuse", || condition("ControllerResizeError").contains("published"));
    assert_eq!(
        (guest.field("pvc/data", SIZE).as_str(), state().as_str()),
        ("64Mi", "ControllerResizeInProgress")
    );
    let events = guest.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]).expect("events");
    assert!(events.contains("VolumeResizeFailed"), "{events}");
    guest.delete("pod/user");
    guest.wait_for("the volume to wait for its node", || state() == "NodeResizePending");
    guest.pod("user", claimed("data"), mounted());
    guest.wait_ready("user");
    until_has(&guest, "data", "128Mi");
    guest.check("user", "/data/file", &sum);
    end(&guest, "data");
}

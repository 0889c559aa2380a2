//! Kinds of volumes: of a StatefulSet, block, bound late, inline.

use serde_json::json;

use crate::guest::{WAIT, claimed, mounted};
use crate::site::{DRIVER, calm};

#[test]
fn each_pod_of_a_stateful_set_keeps_its_own_volume() {
    let Some(guest) = calm("a StatefulSet with a claim template") else { return };
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "web" },
        "spec": {
            "replicas": 2, "serviceName": "web", "podManagementPolicy": "Parallel",
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "terminationGracePeriodSeconds": 5, "containers": [{
                    "name": "main", "image": cluster::image::BUSYBOX, "command": ["sh", "-c", WAIT],
                    "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                }] },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": {
                    "storageClassName": "csi-hostpath-sc", "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": "64Mi" } },
                },
            }],
        },
    });
    guest.apply(&set.to_string());
    let pods = ["web-0", "web-1"];
    pods.iter().for_each(|pod| guest.wait_ready(pod));
    let sums = pods.map(|pod| guest.write(pod, "/data/file"));
    assert_ne!(sums[0], sums[1]);
    guest.kubectl(&["delete", "pod", "web-0", "web-1"]).expect("deleted");
    for (pod, sum) in pods.iter().zip(&sums) {
        guest.wait_ready(pod);
        guest.check(pod, "/data/file", sum);
    }
    guest.delete("statefulset/web");
    for claim in ["data-web-0", "data-web-1"] {
        let volume = guest.volume(claim);
        guest.wait_for("the pods to go", || guest.field("pods", ".items[*].metadata.name").is_empty());
        guest.delete(&format!("pvc/{claim}"));
        guest.wait_gone(&volume);
    }
}

#[test]
fn a_block_volume_keeps_its_bytes() {
    let Some(guest) = calm("a block volume") else { return };
    guest.claim("raw", "csi-hostpath-sc", json!({ "volumeMode": "Block" }));
    let devices = || json!({ "volumeDevices": [{ "name": "data", "devicePath": "/dev/xvda" }] });
    guest.pod("writer", claimed("raw"), devices());
    guest.wait_ready("writer");
    let sum = guest.write("writer", "/dev/xvda");
    assert_eq!(
        guest.exec("writer", "test -b /dev/xvda && blockdev --getsize64 /dev/xvda").as_deref(),
        Ok("67108864")
    );
    guest.delete("pod/writer");
    guest.pod("reader", claimed("raw"), devices());
    guest.wait_ready("reader");
    guest.check("reader", "/dev/xvda", &sum);
    let volume = guest.volume("raw");
    guest.delete("pod/reader");
    guest.delete("pvc/raw");
    guest.wait_gone(&volume);
    let loops = guest.run("losetup", &["--list", "--output", "BACK-FILE"]).expect("losetup");
    assert!(!loops.contains(&volume), "the kubelet's own device on top of ours: {loops}");
}

#[test]
fn a_late_volume_is_made_when_a_pod_needs_it() {
    let Some(guest) = calm("late binding") else { return };
    guest.claim("late", "csi-hostpath-late", json!({}));
    guest.claim("witness", "csi-hostpath-sc", json!({}));
    guest.volume("witness");
    assert_eq!(guest.field("pvc/late", ".status.phase"), "Pending");
    guest.pod_with_claim("user", "late");
    let sum = guest.write("user", "/data/file");
    guest.delete("pod/user");
    guest.pod_with_claim("user", "late");
    guest.check("user", "/data/file", &sum);
    let volumes = [guest.volume("late"), guest.volume("witness")];
    guest.delete("pod/user");
    guest.kubectl(&["delete", "pvc", "late", "witness"]).expect("deleted");
    volumes.iter().for_each(|volume| guest.wait_gone(volume));
}

#[test]
fn an_inline_volume_lives_as_long_as_its_pod() {
    let Some(guest) = calm("an inline volume") else { return };
    let inline = json!({ "volumes": [{ "name": "data", "csi": { "driver": DRIVER } }] });
    guest.pod("user", inline, mounted());
    guest.wait_ready("user");
    let sum = guest.write("user", "/data/file-of-an-inline-volume");
    guest.check("user", "/data/file-of-an-inline-volume", &sum);
    let volumes = || guest.volumes_with(DRIVER, "file-of-an-inline-volume");
    assert_eq!(volumes(), 1);
    guest.delete("pod/user");
    guest.wait_for("the volume to be deleted", || volumes() == 0);
}

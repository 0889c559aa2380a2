//! The examples of `manifests/examples/team`: class, claim and pod as an operator writes them.

use serde_json::json;

use crate::guest::{Guest, claimed, mounted};
use crate::site::{TEAM_DRIVER, calm};

const CLAIM: &str = include_str!("../../../../manifests/examples/team/claim.yaml");
const POD: &str = include_str!("../../../../manifests/examples/team/pod.yaml");
const STATIC: &str = include_str!("../../../../manifests/examples/team/static-volume.yaml");

/// The example's pod with an image that is on the node.
fn pod() -> String {
    let wait = json!(["sh", "-c", crate::guest::WAIT]);
    let image = format!("image: {}\n      command: {wait}", cluster::image::BUSYBOX);
    POD.replace("image: nginx", &image)
}

fn handle<N>(guest: &Guest<N>, volume: &str) -> String {
    guest.field(&format!("pv/{volume}"), ".spec.csi.volumeHandle")
}

#[test]
fn class_claim_and_pod_of_the_examples_work() {
    let Some(guest) = calm("the example's class, claim and pod") else { return };
    guest.apply(CLAIM);
    guest.apply(&pod());
    guest.wait_ready("my-pod");
    let file = "/var/www/html/index.html";
    let sum = guest.write("my-pod", file);
    let volume = guest.volume("my-request-for-storage");
    let pv = format!("pv/{volume}");
    assert_eq!(guest.field(&pv, ".spec.csi.volumeAttributes.type"), "pd-ssd");
    assert_eq!(guest.field(&pv, ".spec.csi.driver"), TEAM_DRIVER);
    assert_eq!(guest.field(&pv, ".spec.capacity.storage"), "5Gi");
    assert_eq!(guest.volumes_with(TEAM_DRIVER, "index.html"), 1);

    guest.delete("pod/my-pod");
    guest.apply(&pod());
    guest.wait_ready("my-pod");
    guest.check("my-pod", file, &sum);
    guest.delete("pod/my-pod");
    guest.delete("pvc/my-request-for-storage");
    guest.wait_gone(&volume);
    assert_eq!(guest.volumes_with(TEAM_DRIVER, "index.html"), 0);
}

#[test]
fn a_static_volume_is_used_and_kept() {
    let Some(guest) = calm("a static volume") else { return };
    // A volume that exists already: what is left of a claim whose volume is retained.
    guest.claim("former", "fast-storage", json!({}));
    guest.pod_with_claim("writer", "former");
    let sum = guest.write("writer", "/data/static-file");
    let volume = guest.volume("former");
    let handle = handle(&guest, &volume);
    let retain = r#"{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}"#;
    guest.kubectl(&["patch", "pv", &volume, "--patch", retain]).expect("patched");
    guest.delete("pod/writer");
    guest.delete("pvc/former");
    guest.delete(&format!("pv/{volume}"));
    assert_eq!(guest.volumes_with(TEAM_DRIVER, "static-file"), 1);

    guest.apply(&STATIC.replace("existingVolumeName", &handle));
    let by_name = json!({ "volumeName": "my-manually-created-pv" });
    guest.claim("static", "", by_name);
    guest.pod("reader", claimed("static"), mounted());
    guest.wait_ready("reader");
    guest.check("reader", "/data/static-file", &sum);
    guest.delete("pod/reader");
    guest.delete("pvc/static");
    guest.wait_for("the volume to be released", || {
        guest.field("pv/my-manually-created-pv", ".status.phase") == "Released"
    });
    guest.delete("pv/my-manually-created-pv");
    guest.wait_gone("my-manually-created-pv");
    assert_eq!(guest.volumes_with(TEAM_DRIVER, "static-file"), 1, "a static volume is nobody's to delete");
}

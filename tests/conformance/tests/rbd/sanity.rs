//! csi-sanity: every spec about the services that there are runs, and none fails.

use std::process::Command;

use cluster::binaries::{Binary, Progress, ensure};
use cluster::ceph::{POOL, USER};
use conformance::in_own_mounts;

use crate::stand::Stand;

/// Specs in all that pass, counted so that a release that runs less is noticed.
const MIN_PASSED: usize = 40;
/// Every kind of secret that csi-sanity sends.
const SECRETS: [&str; 9] = [
    "CreateVolumeSecret",
    "DeleteVolumeSecret",
    "ControllerValidateVolumeCapabilitiesSecret",
    "ControllerExpandVolumeSecret",
    "CreateSnapshotSecret",
    "DeleteSnapshotSecret",
    "NodeStageVolumeSecret",
    "NodePublishVolumeSecret",
    "NodeExpandVolumeSecret",
];

in_own_mounts!(csi_sanity_passes_for_mount_and_block_volumes, both());

#[tokio::main]
async fn both() {
    for access in ["mount", "block"] {
        sanity(&format!("sanity-{access}"), access).await;
    }
}

async fn sanity(name: &str, access: &str) {
    // The test's Ceph has no manager daemon, which alone counts what is left.
    let Some(stand) = Stand::start_with_mounts(name, &["--hidden-capabilities=GET_CAPACITY"]).await else {
        return;
    };
    let binaries = ensure(&[Binary::CsiSanity], &Progress::auto()).unwrap();
    let path = |name: &str| stand.folder.path().join(name).display().to_string();
    let secrets = stand.secrets();
    let secret = |kind: &&str| format!("{kind}:\n  userID: {USER}\n  userKey: \"{}\"\n", secrets["userKey"]);
    std::fs::write(path("secrets.yaml"), SECRETS.iter().map(secret).collect::<String>()).unwrap();
    std::fs::write(path("class.yaml"), format!("clusterID: {name}\npool: {POOL}\n")).unwrap();
    let output = Command::new(binaries.path(Binary::CsiSanity))
        .arg(format!("--csi.endpoint={}", path("csi.sock")))
        .arg(format!("--csi.mountdir={}", path("mount")))
        .arg(format!("--csi.stagingdir={}", path("stage")))
        .arg(format!("--csi.secrets={}", path("secrets.yaml")))
        .arg(format!("--csi.testvolumeparameters={}", path("class.yaml")))
        .arg(format!("--csi.testvolumeaccesstype={access}"))
        .args(["--ginkgo.v", "--ginkgo.no-color"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let why = |what: &str| format!("{what}\n{text}\n{}", stand.driver.last_lines());
    let summary = text.lines().rev().find(|line| line.contains(" Passed")).unwrap_or_default();
    let passed: usize = summary
        .split(" Passed")
        .next()
        .and_then(|before| before.split_whitespace().last()?.parse().ok())
        .unwrap_or_default();
    assert!(output.status.success() && summary.contains(" 0 Failed"), "{}", why("csi-sanity failed"));
    assert!(passed >= MIN_PASSED, "{}", why(summary));
    eprintln!("csi-sanity {access} on images: {summary}");
    stand.assert_nothing_mounted();
    stand.assert_empty();
    assert_eq!(stand.driver.stop().await, Some(0));
}

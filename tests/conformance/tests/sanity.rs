//! csi-sanity: no failure, and every skip is one we know the reason of.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::process::Command;

use cluster::binaries::{Binary, Progress, ensure};
use conformance::{Running, in_own_mounts};

/// What this release of csi-sanity may skip: capabilities of a specification after 1.12.
const KNOWN_SKIPS: [&str; 5] = [
    "ControllerListVolumeHealth not supported",
    "ControllerGetVolumeHealth not supported",
    "NodeGetVolumeHealth not supported",
    "NodeGetStorageHealth not supported",
    "SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported",
];
/// Specs in all, counted so that a release that runs less is noticed.
const MIN_PASSED: usize = 95;

in_own_mounts!(csi_sanity_passes_for_mount_volumes, sanity("mount", &[]));

in_own_mounts!(csi_sanity_passes_for_block_volumes, sanity("block", &[]));

in_own_mounts!(
    csi_sanity_passes_for_the_lenient_driver,
    sanity("mount", &["--check-volume-lifecycle=false"])
);

#[tokio::main]
async fn sanity(access: &str, args: &[&str]) {
    let binaries = ensure(&[Binary::CsiSanity], &Progress::auto()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("mutable.yaml"), "iops: \"5\"\n").unwrap();
    let all = [
        "--enable-attach",
        "--sparse",
        "--attach-limit=8",
        "--enable-controller-modify-volume",
        "--accepted-mutable-parameter-names=iops",
        "--enable-snapshot-metadata",
        "--check-volume-lifecycle",
    ];
    let driver = Running::start(folder.path(), &[&all, args].concat()).await;
    let output = Command::new(binaries.path(Binary::CsiSanity))
        .arg(format!("--csi.endpoint={}", path("csi.sock")))
        .arg(format!("--csi.mountdir={}", path("mount")))
        .arg(format!("--csi.stagingdir={}", path("stage")))
        .arg(format!("--csi.testvolumemutableparameters={}", path("mutable.yaml")))
        .arg(format!("--csi.testvolumeaccesstype={access}"))
        .args(["--csi.testnodevolumeattachlimit", "--ginkgo.v", "--ginkgo.no-color"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let why = |what: &str| format!("{what}\n{text}\n{}", driver.last_lines());
    assert!(output.status.success(), "{}", why("csi-sanity failed"));
    let summary = text.lines().rev().find(|line| line.contains(" Passed")).unwrap_or_default();
    let passed: usize = summary
        .split(" Passed")
        .next()
        .and_then(|before| before.split_whitespace().last()?.parse().ok())
        .unwrap_or_default();
    assert!(passed >= MIN_PASSED && summary.contains(" 0 Failed"), "{}", why(summary));
    let reasons = text.lines().filter_map(|line| line.trim().strip_prefix("[SKIPPED] "));
    let unknown: Vec<_> =
        reasons.filter(|reason| !reason.starts_with("in [") && !KNOWN_SKIPS.contains(reason)).collect();
    assert!(unknown.is_empty(), "{}", why(&format!("skips nobody explained: {unknown:?}")));
    eprintln!("csi-sanity {access}: {summary}");
    assert_eq!(driver.stop().await, Some(0));
    assert_eq!(conformance::mounts_below(folder.path()), [""; 0].map(std::path::PathBuf::from));
    assert_eq!(conformance::loop_devices_below(folder.path()).len(), 0);
}

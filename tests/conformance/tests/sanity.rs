//! csi-sanity: every spec runs, and none fails but the one whose own mistake makes it fail.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::process::Command;

use cluster::binaries::{Binary, Progress, ensure};
use conformance::{Running, in_own_mounts};

/// The one spec of csi-test 5.6.0 that no driver passes that answers accessible_topology. It compares Go structs, not
/// messages: the topology that it sent has a `sizeCache`, the one that it received has none yet.
const MISTAKEN: &str = "CreateSnapshot [Controller Server] [It] should succeed when creating a snapshot with accessibility requirements";
/// Specs in all, counted so that a release that runs less is noticed. One more is pending, and one is mistaken.
const MIN_PASSED: usize = 101;

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
    let failed: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("[FAIL] ")).collect();
    let is_mistaken = |failed: &&str| *failed == MISTAKEN && is_same_topology(&text);
    assert!(failed.iter().all(is_mistaken), "{}", why("csi-sanity failed"));
    let summary = text.lines().rev().find(|line| line.contains(" Passed")).unwrap_or_default();
    let passed: usize = summary
        .split(" Passed")
        .next()
        .and_then(|before| before.split_whitespace().last()?.parse().ok())
        .unwrap_or_default();
    assert_eq!(output.status.success(), failed.is_empty(), "{}", why("csi-sanity broke down"));
    let counted = format!(" {} Failed", usize::from(!failed.is_empty()));
    assert!(passed >= MIN_PASSED && summary.contains(&counted), "{}", why(summary));
    assert!(summary.ends_with(" 0 Skipped"), "{}", why(summary));
    eprintln!("csi-sanity {access}: {summary}");
    assert_eq!(driver.stop().await, Some(0));
    assert_eq!(conformance::mounts_below(folder.path()), [""; 0].map(std::path::PathBuf::from));
    assert_eq!(conformance::loop_devices_below(folder.path()).len(), 0);
}

/// Whether the two topologies that the mistaken spec shows are the same message.
fn is_same_topology(text: &str) -> bool {
    let shown = |from: &str, to: &str| -> Vec<&str> {
        let lines = text.lines().map(str::trim).skip_while(|line| *line != from).skip(1);
        let fields = lines.take_while(|line| !line.starts_with(to));
        // Where it is in memory, and how long its encoding was.
        fields.filter(|line| !line.starts_with("<*csi.Topology") && !line.starts_with("sizeCache")).collect()
    };
    let (received, sent) = (shown("[FAILED] Expected", "to equal"), shown("to equal", "In [It]"));
    received == sent && received.iter().any(|line| line.starts_with("Segments"))
}

//! A Ceph for tests is there in seconds, does what a CSI driver needs, and leaves nothing behind.

use std::time::Instant;

use cluster::ceph::{self, Ceph, KEYRING, POOL, USER};
use cluster::skip;

#[tokio::test(flavor = "multi_thread")]
async fn ceph_starts_in_seconds_and_serves_images() {
    if let Some(lack) = ceph::lack() {
        return skip::left_out("a Ceph that starts and serves images", lack);
    }
    let begun = Instant::now();
    let ceph = Ceph::start().await.unwrap_or_else(|error| panic!("{error}"));
    let took = begun.elapsed();
    let as_driver = |arguments: &[&str]| {
        let mut rbd = std::process::Command::new("rbd");
        let key = ceph.folder().join("driver.key");
        std::fs::write(&key, ceph.key()).expect("written");
        // As a driver runs it: no file of the cluster is known.
        rbd.args(["-c", "/dev/null", "--id", USER, "-m", &ceph.monitor(), "--keyfile"]).arg(key);
        let output = rbd.args(arguments).output().expect("run");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let image = |name: &str| format!("{POOL}/{name}");
    as_driver(&["create", "--size", "16M", &image("one")]);
    as_driver(&["snap", "create", &image("one@then")]);
    as_driver(&["clone", "--rbd-default-clone-format", "2", &image("one@then"), &image("two")]);
    assert_eq!(as_driver(&["ls", POOL]), "one\ntwo\n");
    let folder = ceph.folder().to_owned();
    assert!(folder.join(KEYRING).exists());
    drop(ceph);
    assert!(!folder.exists(), "{} is left", folder.display());
    eprintln!("a Ceph started in {took:?}");
}

//! Ceph does not answer: calls end in time, with a code after which the caller neither gives up nor forgets.

use std::time::{Duration, Instant};

use cluster::ceph::{self, Ceph};
use csi::v1;
use tonic::{Code, Status};

use crate::stand::{Stand, until_done};

const MIB: i64 = 1 << 20;
/// The longest that one request to Ceph may take.
const TIMEOUT: &str = "--ceph-timeout=1s";
/// A call may make a request and give up at once; connecting and closing take their time too.
const LIMIT: Duration = Duration::from_secs(6);
/// How soon after an outage a call must succeed.
const BACK: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn calls_end_in_time_while_ceph_does_not_answer() {
    if let Some(lack) = ceph::lack() {
        return cluster::skip::left_out("an outage of Ceph", lack);
    }
    // One of its own, for the others' tests go on. It ends with this process.
    let ceph: &'static Ceph =
        Box::leak(Box::new(Ceph::start().await.unwrap_or_else(|error| panic!("{error}"))));
    let mut stand = Stand::on(ceph, "outage", &[TIMEOUT]).await;
    let first = stand.created(stand.create("first", 16 * MIB)).await;
    let cut = stand.snapshot("cut", &first.volume_id).await.unwrap();

    ceph.pause_osd();
    unavailable("create", stand.call(stand.create("second", 16 * MIB))).await;
    // The one before holds its name no longer.
    unavailable("create again", stand.call(stand.create("second", 16 * MIB))).await;
    unavailable("delete", stand.delete(&first.volume_id)).await;
    unavailable("expand", stand.expand(&first.volume_id, 32 * MIB)).await;
    unavailable("snapshot", stand.snapshot("other", &first.volume_id)).await;
    unavailable("delete of a snapshot", stand.delete_snapshot(&cut.snapshot_id)).await;
    unavailable("list", stand.call(v1::ListVolumesRequest::default())).await;
    let begun = Instant::now();
    stand.call(v1::ProbeRequest {}).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "Probe waits for nobody");
    ceph.resume_osd();
    let second =
        until_done(BACK, async || stand.call(stand.create("second", 16 * MIB)).await).await.volume.unwrap();

    ceph.pause_monitor();
    // What is connected needs no monitor.
    let third = stand.created(stand.create("third", 16 * MIB)).await;
    stand.restart(&[TIMEOUT]).await;
    unavailable("create", stand.call(stand.create("fourth", 16 * MIB))).await;
    unavailable("create again", stand.call(stand.create("fourth", 16 * MIB))).await;
    ceph.resume_monitor();
    until_done(BACK, async || stand.call(v1::ListVolumesRequest::default()).await).await;

    // Shut out by the cluster, as whoever is thought dead is: the driver comes back as another client.
    shut_out(&stand);
    until_done(BACK, async || stand.expand(&first.volume_id, 32 * MIB).await).await;
    shut_out(&stand);
    until_done(BACK, async || stand.delete(&first.volume_id).await).await;
    for volume in [first, second, third] {
        until_done(BACK, async || stand.delete(&volume.volume_id).await).await;
    }
    until_done(BACK, async || stand.delete_snapshot(&cut.snapshot_id).await).await;
    stand.assert_empty();
}

async fn unavailable<T>(what: &str, call: impl Future<Output = Result<T, Status>>) {
    let begun = Instant::now();
    let Err(status) = call.await else { panic!("{what} succeeded during an outage") };
    assert_eq!(status.code(), Code::Unavailable, "{what}: {status}");
    assert!(begun.elapsed() < LIMIT, "{what} took {:?}", begun.elapsed());
}

/// Puts every client that this driver has been on the cluster's block list.
fn shut_out(stand: &Stand) {
    let log = std::fs::read_to_string(stand.folder.path().join("driver.log")).unwrap();
    let connected = log.lines().filter(|line| line.contains("\"Connected to Ceph\""));
    let addresses: Vec<&str> = connected.map(|line| line.split("address=\"").nth(1).unwrap()).collect();
    assert!(!addresses.is_empty(), "the driver does not say what its address is");
    for address in addresses {
        // It says on its standard error that it did so.
        stand.ceph.run("ceph", &["osd", "blocklist", "add", address.trim_end_matches('"')]).unwrap();
    }
}

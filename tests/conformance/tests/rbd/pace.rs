//! How fast the driver is beside the `rbd` command on the same Ceph: the figures of BENCHMARKS.md.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::ceph::POOL;
use conformance::request;
use csi::v1;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::stand::Stand;

const MIB: i64 = 1 << 20;
/// Of each operation, one after the other.
const EACH: usize = 50;
/// Of volumes at once, and how many calls are under way.
const MANY: usize = 200;
const IN_FLIGHT: usize = 16;

#[ignore = "a benchmark: run it with --ignored pace --nocapture"]
#[tokio::test(flavor = "multi_thread")]
async fn driver_beside_the_rbd_command() {
    let Some(stand) = Stand::start("pace", &[]).await else { return };
    let idle = resident(stand.driver.id());
    let source = stand.created(stand.create("source", 16 * MIB)).await;
    let connected = resident(stand.driver.id());
    let (mut create, mut snapshot, mut clone, mut delete) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..EACH {
        let begun = Instant::now();
        let made = stand.created(stand.create(&format!("one-{number}"), 16 * MIB)).await;
        create.push(begun.elapsed());
        let begun = Instant::now();
        let cut = stand.snapshot(&format!("cut-{number}"), &source.volume_id).await.unwrap();
        snapshot.push(begun.elapsed());
        let wanted = v1::CreateVolumeRequest {
            volume_content_source: request::restore_of(&cut.snapshot_id),
            ..stand.create(&format!("clone-{number}"), 16 * MIB)
        };
        let begun = Instant::now();
        let restored = stand.created(wanted).await;
        clone.push(begun.elapsed());
        let begun = Instant::now();
        stand.delete(&made.volume_id).await.unwrap();
        delete.push(begun.elapsed());
        stand.delete(&restored.volume_id).await.unwrap();
        stand.delete_snapshot(&cut.snapshot_id).await.unwrap();
    }
    for (what, times) in [("create", create), ("snapshot", snapshot), ("clone", clone), ("delete", delete)] {
        say(&format!("driver {what}"), times);
    }
    command(&stand, &source.volume_context["imageName"]);
    many(&stand, [idle, connected]).await;
    stand.delete(&source.volume_id).await.unwrap();
    stand.assert_empty();
}

/// The same by the command. Its snapshot and its clone are one step each; the driver's are three and one, and each has a journal.
fn command(stand: &Stand, source: &str) {
    let (mut create, mut snapshot, mut clone, mut delete) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..EACH {
        let timed = |times: &mut Vec<Duration>, arguments: &[&str]| {
            let begun = Instant::now();
            stand.rbd(arguments);
            times.push(begun.elapsed());
        };
        timed(&mut create, &["create", "--size", "16M", "one"]);
        let cut = format!("{source}@cut");
        timed(&mut snapshot, &["snap", "create", "--no-progress", &cut]);
        // Of two images `--namespace` is the first one's.
        let to = format!("{POOL}/{}/clone", stand.namespace);
        timed(&mut clone, &["clone", "--rbd-default-clone-format", "2", &cut, &to]);
        timed(&mut delete, &["rm", "--no-progress", "one"]);
        stand.rbd(&["rm", "--no-progress", "clone"]);
        stand.rbd(&["snap", "rm", "--no-progress", &cut]);
    }
    for (what, times) in [("create", create), ("snapshot", snapshot), ("clone", clone), ("delete", delete)] {
        say(&format!("rbd command {what}"), times);
    }
}

/// Many volumes at once, and what the driver holds in memory.
async fn many(stand: &Stand, [idle, connected]: [u64; 2]) {
    let limit = Arc::new(Semaphore::new(IN_FLIGHT));
    let (begun, mut calls) = (Instant::now(), JoinSet::new());
    for number in 0..MANY {
        let (client, wanted) =
            (stand.driver.client().clone(), stand.create(&format!("many-{number}"), 16 * MIB));
        let limit = Arc::clone(&limit);
        calls.spawn(async move {
            let _turn = limit.acquire_owned().await.unwrap();
            let begun = Instant::now();
            let reply = client.call(wanted, crate::stand::DEADLINE).await.unwrap();
            (begun.elapsed(), reply.volume.unwrap().volume_id)
        });
    }
    let (times, ids): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().unzip();
    let took = begun.elapsed();
    say(&format!("driver create, {IN_FLIGHT} in flight"), times);
    let full = resident(stand.driver.id());
    eprintln!(
        "{MANY} volumes in {took:.2?}; resident KiB: {idle} idle, {connected} connected, {full} after them"
    );
    for id in ids {
        stand.delete(&id).await.unwrap();
    }
}

fn say(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    eprintln!("{what}: p50 {:.1?}, p99 {:.1?}", at(50), at(99));
}

/// Resident memory in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

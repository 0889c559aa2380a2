//! How fast, and how small with many volumes. Prints what it measures; the limits are far below what an
//! idle machine does, so that they fail for a wrong design and not for a busy machine.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::csi::v1;
use conformance::{Running, request};

const DEADLINE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 100;
const VOLUMES: usize = 10_000;
/// The default size of csi-sanity: many of these must not fill the disk.
const SIZE: i64 = 10 << 30;

#[tokio::test]
async fn ten_thousand_volumes_are_made_fast_kept_small_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let driver = Running::start(folder.path(), &[]).await;
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (client, next) = (driver.new_client().await, next.clone());
        clients.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= VOLUMES {
                    return;
                }
                let create = request::create(&format!("pvc-{number}"), number % 2 == 0, SIZE);
                client.call(create, DEADLINE).await.unwrap();
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let rate = VOLUMES as f64 / started.elapsed().as_secs_f64();
    let memory = resident_kib(driver.id());
    eprintln!("{VOLUMES} volumes by {CLIENTS} clients: {rate:.0} a second, then {memory} KiB resident");
    assert!(rate > 300.0, "{rate:.0} volumes a second");
    assert!(memory < 100 * 1024, "{memory} KiB resident");
    assert!(used(folder.path()) < 200 << 20, "devices are sparse: {} bytes used", used(folder.path()));
    driver.kill().await;

    let started = Instant::now();
    let driver = Running::start(folder.path(), &[]).await;
    eprintln!("started again in {:?} with {} KiB resident", started.elapsed(), resident_kib(driver.id()));
    let mut found = 0;
    let mut token = String::new();
    loop {
        let list = v1::ListVolumesRequest { max_entries: 3_000, starting_token: token };
        let reply = driver.client().call(list, DEADLINE).await.unwrap();
        found += reply.entries.len();
        token = reply.next_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(found, VOLUMES);
    let whole = driver.client().call(v1::ListVolumesRequest::default(), DEADLINE).await.unwrap();
    assert!(!whole.entries.is_empty(), "a page fits into a message whatever is asked for");
    assert_eq!(driver.stop().await, Some(0));
}

/// Resident memory of a process, in KiB.
fn resident_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Bytes that the files directly in the state folder take on the disk.
fn used(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder.join("state")).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}

//! How fast, and how small with many volumes. Prints what it measures; the limits are far below what an
//! idle machine does, so that they fail for a wrong design and not for a busy machine.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use conformance::{Running, in_own_mounts, request};
use csi::{Client, v1};
use tonic::Status;

const DEADLINE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 100;
const VOLUMES: usize = 10_000;
/// The default size of csi-sanity: many of these must not fill the disk.
const SIZE: i64 = 10 << 30;

#[tokio::test]
async fn ten_thousand_volumes_are_made_fast_and_kept_small() {
    let folder = tempfile::tempdir().unwrap();
    let driver = Running::start(folder.path(), &["--sparse"]).await;
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
    let driver = Running::start(folder.path(), &["--sparse"]).await;
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
    let entries = std::fs::read_dir(Running::state(folder)).unwrap();
    entries.map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}

/// How many of each operation the second test does, and from how many clients.
const OPERATIONS: usize = 400;
const WORKERS: usize = 16;

in_own_mounts!(each_operation_has_its_pace, operations());

#[tokio::main]
async fn operations() {
    let folder = tempfile::tempdir().unwrap();
    let targets = folder.path().join("targets");
    std::fs::create_dir(&targets).unwrap();
    let driver = Running::start(folder.path(), &["--sparse"]).await;
    let is_block = |number: usize| number.is_multiple_of(2);
    let name = |number: usize| format!("volume-{number}");
    let ids = all(&driver, "create", move |client, number| async move {
        let reply = client.call(request::create(&name(number), is_block(number), SIZE), DEADLINE).await?;
        Ok(reply.volume.unwrap().volume_id)
    })
    .await;
    let volumes = Arc::new(ids);
    let snapshots = {
        let of = move_of(&volumes);
        all(&driver, "snapshot", move |client, number| {
            let request = request::snapshot(&format!("snapshot-{number}"), &of(number));
            async move { Ok(client.call(request, DEADLINE).await?.snapshot.unwrap().snapshot_id) }
        })
        .await
    };
    assert_eq!(snapshots.len(), OPERATIONS);
    let clones = {
        let of = move_of(&volumes);
        all(&driver, "clone", move |client, number| {
            let mut request = request::create(&format!("clone-{number}"), is_block(number), SIZE);
            request.volume_content_source = request::clone_of(&of(number));
            async move { Ok(client.call(request, DEADLINE).await?.volume.unwrap().volume_id) }
        })
        .await
    };
    assert_eq!(clones.len(), OPERATIONS);
    // Folders only: the number of loop devices is the kernel's.
    let target = move |number: usize| targets.join(number.to_string()).to_str().unwrap().to_owned();
    for (what, undo) in [("publish", false), ("unpublish", true)] {
        let (of, target) = (move_of(&volumes), target.clone());
        all(&driver, what, move |client, number| {
            let (id, target) = (of(number | 1), target(number));
            async move {
                settled(|| async {
                    if undo {
                        client.call(request::unpublish(&id, &target), DEADLINE).await.map(drop)
                    } else {
                        client.call(request::publish(&id, &target, false), DEADLINE).await.map(drop)
                    }
                })
                .await
            }
        })
        .await;
    }
    let of = move_of(&volumes);
    all(&driver, "delete", move |client, number| {
        let request = request::delete(&of(number));
        async move { client.call(request, DEADLINE).await.map(|_| String::new()) }
    })
    .await;
    assert_eq!(driver.stop().await, Some(0));
}

/// Two clients may want the same volume at once: then one of them is told to come again.
async fn settled<R: Future<Output = Result<(), Status>>>(call: impl Fn() -> R) -> Result<String, Status> {
    loop {
        match call().await {
            Err(status) if status.code() == tonic::Code::Aborted => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            outcome => return outcome.map(|()| String::new()),
        }
    }
}

fn move_of(ids: &Arc<Vec<String>>) -> impl Fn(usize) -> String + Clone + Send + 'static {
    let ids = ids.clone();
    move |number| ids[number].clone()
}

/// Runs one operation for every number, from several clients at once; prints the rate, returns the ids.
async fn all<F, R>(driver: &Running, what: &str, operation: F) -> Vec<String>
where
    F: Fn(Client, usize) -> R + Clone + Send + 'static,
    R: Future<Output = Result<String, Status>> + Send,
{
    let started = Instant::now();
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (client, operation) = (driver.client().clone(), operation.clone());
        workers.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            for number in (worker..OPERATIONS).step_by(WORKERS) {
                ids.push((number, operation(client.clone(), number).await.unwrap()));
            }
            ids
        }));
    }
    let mut ids = Vec::new();
    for worker in workers {
        ids.extend(worker.await.unwrap());
    }
    ids.sort();
    let rate = OPERATIONS as f64 / started.elapsed().as_secs_f64();
    eprintln!("{what}: {rate:.0} a second");
    assert!(rate > 20.0, "{what}: {rate:.0} a second");
    ids.into_iter().map(|(_, id)| id).collect()
}

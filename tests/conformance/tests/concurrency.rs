//! 64 clients at random on 32 volumes: no inconsistent answer, no deadlock.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use conformance::request::{self, MIB};
use conformance::{Dice, Running, in_own_mounts, loop_devices_below, mounts_below};
use csi::{Client, v1};
use tonic::{Code, Status};

const CLIENTS: usize = 64;
const VOLUMES: u64 = 32;
/// Volumes below this are never deleted, so their ids must never change.
const LASTING: u64 = 16;
const STEPS: usize = 120;
const DEADLINE: Duration = Duration::from_secs(60);

in_own_mounts!(sixty_four_clients_never_see_an_inconsistent_answer, crowd());

#[derive(Default)]
struct Seen {
    ids: Mutex<BTreeMap<u64, String>>,
    times: Mutex<Vec<Duration>>,
    /// How often each kind of work was done to its end.
    done: Mutex<BTreeMap<&'static str, usize>>,
}

impl Seen {
    fn note(&self, what: &'static str) {
        *self.done.lock().unwrap().entry(what).or_default() += 1;
    }
}

#[tokio::main(worker_threads = 2)]
async fn crowd() {
    let folder = tempfile::tempdir().unwrap();
    let targets = folder.path().join("targets");
    std::fs::create_dir(&targets).unwrap();
    let driver = Running::start(folder.path(), &[]).await;
    let seen = Arc::new(Seen::default());
    let mut dice = Dice::from_environment("sixty_four_clients_never_see_an_inconsistent_answer");
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (client, seen, dice) = (driver.new_client().await, seen.clone(), dice.fork());
        let target = targets.join(number.to_string());
        clients.push(tokio::spawn(one(client, seen, dice, target)));
    }
    let all = async {
        for client in clients {
            client.await.unwrap();
        }
    };
    // A deadlock would show as a passed deadline in a client, a livelock here.
    tokio::time::timeout(Duration::from_secs(170), all).await.expect("clients did not come to an end");
    report(&seen);
    quiet(driver.client(), &seen).await;
    let left = std::fs::read_dir(Running::state(folder.path())).unwrap().count();
    assert_eq!(left, [".new", ".old", "state.journal"].len(), "no content without a volume");
    assert!(mounts_below(folder.path()).is_empty() && loop_devices_below(folder.path()).is_empty());
    assert_eq!(driver.stop().await, Some(0));
}

/// One client's life: it creates, uses and deletes volumes by name, and undoes its publications.
async fn one(client: Client, seen: Arc<Seen>, mut dice: Dice, target: PathBuf) {
    let target = target.to_str().unwrap().to_owned();
    for _ in 0..STEPS {
        let number = dice.below(VOLUMES);
        let block = number % 2 == 1;
        let Some(id) = created(&client, &seen, number, block).await else { continue };
        let outcome = match dice.below(8) {
            0 if number >= LASTING => {
                let deleted = timed(&seen, client.call(request::delete(&id), DEADLINE)).await;
                deleted.map(|_| seen.note("delete"))
            }
            1 | 2 => {
                let publish = request::publish(&id, &target, block);
                let published = timed(&seen, client.call(publish, DEADLINE)).await;
                if published.is_ok() {
                    seen.note("publish");
                    if number < LASTING {
                        use_target(Path::new(&target), block);
                    }
                    settled(&client, &seen, &id, &target).await;
                }
                published.map(drop)
            }
            3 => snapshot(&client, &seen, &id, number, &mut dice).await,
            4 => {
                let size = request::at_least((4 + i64::try_from(dice.below(4)).unwrap()) * MIB);
                let expand = v1::ControllerExpandVolumeRequest {
                    volume_id: id.clone(),
                    capacity_range: Some(size),
                    ..Default::default()
                };
                match timed(&seen, client.call(expand, DEADLINE)).await {
                    Ok(reply) => {
                        assert!(reply.capacity_bytes >= size.required_bytes, "shrunk: {reply:?}");
                        seen.note("expand");
                        Ok(())
                    }
                    Err(status) => Err(status),
                }
            }
            5 => listed(&client, &seen).await,
            6 => healthy(&client, &seen, &id).await,
            _ => {
                let get = v1::ControllerGetVolumeRequest { volume_id: id.clone() };
                timed(&seen, client.call(get, DEADLINE)).await.map(|reply| {
                    assert_eq!(reply.volume.unwrap().volume_id, id);
                })
            }
        };
        if let Err(status) = outcome {
            allowed(&status, number);
        }
    }
}

/// What is published is there: nobody else may unmount a lasting volume.
fn use_target(target: &Path, block: bool) {
    let is_device = std::fs::metadata(target).unwrap().file_type().is_block_device();
    assert_eq!(is_device, block, "{}", target.display());
    if !block {
        let file = target.join(target.file_name().unwrap());
        std::fs::write(&file, "here").unwrap();
        std::fs::remove_file(&file).unwrap();
    }
}

/// The volume's id; none while another client works on the name.
async fn created(client: &Client, seen: &Seen, number: u64, block: bool) -> Option<String> {
    let create = request::create(&format!("volume-{number}"), block, 4 * MIB);
    match timed(seen, client.call(create, DEADLINE)).await {
        Ok(reply) => {
            let id = reply.volume.unwrap().volume_id;
            if number < LASTING {
                let mut ids = seen.ids.lock().unwrap();
                let first = ids.entry(number).or_insert_with(|| id.clone());
                assert_eq!(*first, id, "two volumes under one name");
            }
            Some(id)
        }
        Err(status) => {
            assert_eq!(status.code(), Code::Aborted, "{status}");
            None
        }
    }
}

/// Unpublishes, as often as it takes.
async fn settled(client: &Client, seen: &Seen, id: &str, target: &str) {
    loop {
        match timed(seen, client.call(request::unpublish(id, target), DEADLINE)).await {
            Ok(_) => return,
            // Deleted meanwhile by another client, which unmounts first.
            Err(status) if status.code() == Code::NotFound => return,
            Err(status) => assert_eq!(status.code(), Code::Aborted, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn snapshot(
    client: &Client,
    seen: &Seen,
    id: &str,
    number: u64,
    dice: &mut Dice,
) -> Result<(), Status> {
    let name = format!("snapshot-{number}-{}", dice.next_number());
    let cut = timed(seen, client.call(request::snapshot(&name, id), DEADLINE)).await?;
    let snapshot = cut.snapshot.unwrap();
    assert_eq!((snapshot.source_volume_id.as_str(), snapshot.ready_to_use), (id, true));
    // Nobody else works on it.
    timed(seen, client.call(request::delete_snapshot(&snapshot.snapshot_id), DEADLINE)).await.unwrap();
    seen.note("snapshot");
    Ok(())
}

/// Every lasting volume that was acknowledged before the call is listed, each exactly once.
async fn listed(client: &Client, seen: &Seen) -> Result<(), Status> {
    let before: Vec<String> = seen.ids.lock().unwrap().values().cloned().collect();
    let mut found: Vec<String> = Vec::new();
    let mut token = String::new();
    loop {
        let list = v1::ListVolumesRequest { max_entries: 5, starting_token: token };
        let reply = timed(seen, client.call(list, DEADLINE)).await?;
        assert!(reply.entries.len() <= 5);
        found.extend(reply.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id));
        token = reply.next_token;
        if token.is_empty() {
            break;
        }
    }
    assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "out of order or twice: {found:?}");
    assert!(before.iter().all(|id| found.contains(id)), "an acknowledged volume is not listed");
    Ok(())
}

/// Whatever others do to the volumes at this moment, nothing is wrong with them.
async fn healthy(client: &Client, seen: &Seen, id: &str) -> Result<(), Status> {
    let list = v1::ControllerListVolumeHealthRequest::default();
    assert_eq!(timed(seen, client.call(list, DEADLINE)).await?.entries, []);
    let get = v1::NodeGetVolumeHealthRequest { volume_id: id.to_owned(), ..Default::default() };
    let health = timed(seen, client.call(get, DEADLINE)).await?.volume_health.unwrap();
    assert_eq!(health.health_statuses, [], "{id}");
    seen.note("health");
    Ok(())
}

/// What may be answered while others work on the same volumes.
fn allowed(status: &Status, number: u64) {
    let fine = match status.code() {
        Code::Aborted => true,
        // Deleted by another client.
        Code::NotFound => number >= LASTING,
        _ => false,
    };
    assert!(fine, "volume-{number}: {status}");
}

async fn timed<T>(seen: &Seen, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let started = Instant::now();
    let outcome = call.await;
    seen.times.lock().unwrap().push(started.elapsed());
    outcome
}

fn report(seen: &Seen) {
    let mut times = seen.times.lock().unwrap().clone();
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    eprintln!("{} calls, median {:?}, p99 {:?}, longest {:?}", times.len(), at(50), at(99), at(100));
    let done = seen.done.lock().unwrap();
    eprintln!("{done:?}");
    for (what, least) in [("publish", 100), ("snapshot", 50), ("expand", 50), ("delete", 20), ("health", 50)]
    {
        assert!(done.get(what).is_some_and(|done| *done >= least), "too few of {what}: {done:?}");
    }
}

/// With everybody gone: names, list and get agree, and all can be deleted.
async fn quiet(client: &Client, seen: &Seen) {
    let reply = client.call(v1::ListVolumesRequest::default(), DEADLINE).await.unwrap();
    let ids: BTreeSet<&String> =
        reply.entries.iter().map(|entry| &entry.volume.as_ref().unwrap().volume_id).collect();
    let lasting = seen.ids.lock().unwrap().clone();
    assert_eq!(lasting.len(), usize::try_from(LASTING).unwrap(), "each name was used");
    assert!(lasting.values().all(|id| ids.contains(id)), "a lasting volume is gone");
    let unhealthy = client.call(v1::ControllerListVolumeHealthRequest::default(), DEADLINE).await.unwrap();
    assert_eq!(unhealthy.entries, []);
    for entry in reply.entries {
        let volume = entry.volume.unwrap();
        let get = v1::ControllerGetVolumeRequest { volume_id: volume.volume_id.clone() };
        let got = client.call(get, DEADLINE).await.unwrap();
        assert_eq!(got.volume.as_ref(), Some(&volume));
        client.call(request::delete(&volume.volume_id), DEADLINE).await.unwrap();
    }
    assert_eq!(client.call(v1::ListVolumesRequest::default(), DEADLINE).await.unwrap().entries.len(), 0);
    let snapshots = client.call(v1::ListSnapshotsRequest::default(), DEADLINE).await.unwrap();
    assert_eq!(snapshots.entries.len(), 0, "each client removed its own");
}

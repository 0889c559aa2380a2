//! kill -9 at random moments: everything acknowledged is there afterwards, and nothing else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::csi::{Driver, v1};
use conformance::request::{self, MIB};
use conformance::{Dice, Running, in_own_mounts, loop_devices_below, mounts_below};
use tonic::{Code, Status};

const ROUNDS: usize = 500;
const WORKERS: usize = 4;
const DEADLINE: Duration = Duration::from_secs(20);
const ARGS: [&str; 1] = ["--enable-attach"];

in_own_mounts!(nothing_acknowledged_is_lost_by_500_kills, kills());

/// A volume that was acknowledged.
#[derive(Debug, Clone)]
struct Volume {
    id: String,
    block: bool,
    size: i64,
    /// What its first bytes (or its file) hold.
    content: Vec<u8>,
    target: Option<PathBuf>,
}

/// A snapshot that was acknowledged, and the content it was cut from.
#[derive(Debug, Clone)]
struct Snapshot {
    id: String,
    block: bool,
    size: i64,
    content: Vec<u8>,
}

/// What one worker owns, by name. Names are never used twice.
#[derive(Debug, Default)]
struct Model {
    volumes: BTreeMap<String, Volume>,
    snapshots: BTreeMap<String, Snapshot>,
    /// What was under way when the driver died: it may have happened or not.
    open: Option<Step>,
    next: usize,
}

#[derive(Debug, Clone)]
enum Step {
    Create { name: String, block: bool, from: Option<String>, restore: Option<String> },
    Delete { name: String },
    Publish { name: String },
    Unpublish { name: String },
    Expand { name: String },
    Snapshot { name: String, of: String },
    DeleteSnapshot { name: String },
}

#[tokio::main]
async fn kills() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("targets")).unwrap();
    let mut dice = Dice::from_environment("nothing_acknowledged_is_lost_by_500_kills");
    let mut models: Vec<Model> = (0..WORKERS).map(|_| Model::default()).collect();
    let mut done = 0;
    for round in 0..ROUNDS {
        let driver = Running::start(folder.path(), &ARGS).await;
        settle(driver.client(), &mut models, &folder.path().join("targets")).await;
        check(driver.client(), &models, folder.path(), round).await;
        let mut workers = Vec::new();
        for (number, mut model) in std::mem::take(&mut models).into_iter().enumerate() {
            let (client, mut dice) = (driver.client().clone(), dice.fork());
            let targets = folder.path().join("targets");
            workers.push(tokio::spawn(async move {
                let steps = work(&client, &mut model, &mut dice, number, &targets).await;
                (model, steps)
            }));
        }
        let life = Duration::from_micros(dice.below(60_000));
        tokio::time::sleep(life).await;
        driver.kill().await;
        for worker in workers {
            let (model, steps) = worker.await.unwrap();
            models.push(model);
            done += steps;
        }
    }
    let driver = Running::start(folder.path(), &ARGS).await;
    settle(driver.client(), &mut models, &folder.path().join("targets")).await;
    check(driver.client(), &models, folder.path(), ROUNDS).await;
    check_all_content(driver.client(), &mut models, folder.path()).await;
    eprintln!("{ROUNDS} kills, {done} acknowledged operations");
    assert!(done > ROUNDS, "too little happened to prove anything: {done}");
    assert_eq!(driver.stop().await, Some(0));
}

/// Steps one after the other until the driver is gone. Returns how many were acknowledged.
async fn work(client: &Driver, model: &mut Model, dice: &mut Dice, worker: usize, targets: &Path) -> usize {
    let mut done = 0;
    loop {
        let Some(step) = choose(model, dice, worker) else { continue };
        model.open = Some(step.clone());
        match run(client, model, &step, targets, dice).await {
            Ok(()) => {
                model.open = None;
                done += 1;
            }
            Err(status) if status.code() == Code::Unavailable => return done,
            // A volume's source is being worked on by nobody else: every other refusal is wrong.
            Err(status) => panic!("{step:?}: {status}"),
        }
    }
}

fn choose(model: &mut Model, dice: &mut Dice, worker: usize) -> Option<Step> {
    let names: Vec<String> = model.volumes.keys().cloned().collect();
    let volume = dice.pick(&names).cloned();
    let snapshots: Vec<String> = model.snapshots.keys().cloned().collect();
    let snapshot = dice.pick(&snapshots).cloned();
    let published = |name: &String| model.volumes.get(name).is_some_and(|volume| volume.target.is_some());
    let step = match dice.below(10) {
        0..=2 if names.len() < 6 => {
            let origin = dice.below(3);
            let from = volume.filter(|_| origin == 1);
            let restore = snapshot.filter(|_| origin == 2);
            let block = match (&from, &restore) {
                (Some(name), _) => model.volumes.get(name)?.block,
                (None, Some(name)) => model.snapshots.get(name)?.block,
                (None, None) => dice.below(2) == 0,
            };
            model.next += 1;
            Step::Create { name: format!("volume-{worker}-{}", model.next), block, from, restore }
        }
        3 => Step::Delete { name: volume.filter(|name| !published(name))? },
        4 | 5 => Step::Publish { name: volume.filter(|name| !published(name))? },
        6 => Step::Unpublish { name: volume.filter(published)? },
        7 => Step::Expand { name: volume? },
        8 if snapshots.len() < 4 => {
            model.next += 1;
            Step::Snapshot { name: format!("snapshot-{worker}-{}", model.next), of: volume? }
        }
        9 => Step::DeleteSnapshot { name: snapshot? },
        _ => return None,
    };
    Some(step)
}

async fn run(
    client: &Driver,
    model: &mut Model,
    step: &Step,
    targets: &Path,
    dice: &mut Dice,
) -> Result<(), Status> {
    match step {
        Step::Create { name, block, from, restore } => {
            let volume = create(client, model, name, *block, from.as_ref(), restore.as_ref()).await?;
            model.volumes.insert(name.clone(), volume);
        }
        Step::Delete { name } => {
            client.call(request::delete(&model.volumes[name].id), DEADLINE).await?;
            model.volumes.remove(name);
        }
        Step::Publish { name } => {
            let volume = model.volumes.get_mut(name).unwrap();
            let target = targets.join(name);
            attach(client, &volume.id).await?;
            let publish = request::publish(&volume.id, target.to_str().unwrap(), volume.block);
            client.call(publish, DEADLINE).await?;
            volume.target = Some(target);
            assert_eq!(read(volume), volume.content, "{name} after its publish");
            volume.content = dice.next_number().to_le_bytes().repeat(600);
            write(volume);
        }
        Step::Unpublish { name } => {
            let volume = model.volumes.get_mut(name).unwrap();
            let target = volume.target.clone().unwrap();
            client.call(request::unpublish(&volume.id, target.to_str().unwrap()), DEADLINE).await?;
            volume.target = None;
        }
        Step::Expand { name } => {
            let volume = model.volumes.get_mut(name).unwrap();
            let size = volume.size + MIB;
            client.call(expand(&volume.id, size), DEADLINE).await?;
            volume.size = size;
        }
        Step::Snapshot { name, of } => {
            let source = model.volumes[of].clone();
            let reply = client.call(request::snapshot(name, &source.id), DEADLINE).await?;
            let Volume { block, size, content, .. } = source;
            let id = reply.snapshot.unwrap().snapshot_id;
            model.snapshots.insert(name.clone(), Snapshot { id, block, size, content });
        }
        Step::DeleteSnapshot { name } => {
            client.call(request::delete_snapshot(&model.snapshots[name].id), DEADLINE).await?;
            model.snapshots.remove(name);
        }
    }
    Ok(())
}

async fn create(
    client: &Driver,
    model: &Model,
    name: &str,
    block: bool,
    from: Option<&String>,
    restore: Option<&String>,
) -> Result<Volume, Status> {
    let (size, content, source) = match (from, restore) {
        (Some(from), _) => {
            let origin = &model.volumes[from];
            (origin.size, origin.content.clone(), request::clone_of(&origin.id))
        }
        (None, Some(restore)) => {
            let origin = &model.snapshots[restore];
            (origin.size, origin.content.clone(), request::restore_of(&origin.id))
        }
        (None, None) => (4 * MIB, Vec::new(), None),
    };
    let mut wanted = request::create(name, block, size);
    wanted.volume_content_source = source;
    let reply = client.call(wanted, DEADLINE).await?;
    let id = reply.volume.unwrap().volume_id;
    Ok(Volume { id, block, size, content, target: None })
}

async fn attach(client: &Driver, id: &str) -> Result<(), Status> {
    let publish = v1::ControllerPublishVolumeRequest {
        volume_id: id.to_owned(),
        node_id: "node-1".to_owned(),
        volume_capability: request::publish(id, "", false).volume_capability,
        ..Default::default()
    };
    match client.call(publish.clone(), DEADLINE).await {
        // A block volume.
        Err(status) if status.code() == Code::InvalidArgument => {
            let capability = request::publish(id, "", true).volume_capability;
            let publish = v1::ControllerPublishVolumeRequest { volume_capability: capability, ..publish };
            client.call(publish, DEADLINE).await.map(drop)
        }
        outcome => outcome.map(drop),
    }
}

fn expand(id: &str, size: i64) -> v1::ControllerExpandVolumeRequest {
    v1::ControllerExpandVolumeRequest {
        volume_id: id.to_owned(),
        capacity_range: Some(request::at_least(size)),
        ..Default::default()
    }
}

/// Reads what the model wrote: a file, or the first bytes of the device. Nothing written: nothing.
fn read(volume: &Volume) -> Vec<u8> {
    let target = volume.target.as_ref().unwrap();
    if !volume.block {
        return std::fs::read(target.join("content")).unwrap_or_default();
    }
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; 4800];
    std::fs::File::open(target).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    if volume.content.is_empty() && bytes.iter().all(|byte| *byte == 0) { Vec::new() } else { bytes }
}

fn write(volume: &Volume) {
    let target = volume.target.as_ref().unwrap();
    if !volume.block {
        return std::fs::write(target.join("content"), &volume.content).unwrap();
    }
    use std::os::unix::fs::FileExt;
    let device = std::fs::File::options().write(true).open(target).unwrap();
    device.write_all_at(&volume.content, 0).unwrap();
    // A copy of the volume reads its file, not its device: the data must have left the device's cache.
    device.sync_all().unwrap();
}

async fn listed(client: &Driver) -> BTreeMap<String, v1::list_volumes_response::Entry> {
    let reply = client.call(v1::ListVolumesRequest::default(), DEADLINE).await.unwrap();
    assert_eq!(reply.next_token, "");
    let id = |entry: &v1::list_volumes_response::Entry| entry.volume.as_ref().unwrap().volume_id.clone();
    reply.entries.into_iter().map(|entry| (id(&entry), entry)).collect()
}

/// Finds out what became of the steps that were under way, by repeating them as a caller would.
async fn settle(client: &Driver, models: &mut [Model], targets: &Path) {
    for model in models {
        let Some(step) = model.open.take() else { continue };
        match step {
            Step::Create { name, block, from, restore } => {
                let volume =
                    create(client, model, &name, block, from.as_ref(), restore.as_ref()).await.unwrap();
                model.volumes.insert(name, volume);
            }
            Step::Delete { name } => {
                client.call(request::delete(&model.volumes[&name].id), DEADLINE).await.unwrap();
                model.volumes.remove(&name);
            }
            // Whether it is published or not, it is not afterwards.
            Step::Publish { name } | Step::Unpublish { name } => {
                let volume = model.volumes.get_mut(&name).unwrap();
                let target = volume.target.take().unwrap_or_else(|| targets.join(&name));
                let unpublish = request::unpublish(&volume.id, target.to_str().unwrap());
                client.call(unpublish, DEADLINE).await.unwrap();
            }
            Step::Expand { name } => {
                let volume = model.volumes.get_mut(&name).unwrap();
                volume.size += MIB;
                client.call(expand(&volume.id, volume.size), DEADLINE).await.unwrap();
            }
            Step::Snapshot { name, of } => {
                let source = model.volumes[&of].clone();
                let reply = client.call(request::snapshot(&name, &source.id), DEADLINE).await.unwrap();
                let Volume { block, size, content, .. } = source;
                let id = reply.snapshot.unwrap().snapshot_id;
                model.snapshots.insert(name, Snapshot { id, block, size, content });
            }
            Step::DeleteSnapshot { name } => {
                let id = &model.snapshots[&name].id;
                client.call(request::delete_snapshot(id), DEADLINE).await.unwrap();
                model.snapshots.remove(&name);
            }
        }
    }
}

/// Volumes, snapshots, mounts, devices and files are exactly the model's.
async fn check(client: &Driver, models: &[Model], folder: &Path, round: usize) {
    let volumes: Vec<(&String, &Volume)> = models.iter().flat_map(|model| &model.volumes).collect();
    let snapshots: BTreeSet<&String> =
        models.iter().flat_map(|model| model.snapshots.values()).map(|snapshot| &snapshot.id).collect();
    let listed = listed(client).await;
    assert_eq!(
        listed.keys().collect::<BTreeSet<_>>(),
        volumes.iter().map(|(_, volume)| &volume.id).collect(),
        "round {round}: volumes"
    );
    for (name, volume) in &volumes {
        let is = listed[&volume.id].volume.as_ref().unwrap();
        assert_eq!(is.capacity_bytes, volume.size, "round {round}: size of {name}");
        if volume.target.is_some() {
            assert_eq!(read(volume), volume.content, "round {round}: content of {name}");
        }
    }
    let reply = client.call(v1::ListSnapshotsRequest::default(), DEADLINE).await.unwrap();
    let ids: Vec<String> =
        reply.entries.into_iter().map(|entry| entry.snapshot.unwrap().snapshot_id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>(), snapshots, "round {round}: snapshots");
    let targets: BTreeSet<PathBuf> = volumes.iter().filter_map(|(_, volume)| volume.target.clone()).collect();
    let mounted: Vec<PathBuf> = mounts_below(folder);
    assert_eq!(mounted.iter().cloned().collect::<BTreeSet<_>>(), targets, "round {round}: mounts");
    assert_eq!(mounted.len(), targets.len(), "round {round}: nothing is mounted twice");
    let left: BTreeSet<PathBuf> =
        std::fs::read_dir(folder.join("targets")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, targets, "round {round}: target paths");
    let devices = loop_devices_below(folder).len();
    let published = volumes.iter().filter(|(_, volume)| volume.block && volume.target.is_some()).count();
    assert_eq!(devices, published, "round {round}: loop devices");
    let state = folder.join("state");
    let files = |folder: PathBuf| std::fs::read_dir(folder).unwrap().count();
    let own = ["state.journal", ".new", ".old"].len();
    assert_eq!(files(state.clone()) - own, volumes.len() + snapshots.len(), "round {round}: files");
    assert_eq!((files(state.join(".new")), files(state.join(".old"))), (0, 0), "round {round}: rests");
}

/// Publishes every volume and restores every snapshot, and compares what they hold.
async fn check_all_content(client: &Driver, models: &mut [Model], folder: &Path) {
    for model in models {
        let restored: Vec<(String, Snapshot)> = model.snapshots.clone().into_iter().collect();
        for (name, snapshot) in restored {
            let copy = format!("restored-{name}");
            let volume = create(client, model, &copy, snapshot.block, None, Some(&name)).await.unwrap();
            model.volumes.insert(copy, volume);
        }
        for (name, volume) in &mut model.volumes {
            if volume.target.is_none() {
                let target = folder.join("targets").join(name);
                attach(client, &volume.id).await.unwrap();
                let publish = request::publish(&volume.id, target.to_str().unwrap(), volume.block);
                client.call(publish, DEADLINE).await.unwrap();
                volume.target = Some(target);
            }
            assert_eq!(read(volume), volume.content, "content of {name}");
            let target = volume.target.take().unwrap();
            client.call(request::unpublish(&volume.id, target.to_str().unwrap()), DEADLINE).await.unwrap();
        }
    }
}

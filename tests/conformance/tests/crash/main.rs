//! kill -9 at random moments: everything acknowledged is there afterwards, and nothing else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod check;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use conformance::request::{self, MIB};
use conformance::{Dice, Folder, Running, in_own_mounts};
use csi::{Client, grpc_text, v1};
use tonic::{Code, Status};

use check::{check, check_all_content};

const ROUNDS: usize = 500;
const WORKERS: usize = 4;
/// Of one call. A killed driver is gone only when the system has finished its last write, which takes long on
/// a busy disk: until then its socket is open, and a deadline that passes there would say nothing.
const DEADLINE: Duration = Duration::from_secs(100);
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

/// Where the test is, for messages: which seed repeats it, and after how many kills.
#[derive(Debug, Clone, Copy)]
struct At {
    seed: u64,
    round: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MOORING_SEED={} round {}", self.seed, self.round)
    }
}

impl At {
    /// The answer to a call that nothing disturbs.
    fn answer<T>(self, outcome: Result<T, Status>) -> T {
        outcome.unwrap_or_else(|status| panic!("{self}: {}", grpc_text(&status)))
    }
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
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("targets")).unwrap();
    let mut dice = Dice::from_environment("nothing_acknowledged_is_lost_by_500_kills");
    let seed = dice.seed();
    let mut models: Vec<Model> = (0..WORKERS).map(|_| Model::default()).collect();
    let mut done = 0;
    for round in 0..ROUNDS {
        let at = At { seed, round };
        let driver = Running::start(folder.path(), &ARGS).await;
        settle(at, driver.client(), &mut models, &folder.path().join("targets")).await;
        check(at, driver.client(), &models, folder.path()).await;
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
        // All of them end before one may fail the test: nobody works in a folder that is being removed.
        let mut ended = Vec::new();
        for worker in workers {
            ended.push(worker.await);
        }
        for worker in ended {
            let (model, steps) = worker.unwrap_or_else(|panic| panic!("{at}: {panic}"));
            models.push(model);
            done += steps.unwrap_or_else(|wrong| panic!("{at}: {wrong}\n{}", last_lines(&folder)));
        }
    }
    let at = At { seed, round: ROUNDS };
    let driver = Running::start(folder.path(), &ARGS).await;
    settle(at, driver.client(), &mut models, &folder.path().join("targets")).await;
    check(at, driver.client(), &models, folder.path()).await;
    check_all_content(at, driver.client(), &mut models, folder.path()).await;
    eprintln!("{ROUNDS} kills, {done} acknowledged operations");
    assert!(done > ROUNDS, "too little happened to prove anything: {done}");
    assert_eq!(driver.stop().await, Some(0));
}

/// Steps one after the other until the driver is gone. Returns how many were acknowledged.
///
/// # Errors
/// What the driver said when it refused a step.
async fn work(
    client: &Client,
    model: &mut Model,
    dice: &mut Dice,
    worker: usize,
    targets: &Path,
) -> Result<usize, String> {
    let mut done = 0;
    loop {
        let Some(step) = choose(model, dice, worker) else { continue };
        model.open = Some(step.clone());
        let begun = Instant::now();
        match run(client, model, &step, targets, dice).await {
            Ok(()) => {
                model.open = None;
                done += 1;
            }
            Err(status) if status.code() == Code::Unavailable => return Ok(done),
            // A volume's source is being worked on by nobody else: every other refusal is wrong.
            Err(status) => {
                return Err(format!("{step:?} after {:?}: {}", begun.elapsed(), grpc_text(&status)));
            }
        }
    }
}

/// The end of the drivers' log: what a driver answered with an error is in it.
fn last_lines(folder: &Folder) -> String {
    let log = std::fs::read(folder.path().join("driver.log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
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
    client: &Client,
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
    client: &Client,
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

async fn attach(client: &Client, id: &str) -> Result<(), Status> {
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

/// Finds out what became of the steps that were under way, by repeating them as a caller would.
async fn settle(at: At, client: &Client, models: &mut [Model], targets: &Path) {
    for model in models {
        let Some(step) = model.open.take() else { continue };
        match step {
            Step::Create { name, block, from, restore } => {
                let volume = create(client, model, &name, block, from.as_ref(), restore.as_ref()).await;
                let volume = at.answer(volume);
                model.volumes.insert(name, volume);
            }
            Step::Delete { name } => {
                at.answer(client.call(request::delete(&model.volumes[&name].id), DEADLINE).await);
                model.volumes.remove(&name);
            }
            // Whether it is published or not, it is not afterwards.
            Step::Publish { name } | Step::Unpublish { name } => {
                let volume = model.volumes.get_mut(&name).unwrap();
                let target = volume.target.take().unwrap_or_else(|| targets.join(&name));
                let unpublish = request::unpublish(&volume.id, target.to_str().unwrap());
                at.answer(client.call(unpublish, DEADLINE).await);
            }
            Step::Expand { name } => {
                let volume = model.volumes.get_mut(&name).unwrap();
                volume.size += MIB;
                at.answer(client.call(expand(&volume.id, volume.size), DEADLINE).await);
            }
            Step::Snapshot { name, of } => {
                let source = model.volumes[&of].clone();
                let reply = at.answer(client.call(request::snapshot(&name, &source.id), DEADLINE).await);
                let Volume { block, size, content, .. } = source;
                let id = reply.snapshot.unwrap().snapshot_id;
                model.snapshots.insert(name, Snapshot { id, block, size, content });
            }
            Step::DeleteSnapshot { name } => {
                let id = &model.snapshots[&name].id;
                at.answer(client.call(request::delete_snapshot(id), DEADLINE).await);
                model.snapshots.remove(&name);
            }
        }
    }
}

//! Kills and power cuts at random moments: what was acknowledged is there, what was not is whole or gone, and
//! nothing is left behind.
//!
//! Workers do random steps while the driver lives. After each kill a new driver starts, the steps that were
//! under way are repeated as a caller would, and everything is compared with the model: volumes, snapshots,
//! groups, inline volumes, sizes, contents, mounts and their options, loop devices, files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod check;
mod model;
mod steps;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use conformance::{Dice, Disk, Folder, Running, in_own_mounts};
use csi::{Client, grpc_text};

use check::{check, check_all_content};
use model::{At, Model};
use steps::{is_gone, reboot, run, settle};

const WORKERS: usize = 4;
/// Of one call. A killed driver is gone only when the system has finished its last write, which takes long on
/// a busy disk: until then its socket is open, and a deadline that passes there would say nothing.
const DEADLINE: Duration = Duration::from_secs(100);
const ARGS: [&str; 1] = ["--enable-attach"];

in_own_mounts!(nothing_acknowledged_is_lost_by_500_kills, ends(Folder::new(), "500_kills", 500, None));

in_own_mounts!(nothing_acknowledged_is_lost_by_60_power_cuts, power_cuts());

fn power_cuts() {
    let folder = Folder::new();
    let disk = Disk::new(folder.path());
    ends(folder, "60_power_cuts", 60, Some(disk));
}

#[tokio::main]
async fn ends(folder: Folder, test: &str, rounds: usize, mut disk: Option<Disk>) {
    let targets = folder.path().join("targets");
    std::fs::create_dir(&targets).unwrap();
    let mut dice = Dice::from_environment(test);
    let seed = dice.seed();
    let mut models: Vec<Model> = (0..WORKERS).map(|_| Model::default()).collect();
    // A power cut itself takes long, so more is to happen before each.
    let life = Duration::from_millis(if disk.is_some() { 400 } else { 60 });
    let (mut done, mut journal, mut rewrites) = (0, 0, 0);
    for round in 0..=rounds {
        let at = At { seed, round };
        let mut driver = Running::start(folder.path(), &ARGS).await;
        if disk.is_some() {
            reboot(at, driver.client(), &mut models).await;
        }
        settle(at, driver.client(), &mut models, &targets, &mut dice).await;
        check(at, driver.client(), &models, folder.path()).await;
        let now = std::fs::metadata(Running::state(folder.path()).join("state.journal")).unwrap().ino();
        rewrites += usize::from(journal != 0 && journal != now);
        journal = now;
        if round == rounds {
            check_all_content(at, driver.client(), &mut models, folder.path()).await;
            assert_eq!(driver.stop().await, Some(0));
            break;
        }
        done += live(at, &mut driver, &mut models, &mut dice, (&folder, life)).await;
        driver.kill().await;
        if let Some(disk) = &mut disk {
            disk.cut_power();
        }
    }
    println!("{rounds} ends, {done} acknowledged operations, {rewrites} rewrites of the journal seen");
    assert!(done > rounds, "too little happened to prove anything: {done}");
    assert!(disk.is_some() || rewrites > 0, "no rewrite of the journal was seen");
}

/// Lets the workers work for a random time of at most `life`, and kills the driver. Returns how many steps were acknowledged.
async fn live(
    at: At,
    driver: &mut Running,
    models: &mut Vec<Model>,
    dice: &mut Dice,
    (folder, life): (&Folder, Duration),
) -> usize {
    let mut workers = Vec::new();
    for (number, mut model) in std::mem::take(models).into_iter().enumerate() {
        let (client, mut dice) = (driver.client().clone(), dice.fork());
        let targets = folder.path().join("targets");
        workers.push(tokio::spawn(async move {
            let steps = work(&client, &mut model, &mut dice, number, &targets).await;
            (model, steps)
        }));
    }
    tokio::time::sleep(life.mul_f64(dice.below(1000) as f64 / 1000.0)).await;
    driver.strike();
    // All of them end before one may fail the test: nobody works in a folder that is being removed.
    let mut ended = Vec::new();
    for worker in workers {
        ended.push(worker.await);
    }
    let mut done = 0;
    for worker in ended {
        let (model, steps) = worker.unwrap_or_else(|panic| panic!("{at}: {panic}"));
        models.push(model);
        done += steps.unwrap_or_else(|wrong| panic!("{at}: {wrong}\n{}", last_lines(folder)));
    }
    done
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
        let Some(step) = model.choose(dice, worker) else { continue };
        model.open = Some(step.clone());
        let begun = Instant::now();
        match run(client, model, &step, targets, dice).await {
            Ok(()) => {
                model.open = None;
                done += 1;
            }
            Err(status) if is_gone(&status) => return Ok(done),
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

//! Random lives: what users, controllers, faults and drivers do, in any order. When it is over, everything is as the
//! attachments say, and nothing more is sent.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use sim::{Fault, Reply, Running, Step, World};
use tokio::time::sleep;
use tonic::Code;

use crate::forced::force_away;
use crate::harness::{ATTACHER, calls, config, world_with, writes};
use crate::objects::{attachment, csi_node, pv, with};

/// Lives of each sort.
const SEEDS: u64 = 40;
/// What happens in one life.
const EVENTS: usize = 60;

/// Volume id and node id, as the driver knows them.
type Pair = (String, String);

#[test]
fn every_life_ends_as_its_attachments_say() {
    live_all(false);
}

#[test]
fn random_lives_with_comparisons_end_as_attachments_say() {
    live_all(true);
}

fn live_all(compares: bool) {
    for seed in 0..SEEDS {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
        assert_eq!(runtime.block_on(live(seed, compares)), Ok(()), "seed {seed}");
    }
}

/// One life; the error says what is wrong at its end, or on the way.
async fn live(seed: u64, compares: bool) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let world = world_with(&["pv0", "pv1", "pv2", "pv3"]);
    for number in 0..4 {
        world.api.put(with(pv(&format!("pv{number}")), json!({"spec": {"accessModes": ["ReadWriteMany"]}})));
    }
    for node in ["node0", "node1"] {
        world.api.put(csi_node(node));
    }
    world.api.set_latency(Duration::from_millis(rng.u64(0..30)));
    world.api.delay_watch(Duration::from_millis([0, 5, 100, 1500][rng.usize(0..4)]));
    world.api.duplicate_events(rng.bool());
    let running = run(&world, compares);
    for _ in 0..EVENTS {
        sleep(Duration::from_millis(rng.u64(0..1200))).await;
        happen(&world, &mut rng);
        // A comparison may find a volume withdrawn that is about to be published again.
        if !compares
            && let Some(pair) = attached(&world).find(|pair| !world.driver.publications().contains(pair))
        {
            return Err(format!("attached, but not published: {pair:?}"));
        }
    }
    world.driver.be_honest();
    sleep(Duration::from_secs(700)).await;
    judge(&world, &running)?;
    let sent = || {
        calls(&world).iter().filter(|call| !call.starts_with("ListVolumes")).count() + writes(&world).len()
    };
    let before = sent();
    sleep(Duration::from_secs(1300)).await;
    if sent() != before {
        return Err(format!("something is still sent: {:?}", calls(&world)));
    }
    Ok(())
}

fn run(world: &World, compares: bool) -> Running {
    ATTACHER.run(world, |config| {
        config.can.lists_nodes = compares;
        config.workers = 4;
        config.reconcile_sync = Duration::from_secs(5);
    })
}

/// The next event.
fn happen(world: &World, rng: &mut Rng) {
    let number = rng.u64(0..4);
    let (name, volume, node) = (format!("va{number}"), format!("pv{number}"), format!("node{}", number % 2));
    let known = world.api.get("volumeattachments", &name);
    let label = json!({"changed": rng.u64(0..1000).to_string()});
    match rng.u64(0..12) {
        0..=3 if known.is_none() => drop(world.api.put(attachment(&name, &volume, &node))),
        4 | 5 if known.is_some() => drop(world.api.delete("volumeattachments", &name)),
        // What is attached and forced away is its user's to detach.
        6 if known.as_ref().is_some_and(|known| known["status"]["attached"] != true) => {
            force_away(world, &name);
            if rng.bool() && world.api.get("volumeattachments", &name).is_none() {
                world.api.put(attachment(&name, &volume, &node));
            }
        }
        7 => fail(world, rng),
        8 | 9 => answer(world, rng),
        10 => {
            drop(world.api.edit("persistentvolumes", &volume, |object| object["metadata"]["labels"] = label))
        }
        11 => drop(
            world
                .api
                .edit_if_there("volumeattachments", &name, |object| object["metadata"]["labels"] = label),
        ),
        _ => {}
    }
}

/// One or two of the next writes and calls go wrong.
fn fail(world: &World, rng: &mut Rng) {
    let faults = [
        Fault::LoseReply,
        Fault::ApiError(500),
        Fault::ApiError(429),
        Fault::Conflict,
        Fault::Delay(Duration::from_secs(3)),
        Fault::LateReply(Duration::from_secs(2)),
        Fault::BreakWatches,
        Fault::Rpc(Code::Unavailable),
        Fault::Rpc(Code::Internal),
    ];
    let fault = faults[rng.usize(0..faults.len())].clone();
    let changes = |step: &Step| match step {
        Step::Rpc { .. } => true,
        Step::Api { verb, .. } => verb == "patch",
    };
    world.steps.on(changes, rng.usize(1..3), fault);
}

/// The driver answers one of the next calls in its own way.
fn answer(world: &World, rng: &mut Rng) {
    let replies = [
        Reply::Hang,
        Reply::LostReply,
        Reply::error(Code::Aborted, "pending"),
        Reply::error(Code::Internal, "no"),
        Reply::Ok.after(Duration::from_secs(4)),
        Reply::Ok.after(Duration::from_secs(1)),
    ];
    let call = if rng.u8(0..3) > 0 { "ControllerPublishVolume" } else { "ControllerUnpublishVolume" };
    world.driver.script(call, [replies[rng.usize(0..replies.len())].clone()]);
}

/// What the live attachments say is published.
fn attached(world: &World) -> impl Iterator<Item = Pair> {
    let live = |object: &Value| {
        object["status"]["attached"] == true && object["metadata"]["deletionTimestamp"].is_null()
    };
    world.api.list("volumeattachments").into_iter().filter(live).map(|object| pair(&object))
}

fn pair(object: &Value) -> Pair {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let spec = &object["spec"];
    (sim::id_of(&text(&spec["source"]["persistentVolumeName"])), format!("{}-id", text(&spec["nodeName"])))
}

/// Every attachment is attached, without an error, under our finalizer; exactly their volumes are published.
fn judge(world: &World, running: &Running) -> Result<(), String> {
    let finalizer = config().finalizer;
    for object in world.api.list("volumeattachments") {
        let (meta, status) = (&object["metadata"], &object["status"]);
        let bound = meta["finalizers"].as_array().is_some_and(|all| all.iter().any(|one| *one == *finalizer));
        let clean = status["attachError"].is_null() && status["detachError"].is_null();
        if !meta["deletionTimestamp"].is_null() || status["attached"] != true || !bound || !clean {
            return Err(format!("not as it should be: {object}"));
        }
    }
    let (mut said, mut published) = (attached(world).collect::<Vec<_>>(), world.driver.publications());
    said.sort();
    published.sort();
    if said != published {
        return Err(format!("attached {said:?}, published {published:?}"));
    }
    let wrong = [running.panics(), world.driver.overlaps()].concat();
    if wrong.is_empty() { Ok(()) } else { Err(format!("panics or calls beside each other: {wrong:?}")) }
}

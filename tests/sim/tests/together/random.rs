//! Random lives of both sidecars: claims are made, attached and deleted, with faults and crashes; then it is quiet.

use std::collections::BTreeMap;
use std::time::Duration;

use csi::v1::controller_service_capability::rpc::Type;
use fastrand::Rng;
use sim::objects::{class, csi_node};
use sim::{Fault, Request, SEEDS, Settings, Step, World, attach_detach, seeds};
use tokio::time::sleep;

use crate::happen::{Range, happen};
use crate::judge::judge;
use crate::processes::Layout;

/// Lives of each sort, unless [`SEEDS`] says otherwise.
const LIVES: u64 = 4;
/// What happens in one life.
const EVENTS: usize = 160;
/// Three of the longest back-offs.
const QUIET: Duration = Duration::from_secs(180);

fn live_all(layout: Layout, range: Range) {
    let seeds = seeds(LIVES);
    let lives = seeds.clone().count();
    let mut steps = 0;
    let mut faults = 0;
    for seed in seeds {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
        let world = runtime.block_on(async { world() });
        let ended = runtime.block_on(live(&world, seed, layout, range));
        if ended.is_err() {
            print_trail(&world);
        }
        assert_eq!(ended, Ok(()), "{layout:?}, {range:?}: {SEEDS}={seed}..{} repeats it", seed + 1);
        steps += world.steps.count();
        faults += world.steps.fired().len();
    }
    println!("{layout:?}, {range:?}: {lives} lives, {steps} steps, {faults} faults at a step");
}

/// Every step in order, with the fault that happened at it.
fn print_trail(world: &World) {
    let fired: BTreeMap<usize, Fault> = world.steps.fired().into_iter().collect();
    let calls = world.driver.calls();
    let mut calls = calls.iter().filter(|call| call.method != "Probe");
    for (index, step) in world.steps.taken().iter().enumerate() {
        let number = index + 1;
        let fault = fired.get(&number).map_or_else(String::new, |fault| format!("  {fault:?}"));
        let call = match step {
            Step::Rpc { method } if method != "Probe" && fired.get(&number) != Some(&Fault::CrashBefore) => {
                calls
                    .next()
                    .map_or_else(String::new, |call| format!("  {:?} {:?} {}", call.at, call.code, call.text))
            }
            Step::Rpc { .. } | Step::Api { .. } => String::new(),
        };
        println!("{number:5} {step}{fault}{call}");
    }
}

fn world() -> World {
    let mut settings = Settings::default();
    settings.controller.extend([Type::PublishReadonly]);
    settings.keeps_contract = true;
    let world = World::new(settings);
    world.api.put(class());
    for node in ["node0", "node1"] {
        world.api.put(csi_node(node));
    }
    world
}

/// One life; the error says what is wrong at its end.
async fn live(world: &World, seed: u64, layout: Layout, range: Range) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    world.api.set_latency(Duration::from_millis(rng.u64(0..30)));
    world.api.delay_watch(Duration::from_millis([0, 5, 100, 1500][rng.usize(0..4)]));
    world.api.duplicate_events(rng.bool());
    let _binder = world.binder();
    let _attach_detach = attach_detach::start(&world.api, Duration::from_millis(5));
    let running = layout.start(world);
    for _ in 0..EVENTS {
        sleep(Duration::from_millis(rng.u64(0..1500))).await;
        happen(world, &running, range, &mut rng);
    }
    world.driver.be_honest();
    sleep(QUIET).await;
    judge(world, &running)?;
    let before = sent(world).len();
    sleep(QUIET).await;
    match sent(world).split_off(before).as_slice() {
        [] => Ok(()),
        more => Err(format!("something is still sent: {more:?}")),
    }
}

/// What was called and written, but for leases.
fn sent(world: &World) -> Vec<String> {
    let calls = world.driver.calls().into_iter().map(|call| call.text);
    let requests = world.api.requests();
    let writes = requests
        .iter()
        .filter(|request: &&Request| request.is_write() && request.resource != "leases")
        .filter(|request| ["both", "provisioner", "attacher"].iter().any(|who| request.who.starts_with(who)))
        .map(|request| format!("{}: {} {} {}", request.who, request.verb, request.resource, request.name));
    calls.chain(writes).collect()
}

const CRASHES: Range = Range { crashes: true };
const FAULTS: Range = Range { crashes: false };

#[test]
fn lives_on_one_host_end_as_pods_and_claims_say() {
    live_all(Layout::OneHost, CRASHES);
    live_all(Layout::OneHost, FAULTS);
}

#[test]
fn lives_of_two_processes_end_as_pods_and_claims_say() {
    live_all(Layout::TwoProcesses, CRASHES);
    live_all(Layout::TwoProcesses, FAULTS);
}

#[test]
fn lives_with_a_standby_each_end_as_pods_and_claims_say() {
    live_all(Layout::Standby, CRASHES);
}

//! What users, faults and crashes do to the world, one thing at a time and at random.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use sim::objects::{claim, with};
use sim::{Fault, Outage, Reply, Running, Step, World};
use tonic::Code;

/// How many claims, and pods for each, there may be.
const CLAIMS: u64 = 4;
const NODES: u64 = 2;

/// What may happen in a life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    /// Whether processes are killed and lose their leases. A claim is then deleted only once it is bound: see "What is
    /// not covered" in RELIABILITY.md.
    pub(crate) crashes: bool,
}

/// The name of claim `number`. Those with an odd one may be on several nodes at once.
fn name(number: u64) -> String {
    format!("claim{number}")
}

fn pod_name(number: u64, node: u64) -> String {
    format!("pod{number}-{node}")
}

fn wants_many(number: u64) -> bool {
    number % 2 == 1
}

/// The next event.
pub(crate) fn happen(world: &World, running: &[Running], range: Range, rng: &mut Rng) {
    let (number, node) = (rng.u64(0..CLAIMS), rng.u64(0..NODES));
    match rng.u64(0..20) {
        0..=3 => make_claim(world, number),
        4..=8 => make_pod(world, number, node),
        9..=11 => drop(world.api.delete("pods", &pod_name(number, node))),
        12 | 13 => delete_claim(world, number, range),
        14 | 15 => fail(world, range, rng),
        16 | 17 => answer(world, rng),
        18 if range.crashes => running[rng.usize(0..running.len())].kill(),
        19 if range.crashes && rng.u8(0..3) == 0 => {
            let how = if rng.bool() { Outage::Refused } else { Outage::Hanging };
            world.api.outage(how, Duration::from_millis(rng.u64(200..25_000)));
        }
        _ => drop(world.driver.restart()),
    }
}

fn make_claim(world: &World, number: u64) {
    if world.api.get("persistentvolumeclaims", &name(number)).is_none() {
        let mode = if wants_many(number) { "ReadWriteMany" } else { "ReadWriteOnce" };
        world.api.put(with(claim(&name(number)), json!({"spec": {"accessModes": [mode]}})));
    }
}

/// A pod that uses claim `number` on `node`. A claim for one node has one pod at a time.
fn make_pod(world: &World, number: u64, node: u64) {
    let usable = world
        .api
        .get("persistentvolumeclaims", &name(number))
        .is_some_and(|claim| claim["metadata"]["deletionTimestamp"].is_null());
    let there = |node: u64| world.api.get("pods", &pod_name(number, node)).is_some();
    let taken = if wants_many(number) { there(node) } else { (0..NODES).any(there) };
    if usable && !taken {
        world.api.put(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod_name(number, node), "namespace": "default"},
            "spec": {
                "nodeName": format!("node{node}"),
                "containers": [{"name": "main", "image": "i"}],
                "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": name(number)}}],
            },
        }));
    }
}

fn delete_claim(world: &World, number: u64, range: Range) {
    let known = world.api.get("persistentvolumeclaims", &name(number));
    let may = |claim: &Value| !range.crashes || claim["status"]["phase"] == "Bound";
    if known.as_ref().is_some_and(may) {
        world.api.delete("persistentvolumeclaims", &name(number));
    }
}

/// One or two of the next steps that change something go wrong.
fn fail(world: &World, range: Range, rng: &mut Rng) {
    let mut faults = vec![
        Fault::LoseReply,
        Fault::ApiError(500),
        Fault::ApiError(429),
        Fault::Conflict,
        Fault::Delay(Duration::from_secs(3)),
        Fault::LateReply(Duration::from_secs(2)),
        Fault::BreakWatches,
        Fault::RestartDriver,
        Fault::Rpc(Code::Unavailable),
        Fault::Rpc(Code::Internal),
        Fault::Rpc(Code::Aborted),
    ];
    if range.crashes {
        faults.extend([Fault::CrashBefore, Fault::CrashAfter, Fault::CrashBefore, Fault::CrashAfter]);
    }
    let fault = faults[rng.usize(0..faults.len())].clone();
    let changes = |step: &Step| match step {
        Step::Rpc { method } => method != "Probe",
        Step::Api { verb, resource, .. } => {
            matches!(verb.as_str(), "patch" | "create" | "update" | "delete") && resource != "events"
        }
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
        Reply::error(Code::ResourceExhausted, "full"),
        Reply::Ok.after(Duration::from_secs(4)),
        Reply::Ok.after(Duration::from_secs(1)),
    ];
    let calls = ["CreateVolume", "DeleteVolume", "ControllerPublishVolume", "ControllerUnpublishVolume"];
    let call = calls[rng.usize(0..calls.len())];
    world.driver.script(call, [replies[rng.usize(0..replies.len())].clone()]);
}

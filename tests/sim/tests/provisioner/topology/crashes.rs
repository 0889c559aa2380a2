//! Crash anywhere in a late-binding life, with nodes that fill up or vanish.

use sim::crash::{self, Scenario};
use sim::objects::claim;
use sim::{Fault, Reply};
use tokio::time::sleep;
use tonic::Code;

use super::*;
use crate::harness::{PROVISIONER, bound, no_volumes};

async fn sidecar(world: World) {
    use base::leadership::Leadership;
    use tokio_util::sync::CancellationToken;
    PROVISIONER.live(world, placed(), Leadership::always(), CancellationToken::new()).await;
}

fn nothing_leaked(world: &World) -> Result<(), String> {
    let left = world.driver.volumes();
    if left.is_empty() { Ok(()) } else { Err(format!("leaked: {left:?}")) }
}

fn begin(world: &World) {
    for number in 1..=3 {
        put_node(world, &format!("node-{number}"), &format!("z{number}"), &["zone"]);
    }
    world.api.put(late());
}

/// The first node's zone is full, the second one's is not.
fn rescheduled() -> Scenario {
    Scenario::new(sidecar, |world: World| async move {
        let _binder = world.binder();
        set_room(&world, "z1", 1);
        let _scheduler = Scheduler::start(&world, &["node-1", "node-2"]);
        world.api.put(claim("data"));
        bound(&world, "data").await;
        let volume = &world.api.list("persistentvolumes")[0];
        let term = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
        assert_eq!(term["values"], json!(["z2"]));
        world.api.delete("persistentvolumeclaims", "data");
        no_volumes(&world).await;
        sleep(Duration::from_secs(60)).await;
    })
    .prepare(begin)
    .check(nothing_leaked)
}

/// The selected node vanishes while its volume is made: the volume goes with the claim, whoever made it.
fn node_vanishes() -> Scenario {
    Scenario::new(sidecar, |world: World| async move {
        let _binder = world.binder();
        let _scheduler = Scheduler::start(&world, &["node-1", "node-2"]);
        world.driver.script("CreateVolume", [Reply::ErrorAfter(Code::DeadlineExceeded, "slow".to_owned())]);
        world.api.put(claim("data"));
        sleep(Duration::from_millis(300)).await;
        world.api.delete("csinodes", "node-1");
        world.api.delete("nodes", "node-1");
        bound(&world, "data").await;
        assert_eq!(world.driver.volumes().len(), 1);
        world.api.delete("persistentvolumeclaims", "data");
        no_volumes(&world).await;
        sleep(Duration::from_secs(60)).await;
    })
    .prepare(begin)
    .check(nothing_leaked)
}

#[test]
fn crash_anywhere_while_a_claim_is_rescheduled_leaves_nothing() {
    let report = crash::everywhere(&rescheduled());
    assert!(
        report.steps.iter().any(|step| step.is("update", "persistentvolumeclaims")),
        "{:?}",
        report.steps
    );
    assert!(report.fired >= 2 * report.steps.len());
}

#[test]
fn crash_anywhere_while_the_node_vanishes_leaves_nothing() {
    let report = crash::everywhere(&node_vanishes());
    assert!(report.fired >= 2 * report.steps.len());
}

#[test]
fn any_fault_while_a_claim_is_rescheduled_is_survived() {
    let faults = [
        Fault::LoseReply,
        Fault::ApiError(500),
        Fault::ApiError(429),
        Fault::Conflict,
        Fault::Rpc(Code::Unavailable),
        Fault::Delay(Duration::from_secs(30)),
        Fault::BreakWatches,
    ];
    crash::at_each_step(&rescheduled(), &faults);
}

#[test]
fn two_faults_in_a_late_binding_life_leave_nothing() {
    crash::in_pairs(&rescheduled(), 60);
    crash::in_pairs(&node_vanishes(), 60);
}

//! TestProvisionErrorHandling: 16 codes, with and without topology, with and without a selected node.
//!
//! The state that an answer leaves shows once the claim is deleted: only a volume that may still be in the making is asked for
//! again. A claim that goes back to the scheduler loses its selected node.

use std::time::Duration;

use serde_json::json;
use sim::objects::{class, with};
use sim::{Reply, Sidecar, World};
use tonic::Code;

use crate::harness::{PROVISIONER, calls, events, waiting, writes};
use crate::topology::{PLACED, SELECTED, late, selection};

/// What is seen afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Finished,
    InBackground,
    Reschedule,
}

fn expected(code: Code, topology: bool, node: bool) -> State {
    match code {
        Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable | Code::Aborted => State::InBackground,
        Code::ResourceExhausted if topology && node => State::Reschedule,
        _ => State::Finished,
    }
}

fn claim(node: bool) -> serde_json::Value {
    let annotations = if node { json!({SELECTED: "node-1"}) } else { json!({}) };
    with(waiting("data"), json!({"metadata": {"annotations": annotations}}))
}

#[tokio::test(start_paused = true)]
async fn each_code_leaves_upstream_s_state() {
    let mut rows = 0;
    for code in (1..=16).map(Code::from) {
        for (topology, node) in [(false, false), (false, true), (true, false), (true, true)] {
            let row = format!("{code:?}, topology {topology}, node selected {node}");
            let sidecar: &'static Sidecar<_> = if topology { &PLACED } else { &PROVISIONER };
            let world: World = (sidecar.world)();
            world.api.put(if node { late() } else { class() });
            world.api.put(claim(node));
            world.driver.script("CreateVolume", [Reply::error(code, "said")]);
            let running = sidecar.run(&world, |_| {});
            // After the answer, and before the next try.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let first = format!("CreateVolume Some({code:?})");
            assert_eq!(calls(&world), [first], "{row}");
            let lost_its_node = node && selection(&world, "data").is_none();
            let told = events(&world).iter().any(|event| {
                event.starts_with("ProvisioningFailed: ")
                    && event.ends_with(&format!("code = {} desc = said", csi::code_name(code)))
            });
            assert!(told, "{row}: {:?}", events(&world));
            // Nothing protects it: it goes at once.
            world
                .api
                .edit("persistentvolumeclaims", "data", |claim| claim["metadata"]["finalizers"] = json!([]));
            world.api.delete("persistentvolumeclaims", "data");
            tokio::time::sleep(Duration::from_secs(600)).await;
            let asked_again = calls(&world).len() > 1;
            let state = match (lost_its_node, asked_again) {
                (true, false) => State::Reschedule,
                (false, true) => State::InBackground,
                (false, false) => State::Finished,
                (true, true) => panic!("{row}: rescheduled and asked again: {:?}", calls(&world)),
            };
            assert_eq!(state, expected(code, topology, node), "{row}");
            let written: &[&str] = match state {
                State::Finished => &[],
                State::InBackground => &["create persistentvolumes 201"],
                State::Reschedule => &["update persistentvolumeclaims 200"],
            };
            assert_eq!(writes(&world), written, "{row}");
            running.stop();
            rows += 1;
        }
    }
    assert_eq!(rows, 64);
}

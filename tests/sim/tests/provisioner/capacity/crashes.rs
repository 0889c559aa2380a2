//! Crash anywhere, lose any reply: the objects end as if nothing had happened.

use base::leadership::Leadership;
use sim::Fault;
use sim::crash::{self, Scenario};
use sim::objects::claim;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::*;
use crate::harness::bound;
use crate::topology::{Scheduler, late, set_room};

async fn sidecar(world: World) {
    PUBLISHING.live(world, publishing(), Leadership::always(), CancellationToken::new()).await;
}

/// A volume is made, and a segment comes and another goes.
fn life() -> Scenario {
    let mut settings = Settings::default();
    settings.controller.push(Rpc::GetCapacity);
    Scenario::new(sidecar, |world: World| async move {
        let _binder = world.binder();
        let _scheduler = Scheduler::start(&world, &["node-2"]);
        world.api.put(claim("data"));
        bound(&world, "data").await;
        put_node(&world, "node-3", "z3", &["zone"]);
        world.api.delete("csinodes", "node-1");
        sleep(3 * POLL).await;
    })
    .driver(settings)
    .prepare(|world| {
        world.api.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "csi"}}));
        put_node(world, "node-1", "z1", &["zone"]);
        put_node(world, "node-2", "z2", &["zone"]);
        for zone in ["z1", "z2", "z3"] {
            set_room(world, zone, 10 << 30);
        }
        world.api.put(late());
    })
    .check(|world| {
        let there = published(world);
        let expected = ["fast [zone=z2] 9Gi -", "fast [zone=z3] 10Gi -"];
        if there == expected { Ok(()) } else { Err(format!("{there:?}")) }
    })
}

#[test]
fn crash_anywhere_leaves_the_right_objects() {
    let report = crash::everywhere(&life());
    assert!(report.steps.iter().any(|step| step.is("create", "csistoragecapacities")));
    assert!(report.steps.iter().any(|step| step.is("delete", "csistoragecapacities")));
}

#[test]
fn any_fault_leaves_the_right_objects() {
    let faults = [
        Fault::LoseReply,
        Fault::ApiError(500),
        Fault::Conflict,
        Fault::Rpc(Code::Unavailable),
        Fault::BreakWatches,
        Fault::RestartDriver,
    ];
    crash::at_each_step(&life(), &faults);
}

//! The harness finds what a crash at the wrong moment breaks, and finds nothing where nothing is broken.

mod toy;

use std::time::Duration;

use serde_json::json;
use sim::crash::{self, Scenario};
use sim::{Fault, World};

const LIMIT: Duration = Duration::from_secs(600);

/// A claim is made, bound, deleted, and its volume goes.
fn life_of_a_claim(fault: toy::Fault) -> Scenario {
    Scenario::new(
        move |world: World| toy::run(world, fault),
        |world: World| async move {
            let _binder = world.binder();
            world.api.put(json!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": { "name": "data" },
                "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
            }));
            let phase = "/status/phase";
            world
                .api
                .until("the claim to be bound", LIMIT, |api| {
                    let claim = api.get("persistentvolumeclaims", "data")?;
                    (claim.pointer(phase)? == "Bound").then_some(())
                })
                .await;
            world.api.delete("persistentvolumeclaims", "data");
            world
                .api
                .until("the volume to go", LIMIT, |api| (api.count("persistentvolumes") == 0).then_some(()))
                .await;
            // Long enough for the process to come back and to look once more.
            tokio::time::sleep(Duration::from_secs(10)).await;
        },
    )
}

#[test]
fn finds_nothing_wrong_with_what_is_right() {
    let report = crash::everywhere(&life_of_a_claim(toy::Fault::None));
    let rpcs = report.steps.iter().filter(|step| step.is_rpc("CreateVolume") || step.is_rpc("DeleteVolume"));
    assert_eq!(rpcs.count(), 2, "{:?}", report.steps);
    assert!(report.steps.len() > 20, "{:?}", report.steps);
    assert!(report.fired >= 2 * report.steps.len(), "every step, before and after: {}", report.fired);
}

#[test]
fn survives_lost_answers_refusals_and_restarts_too() {
    let faults = [
        Fault::LoseReply,
        Fault::ApiError(500),
        Fault::Rpc(tonic::Code::Unavailable),
        Fault::BreakWatches,
        Fault::RestartDriver,
    ];
    crash::at_each_step(&life_of_a_claim(toy::Fault::None), &faults);
}

#[test]
fn fault_that_cannot_happen_at_a_step_does_not_count() {
    let faults = [Fault::ApiError(500), Fault::Conflict, Fault::Rpc(tonic::Code::Unavailable)];
    let report = crash::explore(&life_of_a_claim(toy::Fault::None), &faults);
    let rpcs = report.steps.iter().filter(|step| matches!(step, sim::Step::Rpc { .. })).count();
    assert_eq!(report.fired, rpcs + 2 * (report.steps.len() - rpcs));
}

#[test]
fn finds_a_volume_lost_between_two_deletions() {
    let faults = [Fault::CrashBefore, Fault::CrashAfter];
    let report = crash::explore(&life_of_a_claim(toy::Fault::DeletesObjectFirst), &faults);
    let lost: Vec<&String> =
        report.failures.iter().filter(|text| text.contains("too much: driver's volume")).collect();
    assert!(!lost.is_empty(), "{:?}", report.failures);
    assert!(lost.iter().all(|text| !text.contains("CreateVolume")), "only deletions lose it: {lost:?}");
    assert!(
        lost.iter().any(|text| text.starts_with("CrashBefore") && text.contains("(DeleteVolume)")),
        "{lost:?}"
    );
}

#[test]
fn finds_a_volume_made_twice() {
    let report = crash::explore(&life_of_a_claim(toy::Fault::NamesAttempts), &[Fault::CrashAfter]);
    let doubled =
        report.failures.iter().any(|text| text.starts_with("CrashAfter") && text.contains("(CreateVolume)"));
    assert!(doubled, "{:?}", report.failures);
}

#[test]
#[should_panic(expected = "the undisturbed run failed: waited 600 s for the claim to be bound")]
fn says_when_the_scenario_itself_does_not_work() {
    let scenario = life_of_a_claim(toy::Fault::None).prepare(|world| world.driver.stop());
    crash::everywhere(&scenario);
}

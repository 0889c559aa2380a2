//! Two faults in one run: the world still ends as if nothing had happened.

use std::time::Duration;

use sim::Fault;
use sim::crash::{Scenario, in_pairs};
use tonic::Code;

use crate::crashes::{birth, deleted_while_held, life};

/// Pairs in each life.
const PAIRS: u64 = 60;
const FAULTS: [Fault; 11] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::LoseReply,
    Fault::ApiError(500),
    Fault::ApiError(429),
    Fault::Conflict,
    Fault::Rpc(Code::Unavailable),
    Fault::Rpc(Code::Internal),
    Fault::Delay(Duration::from_secs(30)),
    Fault::BreakWatches,
    Fault::RestartDriver,
];

fn survives(scenario: &Scenario) {
    let report = in_pairs(scenario, &FAULTS, PAIRS);
    assert!(4 * report.both >= 3 * report.runs, "too few runs had both their faults: {report:?}");
}

#[test]
fn two_faults_while_provisioning_leave_one_volume_and_object() {
    survives(&birth());
}

#[test]
fn two_faults_in_a_claim_s_life_leave_nothing() {
    survives(&life());
}

#[test]
fn two_faults_with_a_held_claim_deleted_early_leak_none() {
    survives(&deleted_while_held());
}

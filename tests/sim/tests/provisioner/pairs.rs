//! Two faults in one run: the world still ends as if nothing had happened.

use sim::crash::{Scenario, in_pairs};

use crate::crashes::{birth, deleted_early, life};

/// Pairs in each life.
const PAIRS: u64 = 60;

fn survives(scenario: &Scenario) {
    in_pairs(scenario, PAIRS);
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
fn two_faults_with_a_claim_deleted_early_leak_none() {
    survives(&deleted_early());
}

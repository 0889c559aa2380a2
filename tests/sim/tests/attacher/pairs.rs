//! Two faults in one run: the world still ends as if nothing had happened.

use std::time::Duration;

use sim::crash::{Scenario, in_pairs};

use crate::crashes::{attach, contradicted, hasty, held, life, listed, orphan};

/// Pairs in each life.
const PAIRS: u64 = 40;

fn survives(scenario: &Scenario) {
    in_pairs(scenario, PAIRS);
}

#[test]
fn two_faults_in_attaching_end_with_one_publication() {
    survives(&attach());
}

#[test]
fn two_faults_in_an_attachment_s_life_leave_nothing() {
    survives(&life());
}

#[test]
fn two_faults_leave_nothing_of_an_attachment_deleted_at_once() {
    for after in [3, 7, 11] {
        survives(&hasty(Duration::from_millis(after)));
    }
}

#[test]
fn two_faults_leave_a_true_status_under_foreign_finalizers() {
    survives(&held());
}

#[test]
fn two_faults_leave_nothing_after_volume_and_node_are_gone() {
    survives(&orphan());
}

#[test]
fn two_faults_in_a_comparison_end_as_attachments_say() {
    survives(&contradicted());
    // The attachment has lost our finalizer, so nothing leads back to it once its volume is withdrawn. The error of a call
    // before that stays in its status when we die in between.
    survives(&listed().leave_out("/status/detachError"));
}

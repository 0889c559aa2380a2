//! Two faults in one run: the world still ends as if nothing had happened.

use std::time::Duration;

use sim::crash::in_pairs;

use crate::crashes::{changing, growth, modification, node};

/// Pairs in each life.
const PAIRS: u64 = 40;

#[test]
fn two_faults_in_a_growth_end_with_its_size() {
    in_pairs(&growth(), PAIRS);
    in_pairs(&node(), PAIRS);
}

#[test]
fn two_faults_while_the_size_goes_down_and_up() {
    in_pairs(&changing(Duration::from_millis(5)), PAIRS);
}

#[test]
fn two_faults_in_a_modification_end_with_its_class() {
    in_pairs(&modification(Duration::from_millis(7)), PAIRS);
}

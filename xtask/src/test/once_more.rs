//! A test of a `tests` folder that failed is run once more, by itself.
//!
//! A control plane, a node and other people's programs share two loaded cores in most of them, and one late answer in forty
//! minutes must not hide what the other tests say. Nothing is hidden by it either: the first failure is shown with its panic at the
//! end, as `passed only when run again`. Who finds one there mends it.

use std::collections::BTreeSet;
use std::process::Command;

use super::output::Tally;

/// More failures than these are no accident.
const AT_MOST: usize = 3;
/// The tests among which those to run again are looked for. With the whole workspace nothing is compiled anew.
const AMONG: [&str; 4] = ["test", "--workspace", "--test", "*"];

/// The tests to run again: none if a binary died or more than [`AT_MOST`] failed.
pub(super) fn candidates(first: &Tally) -> &[String] {
    if first.died.is_empty() && first.failures.len() <= AT_MOST { &first.failures } else { &[] }
}

/// Makes `command` run these tests alone.
pub(super) fn of(command: &mut Command, names: &[String]) {
    command.args(AMONG);
    command.args(["--no-fail-fast", "--", "--show-output", "--exact"]).args(names);
}

/// Moves what passed the second time from the failures; the names of these.
pub(super) fn settle(first: &mut Tally, second: &Tally) -> Vec<String> {
    let failed_again: BTreeSet<&String> = second.failures.iter().collect();
    let passed = |name: &String| second.passes.contains(name) && !failed_again.contains(name);
    let (passed, failed): (Vec<_>, Vec<_>) =
        std::mem::take(&mut first.failures).into_iter().partition(passed);
    first.failures = failed;
    let count = u64::try_from(passed.len()).unwrap_or_default();
    first.failed = first.failed.saturating_sub(count);
    first.passed += count;
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(failures: &[&str], passes: &[&str]) -> Tally {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let failed = u64::try_from(failures.len()).expect("few");
        let mut tally = Tally::default();
        (tally.passed, tally.failed) = (10, failed);
        (tally.failures, tally.passes) = (owned(failures), owned(passes).into_iter().collect());
        tally
    }

    #[test]
    fn what_passes_when_run_again_is_named_and_counted() {
        let mut first = tally(&["a", "b", "c"], &[]);
        let passed = settle(&mut first, &tally(&["b", "c"], &["a", "c"]));
        assert_eq!(passed, ["a"]);
        assert_eq!((first.passed, first.failed), (11, 2));
        assert_eq!(first.failures, ["b", "c"]);
    }

    #[test]
    fn test_that_is_not_found_again_stays_failed() {
        let mut first = tally(&["unit"], &[]);
        assert!(settle(&mut first, &tally(&[], &[])).is_empty());
        assert_eq!((first.passed, first.failed), (10, 1));
    }

    #[test]
    fn many_failures_or_a_dead_binary_are_no_accident() {
        assert_eq!(candidates(&tally(&["a", "b", "c"], &[])).len(), 3);
        assert!(candidates(&tally(&["a", "b", "c", "d"], &[])).is_empty());
        let mut dead = tally(&["a"], &[]);
        dead.died.push("one".to_owned());
        assert!(candidates(&dead).is_empty());
    }
}

//! Reads what `cargo test -- --show-output` prints.

use std::collections::{BTreeMap, BTreeSet};

/// What the test binaries said so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Names of tests that failed.
    pub(crate) failures: Vec<String>,
    /// What tests left out, by the reason and the remedy that they name (`skipped: WHAT: WHY` in their output, or the
    /// reason of an ignored test).
    pub(crate) skipped: BTreeMap<String, BTreeSet<String>>,
    /// Inside the output of tests that passed.
    in_successes: bool,
    /// How many tests each binary that runs has, the outermost first.
    running: Vec<u64>,
}

impl Tally {
    /// Takes one line of output; whether to show it.
    pub(crate) fn read(&mut self, line: &str) -> bool {
        if let Some(rest) = line.strip_prefix("running ")
            && let Some(count) = rest.strip_suffix(" tests").or_else(|| rest.strip_suffix(" test"))
        {
            self.running.extend(count.parse::<u64>());
        }
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.in_successes = false;
            self.add(rest);
            return true;
        }
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ => self.read_test(line),
        }
        !self.in_successes
    }

    /// Adds a binary's result, unless a test of another binary ran it: that test is counted itself.
    fn add(&mut self, result: &str) {
        let [passed, failed, ignored] =
            [" passed", " failed", " ignored"].map(|word| number_before(result, word));
        // One that died has no result and is still on the stack, above the one that this result is of.
        while let Some(count) = self.running.pop() {
            if count == passed + failed + ignored {
                break;
            }
        }
        if self.running.is_empty() {
            self.passed += passed;
            self.failed += failed;
        }
    }

    fn read_test(&mut self, line: &str) {
        if let Some(said) = line.trim_start().strip_prefix("skipped: ") {
            let (what, why) = said.split_once(": ").unwrap_or((said, "no reason was given"));
            self.skip(what, why);
        }
        if self.in_successes {
            return;
        }
        let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        else {
            return;
        };
        if result.starts_with("FAILED") {
            self.failures.push(name.to_owned());
        }
        if let Some(why) = result.strip_prefix("ignored, ") {
            self.skip(name, why);
        }
    }

    fn skip(&mut self, what: &str, why: &str) {
        self.skipped.entry(why.to_owned()).or_default().insert(what.to_owned());
    }
}

/// The number that stands before `word`; 0 if there is none.
fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().filter(|before| before.len() < text.len()).unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 3 tests
test a::passes ... ok
test a::fails ... FAILED
test a::waits ... ignored, needs root

successes:

---- a::passes stdout ----
I1121 noise
skipped: a::mounts: needs root
skipped: b
test liar ... FAILED

successes:
    a::passes

failures:

---- a::fails stdout ----
boom

failures:
    a::fails

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s
     Running unittests

running 41 tests

running 1 test
test inner ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.10s

running 7 tests
test result: ok. 41 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s";

    #[test]
    fn sums_over_binaries_but_not_those_inside_tests_and_hides_the_output_of_what_passed() {
        let mut tally = Tally::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| tally.read(line)).collect();
        assert_eq!((tally.passed, tally.failed), (42, 1));
        assert_eq!(tally.failures, ["a::fails"]);
        let set = |whats: &[&str]| whats.iter().map(|what| (*what).to_owned()).collect::<BTreeSet<_>>();
        let skipped = [("needs root", set(&["a::waits", "a::mounts"])), ("no reason was given", set(&["b"]))];
        let expected = skipped.map(|(why, whats)| (why.to_owned(), whats));
        assert_eq!(tally.skipped, BTreeMap::from(expected));
        assert!(shown.contains(&"boom") && shown.contains(&"test a::passes ... ok"));
        assert!(!shown.iter().any(|line| line.contains("noise") || line.contains("liar")), "{shown:?}");
    }
}

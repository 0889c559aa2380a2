//! Reads what `cargo test -- --show-output` prints.

use std::collections::{BTreeMap, BTreeSet};

/// What the test binaries said so far. They run one after another, and what a test shows of another test binary is
/// indented (`conformance::in_own_mounts!`): a line from the margin is of the binary that runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed, and one for each binary that died.
    pub(crate) failed: u64,
    /// Names of tests that failed.
    pub(crate) failures: Vec<String>,
    /// Names of tests that passed.
    pub(crate) passes: BTreeSet<String>,
    /// What the tests that failed said where they panicked: shown again at the end, where a long log ends too.
    pub(crate) panics: Vec<String>,
    /// Binaries that began and never gave a result. What passed in them is not counted.
    pub(crate) died: Vec<String>,
    /// What tests left out, by the reason and the remedy that they name (`skipped: WHAT: WHY` in their output, or the
    /// reason of an ignored test).
    pub(crate) skipped: BTreeMap<String, BTreeSet<String>>,
    /// Inside the output of tests that passed.
    in_successes: bool,
    /// How many of the next lines still belong to a panic.
    of_panic: usize,
    /// The binary that runs.
    running: Option<Running>,
}

/// How many lines of a panic are shown again.
const LINES_OF_PANIC: usize = 15;

/// A binary that has begun and has no result yet.
#[derive(Debug, PartialEq, Eq)]
struct Running {
    tests: u64,
    /// How many of them failed so far.
    failed: u64,
    /// The last test that it named.
    last: Option<String>,
}

impl Tally {
    /// Takes one line of output; whether to show it.
    pub(crate) fn read(&mut self, line: &str) -> bool {
        if let Some(rest) = line.strip_prefix("running ")
            && let Some(count) = rest.strip_suffix(" tests").or_else(|| rest.strip_suffix(" test"))
            && let Ok(tests) = count.parse()
        {
            self.end();
            self.running = Some(Running { tests, failed: 0, last: None });
            return true;
        }
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.in_successes = false;
            self.add(rest);
            return true;
        }
        self.read_panic(line);
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ => self.read_test(line),
        }
        !self.in_successes
    }

    /// No more will be said by the binary that runs: if it gave no result, it died.
    pub(crate) fn end(&mut self) {
        self.in_successes = false;
        let Some(Running { tests, failed, last }) = self.running.take() else { return };
        self.failed += failed + 1;
        let last =
            last.map_or_else(|| "it named none".to_owned(), |last| format!("the last it named is {last}"));
        self.died.push(format!(
            "a test binary died: of its tests ({tests}), {last}; cargo names the binary above"
        ));
    }

    /// Adds a result, if it can be that of the binary that runs.
    fn add(&mut self, result: &str) {
        let [passed, failed, ignored, measured] =
            [" passed", " failed", " ignored", " measured"].map(|word| number_before(result, word));
        if self.running.take_if(|running| running.tests == passed + failed + ignored + measured).is_some() {
            self.passed += passed;
            self.failed += failed;
        }
    }

    fn read_panic(&mut self, line: &str) {
        if self.in_successes || line.trim_start().starts_with("stack backtrace:") {
            self.of_panic = 0;
        } else if line.contains("' panicked at ") || line.contains(") panicked at ") {
            self.of_panic = LINES_OF_PANIC;
        }
        if self.of_panic > 0 {
            self.of_panic -= 1;
            self.panics.push(line.to_owned());
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
        if let Some(running) = &mut self.running {
            running.failed += u64::from(result.starts_with("FAILED"));
            running.last = Some(name.to_owned());
        }
        if result.starts_with("FAILED") {
            self.failures.push(name.to_owned());
        }
        if result == "ok" {
            self.passes.insert(name.to_owned());
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

thread 'a::fails' (7) panicked at a.rs:1:5:
assertion failed: no
stack backtrace:
   0: noise

failures:
    a::fails

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s
     Running unittests

running 41 tests

successes:

---- mounts stdout ----
  running 1 test
  skipped: a::grows: needs a capability
  test mounts ... ok
  test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 40 filtered out; finished in 0.10s

successes:
    mounts

test result: ok. 41 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s";

    fn read(text: &str) -> Tally {
        let mut tally = Tally::default();
        for line in text.lines() {
            tally.read(line);
        }
        tally.end();
        tally
    }

    #[test]
    fn totals_skip_nested_runs_and_hide_output_of_passed_tests() {
        let mut tally = Tally::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| tally.read(line)).collect();
        tally.end();
        assert_eq!((tally.passed, tally.failed), (42, 1));
        assert_eq!(tally.failures, ["a::fails"]);
        assert_eq!(tally.passes, BTreeSet::from(["a::passes".to_owned()]));
        assert_eq!(tally.panics, ["thread 'a::fails' (7) panicked at a.rs:1:5:", "assertion failed: no"]);
        assert_eq!(tally.died, [""; 0]);
        let set = |whats: &[&str]| whats.iter().map(|what| (*what).to_owned()).collect::<BTreeSet<_>>();
        let skipped = [
            ("needs root", set(&["a::waits", "a::mounts"])),
            ("needs a capability", set(&["a::grows"])),
            ("no reason was given", set(&["b"])),
        ];
        let expected = skipped.map(|(why, whats)| (why.to_owned(), whats));
        assert_eq!(tally.skipped, BTreeMap::from(expected));
        assert!(shown.contains(&"boom") && shown.contains(&"test a::passes ... ok"));
        assert!(!shown.iter().any(|line| line.contains("I1121 noise") || line.contains("liar")), "{shown:?}");
    }

    #[test]
    fn a_binary_that_dies_is_a_failure_and_later_results_count() {
        let tally = read(
            "
running 41 tests
test a ... ok
test b ... FAILED
test c ... ok

running 7 tests
test x ... FAILED

test result: FAILED. 6 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out

running 5 tests

test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out

running 2 tests
",
        );
        // b and x, and two deaths.
        assert_eq!((tally.passed, tally.failed), (11, 4));
        assert_eq!(tally.failures, ["b", "x"]);
        let died = |tests: u64, last: &str| {
            format!("a test binary died: of its tests ({tests}), {last}; cargo names the binary above")
        };
        assert_eq!(tally.died, [died(41, "the last it named is c"), died(2, "it named none")]);
    }

    #[test]
    fn output_after_a_binary_died_is_shown() {
        let mut tally = Tally::default();
        let text = "running 2 tests\nsuccesses:\nnoise\nrunning 1 test\ntest x ... FAILED\ntest result: FAILED. 0 passed; 1 failed;";
        let shown: Vec<&str> = text.lines().filter(|line| tally.read(line)).collect();
        tally.end();
        assert!(shown.contains(&"test x ... FAILED") && !shown.contains(&"noise"), "{shown:?}");
        assert_eq!((tally.passed, tally.failed, tally.died.len()), (0, 2, 1));
        assert_eq!(tally.failures, ["x"]);
    }

    #[test]
    fn failure_in_own_mounts_is_counted_once() {
        let tally = read(
            "
running 1 test
test m::t ... FAILED

failures:

---- m::t stdout ----
  running 1 test
  test m::t ... FAILED
  failures:
      m::t
  test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out

failures:
    m::t

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out

running 5 tests

test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        assert_eq!((tally.passed, tally.failed), (5, 1));
        assert_eq!(tally.failures, ["m::t"]);
        assert_eq!(tally.died, [""; 0]);
    }

    #[test]
    fn result_line_inside_test_output_is_not_counted() {
        let tally = read(
            "
running 3 tests

successes:

---- a stdout ----
test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out

test result: ok. 1 passed; 0 failed; 1 ignored; 1 measured; 4 filtered out",
        );
        assert_eq!((tally.passed, tally.failed, tally.died.len()), (1, 0, 0));
    }
}

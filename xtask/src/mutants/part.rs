//! The code that is broken on purpose, and the tests that must notice.

/// A part of the code with its judges.
#[derive(Debug)]
pub(super) struct Part {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// Its files, as globs.
    pub(super) files: &'static [&'static str],
    /// The tests, the quick ones first: what one judge misses, the next one gets.
    pub(super) judges: &'static [Judge],
}

/// Some tests. The package that is broken is tested unless they are in another one.
#[derive(Debug)]
pub(super) struct Judge {
    /// What `cargo test` is given beside the package that is broken. cargo-mutants always names that one, so a judge in another
    /// package names its own package and its test programs here.
    pub(super) arguments: &'static [&'static str],
}

impl Judge {
    /// What `cargo test` is given when it builds and when it tests: `--lib` builds nothing but the unit tests, which is most
    /// of the time that a mutant takes.
    pub(super) fn when_building(&self) -> Option<&'static str> {
        self.arguments.first().copied().filter(|first| *first == LIB)
    }

    /// What `cargo test` is given only when it tests.
    pub(super) fn when_testing(&self) -> &'static [&'static str] {
        self.arguments.strip_prefix(&[LIB]).unwrap_or(self.arguments)
    }

    /// How many seconds its tests may take. Those of another package are built in that time too. A few unit tests take less
    /// than a second, and a mutant that never ends takes all of it.
    pub(super) fn patience(&self) -> u32 {
        match self.when_building() {
            None => 600,
            Some(_) if self.when_testing().is_empty() => 90,
            Some(_) => 20,
        }
    }
}

/// Only the unit tests.
const LIB: &str = "--lib";

/// The unit tests of the package that is broken.
const UNIT: Judge = judge(&[LIB]);

const fn judge(arguments: &'static [&'static str]) -> Judge {
    Judge { arguments }
}

/// Every part, the one that matters most first.
pub(super) const PARTS: &[Part] = &[
    Part { name: "lease", files: &["common/kubernetes/src/lease/*.rs"], judges: &[judge(&[LIB, "lease"])] },
    Part {
        name: "queue",
        files: &["common/base/src/queue/*.rs"],
        judges: &[UNIT, judge(&["--package", "sim", "--test", "attacher"])],
    },
    Part {
        name: "provisioner",
        files: &["provisioner/src/volume/decide.rs", "provisioner/src/claim/eligible.rs"],
        judges: &[UNIT, judge(&["--package", "sim", "--test", "provisioner"])],
    },
    Part {
        name: "attacher",
        files: &["attacher/src/**/decide.rs"],
        judges: &[UNIT, judge(&["--package", "sim", "--test", "attacher"])],
    },
    Part {
        name: "resizer",
        files: &["resizer/src/**/decide.rs", "resizer/src/news.rs", "resizer/src/eligible.rs"],
        judges: &[UNIT, judge(&["--package", "sim", "--test", "resizer"])],
    },
    Part {
        name: "topology",
        files: &["provisioner/src/topology/*.rs"],
        judges: &[judge(&[LIB, "topology"]), UNIT],
    },
    Part {
        name: "migrate",
        files: &["migrate/src/decide.rs", "migrate/src/swap/decide.rs"],
        judges: &[judge(&[LIB, "decide"]), UNIT],
    },
    Part {
        name: "store",
        files: &["common/kubernetes/src/store.rs", "common/kubernetes/src/store/*.rs"],
        judges: &[UNIT, judge(&["--package", "sim", "--test", "provisioner", "--test", "attacher"])],
    },
    Part {
        name: "journal",
        files: &["driver/src/store/journal.rs", "driver/src/store/journal/*.rs"],
        // Its own tests without those that try every fault, which take many seconds; then with them; then all of the driver's.
        judges: &[
            judge(&[LIB, "journal", "--", "--skip", "no_fault_of", "--skip", "at_any_operation"]),
            judge(&[LIB, "journal"]),
            UNIT,
        ],
    },
    Part {
        name: "mount",
        files: &["driver/src/mount.rs", "driver/src/mount/*.rs"],
        // Most of them need root: without, they are left out, and everything survives.
        judges: &[judge(&[LIB, "mount::"]), judge(&["--package", "conformance", "--test", "behaviour"])],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_of_unit_tests_builds_only_those() {
        assert_eq!((UNIT.when_building(), UNIT.when_testing()), (Some("--lib"), &[][..]));
        let some = judge(&[LIB, "lease"]);
        assert_eq!((some.when_building(), some.when_testing()), (Some("--lib"), &["lease"][..]));
        let elsewhere = judge(&["--package", "sim", "--test", "resizer"]);
        assert_eq!((elsewhere.when_building(), elsewhere.when_testing()), (None, elsewhere.arguments));
        assert!(some.patience() < UNIT.patience() && UNIT.patience() < elsewhere.patience());
    }
}

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
    /// How many seconds its tests may take. Those of another package are built in that time too.
    pub(super) fn patience(&self) -> u32 {
        if self.arguments.contains(&"--package") { 600 } else { 90 }
    }
}

/// The unit tests of the package that is broken.
const UNIT: Judge = Judge { arguments: &["--lib"] };

const fn judge(arguments: &'static [&'static str]) -> Judge {
    Judge { arguments }
}

/// Every part, the one that matters most first.
pub(super) const PARTS: &[Part] = &[
    Part {
        name: "lease",
        files: &["common/kubernetes/src/lease/*.rs"],
        judges: &[judge(&["--lib", "lease"])],
    },
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
        name: "store",
        files: &["common/kubernetes/src/store.rs", "common/kubernetes/src/store/*.rs"],
        judges: &[UNIT, judge(&["--package", "sim", "--test", "provisioner", "--test", "attacher"])],
    },
    Part {
        name: "journal",
        files: &["driver/src/store/journal.rs", "driver/src/store/journal/*.rs"],
        // Its own tests, then those that cut the power and crash the driver's store.
        judges: &[judge(&["--lib", "journal"]), UNIT],
    },
    Part {
        name: "mount",
        files: &["driver/src/mount.rs", "driver/src/mount/*.rs"],
        judges: &[judge(&["--lib", "mount"]), judge(&["--package", "conformance", "--test", "behaviour"])],
    },
];

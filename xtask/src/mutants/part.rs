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

/// Tests of a package.
#[derive(Debug)]
pub(super) struct Judge {
    /// The package.
    pub(super) package: &'static str,
    /// What `cargo test` is given beside the package.
    pub(super) arguments: &'static [&'static str],
}

const fn unit(package: &'static str) -> Judge {
    Judge { package, arguments: &["--lib"] }
}

const fn sim(arguments: &'static [&'static str]) -> Judge {
    Judge { package: "sim", arguments }
}

/// Every part, the one that matters most first.
pub(super) const PARTS: &[Part] = &[
    Part {
        name: "lease",
        files: &["common/kubernetes/src/lease/*.rs"],
        judges: &[unit("kubernetes"), sim(&["--test", "provisioner", "leadership"])],
    },
    Part {
        name: "queue",
        files: &["common/base/src/queue/*.rs"],
        judges: &[unit("base"), sim(&["--test", "attacher"])],
    },
    Part {
        name: "provisioner",
        files: &["provisioner/src/volume/decide.rs"],
        judges: &[unit("provisioner"), sim(&["--test", "provisioner"])],
    },
    Part {
        name: "attacher",
        files: &["attacher/src/**/decide.rs"],
        judges: &[unit("attacher"), sim(&["--test", "attacher"])],
    },
    Part {
        name: "resizer",
        files: &["resizer/src/**/decide.rs", "resizer/src/news.rs", "resizer/src/eligible.rs"],
        judges: &[unit("resizer"), sim(&["--test", "resizer"])],
    },
    Part {
        name: "store",
        files: &["common/kubernetes/src/store.rs", "common/kubernetes/src/store/*.rs"],
        judges: &[unit("kubernetes"), sim(&["--test", "provisioner", "--test", "attacher"])],
    },
    Part {
        name: "journal",
        files: &["driver/src/store/journal.rs", "driver/src/store/journal/*.rs"],
        judges: &[unit("driver")],
    },
    Part {
        name: "mount",
        files: &["driver/src/mount.rs", "driver/src/mount/*.rs"],
        judges: &[unit("driver"), Judge { package: "conformance", arguments: &["--test", "behaviour"] }],
    },
];

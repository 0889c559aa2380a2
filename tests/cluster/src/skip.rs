//! What a test leaves out where it may not do all it is for: said in one form, and nowhere left out silently.
//!
//! `cargo xtask test` collects what is said here. When it runs as root, as CI does, it sets [`NOTHING`]: then a test that
//! would be left out for want of root's rights fails instead.

/// Set (to anything) where no test may be left out for want of root's rights.
pub const NOTHING: &str = "MOORING_SKIP_NOTHING";

/// What the test process lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Root, with the right to mount.
    Root,
    /// This capability, which root of a container may well be without: there the rest of the test must do.
    Capability(&'static str),
    /// This program.
    Tool(&'static str),
    /// Some of these Debian packages.
    Packages(&'static [&'static str]),
}

impl std::fmt::Display for Lack {
    /// What is missing, and what to do about it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.why(), self.how())
    }
}

impl Lack {
    fn why(self) -> String {
        match self {
            Self::Root => "needs root with the right to mount".to_owned(),
            Self::Capability(name) => format!("needs the capability {name}"),
            Self::Tool(name) => format!("needs the program {name}"),
            Self::Packages(names) => format!("needs the packages {}", names.join(", ")),
        }
    }

    fn how(self) -> &'static str {
        match self {
            Self::Root => "run the tests as root; in a container, as a privileged one",
            Self::Capability(_) => "run the tests as root outside of a container",
            Self::Tool(_) => "install it",
            Self::Packages(_) => "install them (apt-get install --no-install-recommends)",
        }
    }

    /// Whether a test may be left out for this where [`NOTHING`] is set.
    fn is_always_excused(self) -> bool {
        match self {
            Self::Root => false,
            Self::Capability(_) | Self::Tool(_) | Self::Packages(_) => true,
        }
    }
}

/// Says that a test, or this part of it, is left out.
///
/// # Panics
/// When it may not be: see [`NOTHING`].
#[allow(clippy::panic)]
pub fn left_out(what: &str, lack: Lack) {
    let line = format!("{what}: {lack}");
    if std::env::var_os(NOTHING).is_some() && !lack.is_always_excused() {
        panic!("this may not be left out while {NOTHING} is set: {line}");
    }
    // To standard output: a test that runs in a process of its own is heard there too.
    println!("skipped: {line}");
}

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
    /// What static executables are built with.
    Musl,
    /// A machine on which a kubelet and containerd start: control groups, kernel, or a container around us are in the way.
    Node,
}

/// Set (to anything) where a real node has to start: then a test fails that would be left out because it does not.
pub const NEEDS_NODE: &str = "MOORING_NEEDS_NODE";

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
            Self::Musl => "needs Rust's musl target and musl-gcc".to_owned(),
            Self::Node => {
                "needs a machine on which kubelet and containerd start (above is why they did not)".to_owned()
            }
        }
    }

    fn how(self) -> &'static str {
        match self {
            Self::Root => "run the tests as root; in a container, as a privileged one",
            Self::Capability(_) => "run the tests as root outside of a container",
            Self::Tool(_) => "install it",
            Self::Packages(_) => "install them (apt-get install --no-install-recommends)",
            Self::Musl => "rustup target add, and apt-get install musl-tools",
            Self::Node => {
                "run the tests as root of a virtual machine, and set MOORING_NEEDS_NODE to have it fail instead"
            }
        }
    }

    /// Whether a test may be left out for this where [`NOTHING`] is set.
    fn is_always_excused(self) -> bool {
        match self {
            Self::Root => false,
            Self::Capability(_) | Self::Tool(_) | Self::Packages(_) | Self::Musl => true,
            Self::Node => std::env::var_os(NEEDS_NODE).is_none(),
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
    let needed = std::env::var_os(NOTHING).is_some() || lack == Lack::Node;
    if needed && !lack.is_always_excused() {
        panic!("this may not be left out while {NOTHING} or {NEEDS_NODE} is set: {line}");
    }
    // To standard output: a test that runs in a process of its own is heard there too.
    println!("skipped: {line}");
}

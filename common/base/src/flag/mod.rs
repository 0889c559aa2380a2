//! The command line, as the Go sidecars read it.
//!
//! Two dialects ([`Dialect`]): Go's `flag` package (attacher, resizer, ...) and pflag (provisioner).
//! Spelling, value syntax, error texts, usage layout and exit codes follow them. So a manifest written for a
//! Go sidecar starts ours, or fails in the same place for the same reason.
//! Source: docs/upstream/conventions.md, "Command line"; docs/upstream/provisioner.md, "Flags".
//!
//! A sidecar declares its flags with [`flags!`](crate::flags), one line each:
//!
//! ```
//! use std::time::Duration;
//! use base::flag::{Dialect, FeatureGates, FlagGroup, FlagSet, Gate, standard::StandardFlags};
//!
//! base::flags! {
//!     /// The flags of csi-example.
//!     pub struct Flags {
//!         "timeout" timeout: Duration = Duration::from_secs(15), "Longest time one driver call may take.";
//!         "worker-threads" worker_threads: u32 = 10, "How many objects are worked on at once.";
//!     }
//! }
//!
//! const GATES: &[Gate] = &[Gate::alpha("Experiment")];
//!
//! let mut set = FlagSet::new("csi-example", Dialect::Go);
//! set.group::<Flags>().group::<StandardFlags>().feature_gates(GATES);
//! let parsed = match set.parse(["--timeout=1m", "-v", "5"]) {
//!     Ok(parsed) => parsed,
//!     Err(exit) => exit.leave(),
//! };
//! let flags: Flags = parsed.read();
//! let standard: StandardFlags = parsed.read();
//! assert_eq!(flags.timeout, Duration::from_secs(60));
//! assert_eq!(standard.logging.verbosity, 5);
//! assert!(parsed.is_set("timeout") && !parsed.is_set("worker-threads"));
//! assert!(!parsed.gates().is_enabled("Experiment"));
//! ```

pub mod duration;
pub mod gates;
pub mod set;
pub mod standard;
mod usage;
pub mod value;

pub use gates::{FeatureGates, Gate, Stage};
pub use set::{Dialect, FlagSet, Parsed};
pub use value::{Labels, Value, ValueError};

/// A process's end before it began: what to print where, and the exit code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    /// 0 for help and version, 1 for values that do not go together, 2 for a command line that
    /// cannot be read.
    pub code: i32,
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
}

impl Exit {
    /// Exit code 1 with one line on standard error: the values were readable but do not go
    /// together.
    pub fn refuse(line: impl std::fmt::Display) -> Self {
        Self { code: 1, stdout: String::new(), stderr: format!("{line}\n") }
    }

    /// Prints both texts and ends the process with [`Exit::code`].
    pub fn leave(self) -> ! {
        use std::io::Write as _;
        // Nobody is left to tell if printing fails.
        let _ = std::io::stdout().write_all(self.stdout.as_bytes());
        let _ = std::io::stderr().write_all(self.stderr.as_bytes());
        std::process::exit(self.code)
    }
}

/// Some flags that belong together; usually made by [`flags!`](crate::flags).
pub trait FlagGroup: Sized {
    /// Adds the flags to a set.
    fn register(set: &mut FlagSet);
    /// Takes their values from a parsed command line of such a set.
    fn read(parsed: &Parsed) -> Self;
}

/// Declares a struct of flags: one line `"name" field: Type = default, "help";` each.
///
/// The help text is also the field's documentation. The struct implements
/// [`FlagGroup`](crate::flag::FlagGroup). A type is anything that implements
/// [`Value`](crate::flag::Value); `Option<T>` is none unless the flag was given.
#[macro_export]
macro_rules! flags {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $( $flag:literal $field:ident : $ty:ty = $initial:expr, $help:literal; )*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $( #[doc = $help] pub $field: $ty, )*
        }

        impl $crate::flag::FlagGroup for $name {
            fn register(set: &mut $crate::flag::FlagSet) {
                $( set.add::<$ty>($flag, $initial, $help); )*
            }
            fn read(parsed: &$crate::flag::Parsed) -> Self {
                Self { $( $field: parsed.get::<$ty>($flag), )* }
            }
        }
    };
}

#[cfg(test)]
mod tests;

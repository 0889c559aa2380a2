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
mod exit;
mod file;
pub mod gates;
mod section;
pub mod set;
pub mod standard;
mod tls;
mod usage;
pub mod value;

pub use exit::Exit;
pub use gates::{FeatureGates, Gate, Stage};
pub use set::{Dialect, FlagGroup, FlagSet, Parsed};
pub use tls::TlsFlags;
pub use value::{Labels, Value, ValueError};

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

//! Logging as the Go sidecars do it: klog text or component-base JSON, on standard error.
//!
//! Five macros, exported at the crate's root. A value is anything that prints. Numbers and booleans are
//! written as they are, everything else is quoted:
//!
//! ```
//! # let (claim, attempt, cause) = ("default/data", 3, "no space");
//! base::info!("Started"; "workers" => 10);
//! base::v!(5, "GRPC call"; "method" => "/csi.v1.Identity/Probe");
//! base::warn!("Skipped a malformed object"; "object" => claim);
//! base::error!(cause, "Provisioning failed"; "claim" => claim, "attempt" => attempt);
//! ```
//!
//! `-v` and `--vmodule` decide whether a line is written, before any value is formatted. Libraries (kube,
//! hyper, tonic) log through `tracing`. Their errors and warnings are always written, information from `-v=6`
//! and debug lines from `-v=8`. Their traces are never written, as they may contain payloads. Secrets have a
//! type of their own that prints `***stripped***`
//! ([`crate::secret::SecretValue`]), so no line can hold one. Source: docs/upstream/conventions.md,
//! "Logging".
//!
//! Differs: the header's time is UTC whatever `TZ` says. The words of a line are ours, unless people look for upstream's: the
//! header, the keys and `"GRPC call"`, `"GRPC response"` and `"Event occurred"` are as in Go. csi-resizer's "Error syncing PVC" is
//! "Failed to grow a volume" or "Failed to modify a volume" here.

mod foreign;
mod line;
pub mod quote;
mod vmodule;
mod write;

use std::fmt::Display;

pub use line::{AsNumber, AsText, Field, Severity, Shown, Site};
pub use vmodule::VModule;
pub use write::{Format, LogOptions, capture, enabled, write, write_plain};

/// Puts the options into force and takes over the libraries' `tracing` events. The first call in a
/// process wins; later ones change nothing.
pub fn init(options: LogOptions) {
    let verbosity = options.verbosity;
    if write::set(options) {
        // Fails only if somebody else already receives the events, which is then their choice.
        let _ = tracing::subscriber::set_global_default(foreign::Libraries::new(verbosity));
    }
}

/// Logs a start-up failure as an error line and ends the process with exit code 1.
#[track_caller]
pub fn exit(error: impl Display, text: &str) -> ! {
    leave(Severity::Error, error, text, 1)
}

/// Logs a fatal line and ends the process with exit code 255, as klog's Fatal does.
///
/// Differs: without the dump of all stacks, which tells a user nothing.
#[track_caller]
pub fn fatal(error: impl Display, text: &str) -> ! {
    leave(Severity::Fatal, error, text, 255)
}

#[track_caller]
fn leave(severity: Severity, error: impl Display, text: &str, code: i32) -> ! {
    let site = std::panic::Location::caller();
    let site = Site { file: site.file(), line: site.line(), v: 0 };
    write(severity, site, text, &[("err", Shown::Text(&error))]);
    std::process::exit(code)
}

/// Logs an informative line that is always written: `info!("msg"; "key" => value, ...)`.
#[macro_export]
macro_rules! info {
    ($text:expr $(; $($key:literal => $value:expr),* $(,)?)?) => {
        $crate::v!(0, $text $(; $($key => $value),*)?)
    };
}

/// Logs an informative line of a level: `v!(5, "msg"; "key" => value, ...)`.
#[macro_export]
macro_rules! v {
    ($v:expr, $text:expr $(; $($key:literal => $value:expr),* $(,)?)?) => {{
        let v: i32 = $v;
        if $crate::log::enabled(v, file!()) {
            $crate::__line!($crate::log::Severity::Info, v, $text, [$($($key => $value),*)?]);
        }
    }};
}

/// Logs a warning: `warn!("msg"; "key" => value, ...)`.
#[macro_export]
macro_rules! warn {
    ($text:expr $(; $($key:literal => $value:expr),* $(,)?)?) => {
        $crate::__line!($crate::log::Severity::Warning, 0, $text, [$($($key => $value),*)?])
    };
}

/// Logs an error: `error!(cause, "msg"; "key" => value, ...)`. The cause is anything that prints.
#[macro_export]
macro_rules! error {
    ($cause:expr, $text:expr $(; $($key:literal => $value:expr),* $(,)?)?) => {
        $crate::__line!(
            $crate::log::Severity::Error, 0, $text, ["err" => $cause $(, $($key => $value),*)?]
        )
    };
}

/// One line; the other macros end here.
#[doc(hidden)]
#[macro_export]
macro_rules! __line {
    ($severity:expr, $v:expr, $text:expr, [$($key:literal => $value:expr),*]) => {{
        // Numbers are found by method lookup, everything else by the trait one reference away.
        #[allow(unused_imports)]
        use $crate::log::{AsNumber as _, AsText as _};
        $crate::log::write(
            $severity,
            $crate::log::Site { file: file!(), line: line!(), v: $v },
            &$text,
            &[$(($key, (&$crate::log::Field(&$value)).shown())),*],
        )
    }};
}

#[cfg(test)]
mod tests;

//! Whether a line is wanted, and writing it.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use super::line::{self, Severity, Shown, Site};
use super::vmodule::VModule;

/// The form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// klog's `LMMDD hh:mm:ss.uuuuuu PID file:line] "msg" key="value"`.
    #[default]
    Text,
    /// One JSON object a line, as component-base writes it.
    Json,
}

/// What the logging flags say.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Lines of this level and below are written (`-v`).
    pub verbosity: i32,
    /// Other levels for some source files (`--vmodule`).
    pub vmodule: VModule,
    /// `--logging-format`.
    pub format: Format,
}

/// The highest level of any file, so that most calls end after one comparison.
static HIGHEST: AtomicI32 = AtomicI32::new(0);
static OPTIONS: OnceLock<LogOptions> = OnceLock::new();

/// Puts the options into force; false if others are.
pub(super) fn set(options: LogOptions) -> bool {
    let highest = options.vmodule.highest().map_or(options.verbosity, |v| v.max(options.verbosity));
    let first = OPTIONS.set(options).is_ok();
    if first {
        HIGHEST.store(highest, Ordering::Relaxed);
    }
    first
}

/// Whether lines of level `v` from the source file `file` (as `file!()` gives it) are written.
pub fn enabled(v: i32, file: &str) -> bool {
    if v > HIGHEST.load(Ordering::Relaxed) {
        return false;
    }
    match OPTIONS.get() {
        Some(options) => v <= options.vmodule.level(file).unwrap_or(options.verbosity),
        None => v <= 0,
    }
}

/// Writes one line. Used by the macros, which decide first whether it is wanted.
pub fn write(severity: Severity, site: Site, text: &str, fields: &[(&str, Shown<'_>)]) {
    if matches!(severity, Severity::Error | Severity::Warning) {
        let error = fields.iter().find(|(key, _)| *key == "err").map(|(_, value)| value.value());
        crate::noted::note(text, error, severity == Severity::Warning);
    }
    let now = jiff::Timestamp::now();
    emit(&match format() {
        Format::Text => line::text(severity, site, now, text, fields),
        Format::Json => line::json(severity, site, now, text, fields),
    });
}

/// Writes an informative line whose text is not quoted, as klog's `Infof` does, for programs that read the text. It must
/// have no line breaks. The JSON form is a line as any other. The caller decides first whether the line is wanted.
pub fn write_plain(site: Site, text: &str) {
    let now = jiff::Timestamp::now();
    emit(&match format() {
        Format::Text => line::plain(Severity::Info, site, now, text),
        Format::Json => line::json(Severity::Info, site, now, text, &[]),
    });
}

fn format() -> Format {
    OPTIONS.get().map_or(Format::Text, |options| options.format)
}

fn emit(line: &str) {
    let captured = CAPTURE.with_borrow_mut(|capture| match capture {
        Some(lines) => {
            lines.push_str(line);
            true
        }
        None => false,
    });
    if !captured {
        // One write per line keeps lines whole; if standard error is gone, nobody can be told.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

thread_local! {
    static CAPTURE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `body` and gives back what it logged on this thread, instead of writing it: for tests.
pub fn capture(body: impl FnOnce()) -> String {
    let before = CAPTURE.replace(Some(String::new()));
    body();
    CAPTURE.replace(before).unwrap_or_default()
}

//! The two forms of a log line, as pure functions of what is logged.

use std::fmt::{Display, Write as _};

use jiff::Timestamp;
use jiff::tz::Offset;

use super::quote::push_quoted;

/// How bad it is: the header's first letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// `I`
    Info,
    /// `W`
    Warning,
    /// `E`
    Error,
    /// `F`
    Fatal,
}

/// Where and at which level a line was logged.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// The source file, as `file!()` gives it.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
    /// The level of an informative line.
    pub v: i32,
}

impl<'a> Shown<'a> {
    /// The value itself.
    pub(super) fn value(self) -> &'a dyn Display {
        match self {
            Self::Number(value) | Self::Text(value) => value,
        }
    }
}

/// A value on its way into a line.
#[derive(Clone, Copy)]
pub enum Shown<'a> {
    /// Printed bare.
    Number(&'a dyn Display),
    /// Printed quoted.
    Text(&'a dyn Display),
}

/// A borrowed value whose [`Shown`] form is still to be chosen: by [`AsNumber`] for numbers and
/// booleans, else by [`AsText`].
pub struct Field<'a, T: ?Sized>(pub &'a T);

/// Chosen for numbers and booleans.
pub trait AsNumber {
    /// The value, to be printed bare.
    fn shown(&self) -> Shown<'_>;
}

/// Chosen for everything else that prints.
pub trait AsText {
    /// The value, to be printed quoted.
    fn shown(&self) -> Shown<'_>;
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl AsNumber for Field<'_, $ty> {
            fn shown(&self) -> Shown<'_> { Shown::Number(self.0) }
        }
        impl AsNumber for Field<'_, &$ty> {
            fn shown(&self) -> Shown<'_> { Shown::Number(self.0) }
        }
    )*};
}
numbers!(bool i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f32 f64);

impl<T: Display> AsText for &Field<'_, T> {
    fn shown(&self) -> Shown<'_> {
        Shown::Text(self.0)
    }
}

/// klog's text line.
pub(super) fn text(
    severity: Severity,
    site: Site,
    now: Timestamp,
    text: &str,
    fields: &[(&str, Shown<'_>)],
) -> String {
    let mut out = header(severity, site, now);
    push_quoted(&mut out, text);
    for (key, value) in fields {
        out.push(' ');
        out.push_str(key);
        match value {
            Shown::Number(number) => {
                // Writing to a String cannot fail, here and below.
                let _ = write!(out, "={number}");
            }
            Shown::Text(value) => push_text(&mut out, &value.to_string()),
        }
    }
    out.push('\n');
    out
}

/// klog's text line with the text as it is.
pub(super) fn plain(severity: Severity, site: Site, now: Timestamp, text: &str) -> String {
    header(severity, site, now) + text + "\n"
}

/// What each text line begins with.
fn header(severity: Severity, site: Site, now: Timestamp) -> String {
    let letter = match severity {
        Severity::Info => 'I',
        Severity::Warning => 'W',
        Severity::Error => 'E',
        Severity::Fatal => 'F',
    };
    let at = Offset::UTC.to_datetime(now);
    let mut out = String::with_capacity(128);
    let _ = write!(
        out,
        "{letter}{:02}{:02} {:02}:{:02}:{:02}.{:06} {:7} {}:{}] ",
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.subsec_nanosecond() / 1000,
        std::process::id(),
        site.file.rsplit('/').next().unwrap_or(site.file),
        site.line,
    );
    out
}

/// `="value"`, or klog's indented block when the value has several lines.
fn push_text(out: &mut String, value: &str) {
    if !value.contains('\n') {
        out.push('=');
        return push_quoted(out, value);
    }
    out.push_str("=<\n");
    for line in value.strip_suffix('\n').unwrap_or(value).split('\n') {
        out.push('\t');
        out.push_str(line);
        out.push('\n');
    }
    out.push_str(" >");
}

/// component-base's JSON line.
pub(super) fn json(
    severity: Severity,
    site: Site,
    now: Timestamp,
    text: &str,
    fields: &[(&str, Shown<'_>)],
) -> String {
    let mut out = String::with_capacity(160);
    let millis = now.as_microsecond() as f64 / 1000.0;
    let _ = write!(out, "{{\"ts\":{millis},\"caller\":");
    push_json(&mut out, &format!("{}:{}", last_two(site.file), site.line));
    out.push_str(",\"msg\":");
    push_json(&mut out, text);
    if matches!(severity, Severity::Info | Severity::Warning) {
        let _ = write!(out, ",\"v\":{}", site.v);
    }
    for (key, value) in fields {
        out.push(',');
        push_json(&mut out, key);
        out.push(':');
        match value {
            Shown::Number(number) => {
                let number = number.to_string();
                // JSON has no word for infinities and not-a-number.
                match number.as_str() {
                    "inf" | "-inf" | "NaN" => push_json(&mut out, &number),
                    number => out.push_str(number),
                }
            }
            Shown::Text(value) => push_json(&mut out, &value.to_string()),
        }
    }
    out.push_str("}\n");
    out
}

fn push_json(out: &mut String, text: &str) {
    // A string always serialises.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// The last folder and the name of a path.
fn last_two(path: &str) -> &str {
    match path.rmatch_indices('/').nth(1) {
        Some((slash, _)) => path.get(slash + 1..).unwrap_or(path),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site { file: "provisioner/src/claim/apply.rs", line: 42, v: 5 }
    }

    fn now() -> Timestamp {
        "2026-01-02T03:04:05.000678Z".parse().unwrap()
    }

    #[test]
    fn text_line_has_klogs_header_and_quoting() {
        let got = text(
            Severity::Info,
            site(),
            now(),
            "GRPC \"call\"",
            &[("method", Shown::Text(&"/a")), ("n", Shown::Number(&3)), ("ok", Shown::Number(&true))],
        );
        let pid = format!("{:7}", std::process::id());
        let want = format!(
            "I0102 03:04:05.000678 {pid} apply.rs:42] \"GRPC \\\"call\\\"\" method=\"/a\" n=3 ok=true\n"
        );
        assert_eq!(got, want);
    }

    #[test]
    fn a_plain_line_is_not_quoted() {
        let got = plain(Severity::Info, site(), now(), "gRPCCall: {\"a\":1}");
        assert!(got.starts_with("I0102 ") && got.ends_with(" apply.rs:42] gRPCCall: {\"a\":1}\n"), "{got}");
    }

    #[test]
    fn values_of_several_lines_become_a_block() {
        for value in ["one\ntwo", "one\ntwo\n"] {
            let got = text(Severity::Error, site(), now(), "m", &[("err", Shown::Text(&value))]);
            assert!(got.starts_with('E'));
            assert!(got.ends_with("] \"m\" err=<\n\tone\n\ttwo\n >\n"), "{got}");
        }
    }

    #[test]
    fn json_line_has_component_bases_keys() {
        let got = json(Severity::Info, site(), now(), "m", &[("k", Shown::Text(&"a\nb"))]);
        let want = "{\"ts\":1767323045000.678,\"caller\":\"claim/apply.rs:42\",\"msg\":\"m\",\"v\":5,\"k\":\"a\\nb\"}\n";
        assert_eq!(got, want);
        let got = json(
            Severity::Error,
            site(),
            now(),
            "m",
            &[("err", Shown::Text(&"e")), ("n", Shown::Number(&f64::NAN))],
        );
        assert!(got.ends_with(",\"msg\":\"m\",\"err\":\"e\",\"n\":\"NaN\"}\n"), "{got}");
        assert!(serde_json::from_str::<serde_json::Value>(&got).is_ok());
    }
}

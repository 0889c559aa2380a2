//! CSI messages as one line of JSON that may be logged.
//!
//! Rules (docs/upstream/conventions.md, "Redaction"): names as in the protocol file, keys sorted, populated
//! fields only, enum values by name (unknown ones by number), 64-bit numbers as numbers. A field marked
//! `csi_secret` becomes `***stripped***` as a whole, so that not even its keys show. Fields that this version
//! of the protocol does not know are dropped while a message is read, so they are never printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What stands in the place of a credential.
pub const STRIPPED: &str = "***stripped***";

/// A message that can be printed without its credentials. Implemented by the build script for every
/// message of the protocol.
pub trait Redact {
    /// Appends the message as one line of JSON.
    fn redact(&self, out: &mut String);
}

/// The message as one line of JSON, credentials replaced by [`STRIPPED`].
pub fn redacted(message: &impl Redact) -> String {
    let mut out = String::new();
    message.redact(&mut out);
    out
}

impl Redact for prost_types::Timestamp {
    fn redact(&self, out: &mut String) {
        let mut object = Object::new(out);
        object.number("nanos", i64::from(self.nanos));
        object.number("seconds", self.seconds);
        object.end();
    }
}

/// Writes one JSON object; the generated implementations add fields in name order.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn new(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    fn key(&mut self, key: &str) -> &mut String {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        quote(self.out, key);
        self.out.push(':');
        self.out
    }

    pub(crate) fn secret(&mut self, key: &str, populated: bool) {
        if populated {
            quote(self.key(key), STRIPPED);
        }
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            quote(self.key(key), value);
        }
    }

    pub(crate) fn number(&mut self, key: &str, value: i64) {
        if value != 0 {
            write_number(self.key(key), value);
        }
    }

    pub(crate) fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.key(key).push_str("true");
        }
    }

    pub(crate) fn choice(&mut self, key: &str, value: i32, name: Option<&str>) {
        if value != 0 {
            let out = self.key(key);
            match name {
                Some(name) => quote(out, name),
                None => write_number(out, i64::from(value)),
            }
        }
    }

    pub(crate) fn texts(&mut self, key: &str, values: &[String]) {
        self.list(key, values, |out, value| quote(out, value));
    }

    pub(crate) fn messages(&mut self, key: &str, values: &[impl Redact]) {
        self.list(key, values, |out, value| value.redact(out));
    }

    fn list<T>(&mut self, key: &str, values: &[T], write: impl Fn(&mut String, &T)) {
        if values.is_empty() {
            return;
        }
        let out = self.key(key);
        out.push('[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            write(out, value);
        }
        out.push(']');
    }

    pub(crate) fn map(&mut self, key: &str, values: &BTreeMap<String, String>) {
        if values.is_empty() {
            return;
        }
        let mut inner = Object::new(self.key(key));
        for (key, value) in values {
            quote(inner.key(key), value);
        }
        inner.end();
    }

    pub(crate) fn message(&mut self, key: &str, value: Option<&impl Redact>) {
        if let Some(value) = value {
            value.redact(self.key(key));
        }
    }

    /// A `google.protobuf.BoolValue`, which is a message with one field.
    pub(crate) fn wrapped_flag(&mut self, key: &str, value: Option<bool>) {
        if let Some(value) = value {
            let mut inner = Object::new(self.key(key));
            inner.flag("value", value);
            inner.end();
        }
    }

    /// A `google.protobuf.Int64Value`, which is a message with one field.
    pub(crate) fn wrapped_number(&mut self, key: &str, value: Option<i64>) {
        if let Some(value) = value {
            let mut inner = Object::new(self.key(key));
            inner.number("value", value);
            inner.end();
        }
    }

    pub(crate) fn end(self) {
        self.out.push('}');
    }
}

fn write_number(out: &mut String, value: i64) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

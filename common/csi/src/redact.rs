//! CSI messages as one line of JSON that may be logged.
//!
//! Rules (docs/upstream/conventions.md, "Redaction"): names as in the protocol file, keys sorted, populated
//! fields only, enum values by name (unknown ones by number), 64-bit numbers as numbers. A field marked
//! `csi_secret` becomes `***stripped***` as a whole, so that not even its keys show ([`redacted_by_key`] shows them). Fields that this version
//! of the protocol does not know are dropped while a message is read, so they are never printed.
//!
//! Some drivers put credentials into volume contexts, publish contexts and mount flags. The kubelet puts service account
//! tokens into volume contexts. So a log shows all keys, but values only of keys that are known to be harmless.
//!
//! `Differs:` upstream logs contexts and mount flags whole (CVE-2023-2878 is of that kind). Ours hides the values of
//! context keys that are not on the list, vendors' own among them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// The text that replaces a credential.
pub const STRIPPED: &str = "***stripped***";

/// A message that can be printed without its credentials. Implemented by the build script for every
/// message of the protocol.
pub trait Redact {
    /// Appends the message as one line of JSON.
    fn redact(&self, out: &mut Line);
}

/// The message as one line of JSON for a log: whatever may be a credential is replaced by [`STRIPPED`].
pub fn redacted(message: &impl Redact) -> String {
    line(message, Contexts::Harmless, Secrets::Whole)
}

/// As [`redacted`], but a secrets field stays a map: its keys are shown, each value is [`STRIPPED`]. For readers that
/// want a map there, such as the Kubernetes end-to-end tests.
pub fn redacted_by_key(message: &impl Redact) -> String {
    line(message, Contexts::Harmless, Secrets::ByKey)
}

/// The message as one line of JSON for the user who asked for it: contexts and mount flags are shown, tokens are not.
pub fn shown(message: &impl Redact) -> String {
    line(message, Contexts::AllButTokens, Secrets::Whole)
}

fn line(message: &impl Redact, contexts: Contexts, secrets: Secrets) -> String {
    let mut out = Line { text: String::new(), contexts, secrets, found: SecretValues::default() };
    message.redact(&mut out);
    out.text
}

/// The values of secrets. They are not printed.
#[derive(Default)]
pub(crate) struct SecretValues(pub(crate) Vec<String>);

impl fmt::Debug for SecretValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STRIPPED)
    }
}

/// The values of all secrets in a message.
pub(crate) fn secret_values(message: &impl Redact) -> SecretValues {
    let (contexts, secrets) = (Contexts::Harmless, Secrets::Found);
    let mut out = Line { text: String::new(), contexts, secrets, found: SecretValues::default() };
    message.redact(&mut out);
    out.found
}

/// A line that is being written.
#[derive(Debug)]
pub struct Line {
    text: String,
    contexts: Contexts,
    secrets: Secrets,
    /// The values of secrets, for [`Secrets::Found`].
    found: SecretValues,
}

/// How a secrets field is written. Its values never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secrets {
    /// As one placeholder.
    Whole,
    /// As a map of placeholders.
    ByKey,
    /// Not at all: their values are gathered.
    Found,
}

/// Which values of contexts and mount flags are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contexts {
    Harmless,
    AllButTokens,
}

impl Contexts {
    fn shows(self, key: &str) -> bool {
        match self {
            _ if key == TOKENS => false,
            Self::AllButTokens => true,
            Self::Harmless => key.starts_with("csi.storage.k8s.io/") || key == IDENTITY,
        }
    }

    /// One element of the mount flags, which may hold several with commas between them.
    fn shown_flags(self, element: &str) -> String {
        if self == Self::AllButTokens {
            return element.to_owned();
        }
        // An SELinux context may have commas in it, and then there is no telling where it ends.
        let is_alone = !element.contains(',');
        let mut shown = Vec::new();
        let mut is_after_hidden = false;
        for part in element.split(',') {
            shown.push(match part.split_once('=') {
                Some((name, _)) if FLAGS.contains(&name) || is_alone && name == SELINUX => part.to_owned(),
                Some((name, _)) => {
                    is_after_hidden = true;
                    format!("{name}={STRIPPED}")
                }
                // It may be the rest of a value that had a comma in it.
                None if is_after_hidden && !WORDS.contains(&part) => STRIPPED.to_owned(),
                None => part.to_owned(),
            });
        }
        shown.join(",")
    }
}

/// Where the kubelet puts service account tokens.
const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";
/// Where csi-provisioner names itself.
const IDENTITY: &str = "storage.kubernetes.io/csiProvisionerIdentity";
/// The mount flag whose value is harmless and may have commas in it.
const SELINUX: &str = "context";
/// Mount flags without a value that are known by all file systems.
const WORDS: [&str; 10] =
    ["ro", "rw", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "sync", "async"];
/// Mount flags whose values are harmless.
const FLAGS: [&str; 19] = [
    "dir_mode",
    "file_mode",
    "fsgroup",
    "gid",
    "minorversion",
    "mode",
    "nfsvers",
    "port",
    "proto",
    "retrans",
    "rsize",
    "sec",
    "size",
    "subvol",
    "timeo",
    "uid",
    "umask",
    "vers",
    "wsize",
];

impl Redact for prost_types::Timestamp {
    fn redact(&self, out: &mut Line) {
        let mut object = Object::new(out);
        object.number("nanos", i64::from(self.nanos));
        object.number("seconds", self.seconds);
        object.end();
    }
}

/// Writes one JSON object; the generated implementations add fields in name order.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    out: &'a mut Line,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn new(out: &'a mut Line) -> Self {
        out.text.push('{');
        Self { out, empty: true }
    }

    /// Begins a field.
    fn field(&mut self, key: &str) -> &mut Line {
        let text = &mut self.out.text;
        if !self.empty {
            text.push(',');
        }
        self.empty = false;
        quote(text, key);
        text.push(':');
        self.out
    }

    /// Begins a field whose value is plain text.
    fn key(&mut self, key: &str) -> &mut String {
        &mut self.field(key).text
    }

    pub(crate) fn secret(&mut self, key: &str, values: &BTreeMap<String, String>) {
        match self.out.secrets {
            _ if values.is_empty() => {}
            Secrets::Whole => quote(self.key(key), STRIPPED),
            Secrets::Found => self.out.found.0.extend(values.values().cloned()),
            Secrets::ByKey => {
                let mut inner = Object::new(self.field(key));
                values.keys().for_each(|key| quote(inner.key(key), STRIPPED));
                inner.end();
            }
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
        self.list(key, values, |out, value| quote(&mut out.text, value));
    }

    /// Mount flags.
    pub(crate) fn flags(&mut self, key: &str, values: &[String]) {
        self.list(key, values, |out, value| {
            quote(&mut out.text, &out.contexts.shown_flags(value));
        });
    }

    pub(crate) fn messages(&mut self, key: &str, values: &[impl Redact]) {
        self.list(key, values, |out, value| value.redact(out));
    }

    fn list<T>(&mut self, key: &str, values: &[T], write: impl Fn(&mut Line, &T)) {
        if values.is_empty() {
            return;
        }
        let out = self.field(key);
        out.text.push('[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                out.text.push(',');
            }
            write(out, value);
        }
        out.text.push(']');
    }

    pub(crate) fn map(&mut self, key: &str, values: &BTreeMap<String, String>) {
        if values.is_empty() {
            return;
        }
        let mut inner = Object::new(self.field(key));
        for (key, value) in values {
            quote(inner.key(key), value);
        }
        inner.end();
    }

    /// A volume's or a publication's context.
    pub(crate) fn context(&mut self, key: &str, values: &BTreeMap<String, String>) {
        if values.is_empty() {
            return;
        }
        let mut inner = Object::new(self.field(key));
        for (key, value) in values {
            let shown = if inner.out.contexts.shows(key) { value } else { STRIPPED };
            quote(inner.key(key), shown);
        }
        inner.end();
    }

    pub(crate) fn message(&mut self, key: &str, value: Option<&impl Redact>) {
        if let Some(value) = value {
            value.redact(self.field(key));
        }
    }

    /// A `google.protobuf.BoolValue`, which is a message with one field.
    pub(crate) fn wrapped_flag(&mut self, key: &str, value: Option<bool>) {
        if let Some(value) = value {
            let mut inner = Object::new(self.field(key));
            inner.flag("value", value);
            inner.end();
        }
    }

    /// A `google.protobuf.Int64Value`, which is a message with one field.
    pub(crate) fn wrapped_number(&mut self, key: &str, value: Option<i64>) {
        if let Some(value) = value {
            let mut inner = Object::new(self.field(key));
            inner.number("value", value);
            inner.end();
        }
    }

    pub(crate) fn end(self) {
        self.out.text.push('}');
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

//! What is printed: upstream's lines, or whole replies.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use csi::{Redact, shown};
use serde_json::Value;

use crate::cli::Form;

/// Prints one line. A reader that has gone away is no error worth a word.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A reply as a value: the specification's field names, populated fields only, secrets stripped.
pub(crate) fn value(reply: &impl Redact) -> Value {
    serde_json::from_str(&shown(reply)).unwrap_or_default()
}

/// Prints a reply whole if that was asked for, else the line of `short`.
pub(crate) fn reply<R: Redact>(form: Option<Form>, reply: &R, short: impl FnOnce(&R) -> String) {
    match form {
        None => line(&short(reply)),
        Some(Form::Json) => line(&shown(reply)),
        Some(Form::Yaml) => {
            let text = serde_yaml_ng::to_string(&value(reply)).unwrap_or_default();
            line(&format!("---\n{}", text.trim_end()));
        }
    }
}

/// The name of an enum value; its number if this version of the protocol does not know it.
pub(crate) fn enum_name(name: Option<&'static str>, number: i32) -> String {
    name.map_or_else(|| number.to_string(), str::to_owned)
}

/// A text in double quotes, escaped as Go's `%q` does.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// `"k"="v"` for each pair, in order, with a TAB between.
pub(crate) fn pairs(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{}={}", quoted(key), quoted(value))).collect::<Vec<_>>().join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(quoted("a\"b\\c\n\t\u{1}ü"), "\"a\\\"b\\\\c\\n\\t\\x01ü\"");
    }
}

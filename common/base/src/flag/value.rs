//! What a flag's text may mean: one [`Value`] per type, with Go's parsers and Go's error texts.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::duration::{format_duration, parse_go_duration};
use crate::log::quote::quoted;

/// A type that a flag can have.
pub trait Value: Sized {
    /// What the registration line gives as default.
    type Initial;
    /// The word for the value in usage text; empty for booleans.
    const TYPE: &'static str;
    /// Whether the flag stands alone (`--x` means `--x=true`).
    const IS_BOOL: bool = false;
    /// Whether usage text quotes the default (Go does so for strings only).
    const QUOTED: bool = false;
    /// Reads one argument.
    fn parse(text: &str) -> Result<Self, ValueError>;
    /// The default as text; [`Value::parse`] must read it back.
    fn print(initial: &Self::Initial) -> String;
    /// Reads the flag: `last` is its last text or its default, `explicit` whether it was given.
    fn read(last: &str, explicit: bool) -> Result<Self, ValueError> {
        let _ = explicit;
        Self::parse(last)
    }
}

/// Why a value was refused, in the words of either dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// Go's `flag` package hides the parser's text: `parse error`, `value out of range`.
    pub(super) go: String,
    /// pflag shows it: `strconv.ParseInt: parsing "x": invalid syntax`.
    pub(super) posix: String,
}

impl ValueError {
    /// A refusal that reads the same in both dialects.
    pub fn new(text: impl Display) -> Self {
        let text = text.to_string();
        Self { go: text.clone(), posix: text }
    }

    fn syntax(parser: &str, text: &str) -> Self {
        Self {
            go: "parse error".to_owned(),
            posix: format!("strconv.{parser}: parsing {}: invalid syntax", quoted(text)),
        }
    }

    fn range(parser: &str, text: &str) -> Self {
        Self {
            go: "value out of range".to_owned(),
            posix: format!("strconv.{parser}: parsing {}: value out of range", quoted(text)),
        }
    }
}

/// Go's boolean words: 1 t T TRUE true True, 0 f F FALSE false False; none for anything else.
pub fn parse_go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

impl Value for bool {
    type Initial = bool;
    const TYPE: &'static str = "";
    const IS_BOOL: bool = true;
    fn parse(text: &str) -> Result<Self, ValueError> {
        parse_go_bool(text).ok_or_else(|| ValueError::syntax("ParseBool", text))
    }
    fn print(initial: &bool) -> String {
        initial.to_string()
    }
}

impl Value for String {
    type Initial = &'static str;
    const TYPE: &'static str = "string";
    const QUOTED: bool = true;
    fn parse(text: &str) -> Result<Self, ValueError> {
        Ok(text.to_owned())
    }
    fn print(initial: &&'static str) -> String {
        (*initial).to_owned()
    }
}

/// Digits in Go's base 0: `0x`, `0o` or a leading `0`, `0b`, else decimal; `_` between digits
/// only with a base prefix.
fn parse_base0(parser: &str, digits: &str, whole: &str) -> Result<u64, ValueError> {
    let lower = digits.to_ascii_lowercase();
    let (radix, body, prefixed) = if let Some(body) = lower.strip_prefix("0x") {
        (16, body, true)
    } else if let Some(body) = lower.strip_prefix("0b") {
        (2, body, true)
    } else if let Some(body) = lower.strip_prefix("0o") {
        (8, body, true)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..).unwrap_or(""), true)
    } else {
        (10, lower.as_str(), false)
    };
    let plain = if prefixed && !body.contains("__") && !body.ends_with('_') {
        body.replace('_', "")
    } else {
        body.to_owned()
    };
    if plain.is_empty() || !plain.chars().all(|c| c.is_digit(radix)) {
        return Err(ValueError::syntax(parser, whole));
    }
    u64::from_str_radix(&plain, radix).map_err(|_| ValueError::range(parser, whole))
}

impl Value for i64 {
    type Initial = i64;
    const TYPE: &'static str = "int";
    fn parse(text: &str) -> Result<Self, ValueError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let magnitude = i128::from(parse_base0("ParseInt", digits, text)?);
        let signed = if negative { -magnitude } else { magnitude };
        i64::try_from(signed).map_err(|_| ValueError::range("ParseInt", text))
    }
    fn print(initial: &i64) -> String {
        initial.to_string()
    }
}

impl Value for i32 {
    type Initial = i32;
    const TYPE: &'static str = "int";
    fn parse(text: &str) -> Result<Self, ValueError> {
        i32::try_from(i64::parse(text)?).map_err(|_| ValueError::range("ParseInt", text))
    }
    fn print(initial: &i32) -> String {
        initial.to_string()
    }
}

impl Value for u32 {
    type Initial = u32;
    const TYPE: &'static str = "uint";
    fn parse(text: &str) -> Result<Self, ValueError> {
        let value = parse_base0("ParseUint", text, text)?;
        u32::try_from(value).map_err(|_| ValueError::range("ParseUint", text))
    }
    fn print(initial: &u32) -> String {
        initial.to_string()
    }
}

impl Value for f64 {
    type Initial = f64;
    const TYPE: &'static str = "float";
    fn parse(text: &str) -> Result<Self, ValueError> {
        let value: f64 = text.parse().map_err(|_| ValueError::syntax("ParseFloat", text))?;
        if value.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) {
            return Err(ValueError::range("ParseFloat", text));
        }
        Ok(value)
    }
    fn print(initial: &f64) -> String {
        initial.to_string()
    }
}

/// Durations of flags. `Differs:` upstream parses negative durations and then misbehaves; no flag has a use for one.
impl Value for Duration {
    type Initial = Duration;
    const TYPE: &'static str = "duration";
    fn parse(text: &str) -> Result<Self, ValueError> {
        let nanos = parse_go_duration(text)
            .map_err(|e| ValueError { go: "parse error".to_owned(), posix: e.to_string() })?;
        let nanos = u64::try_from(nanos).map_err(|_| ValueError::new("a duration must not be negative"))?;
        Ok(Duration::from_nanos(nanos))
    }
    fn print(initial: &Duration) -> String {
        format_duration(*initial)
    }
}

/// A flag that distinguishes "given" from "left alone": none unless set explicitly. The default
/// is what usage text shows.
impl<T: Value> Value for Option<T> {
    type Initial = T::Initial;
    const TYPE: &'static str = T::TYPE;
    const IS_BOOL: bool = T::IS_BOOL;
    const QUOTED: bool = T::QUOTED;
    fn parse(text: &str) -> Result<Self, ValueError> {
        T::parse(text).map(Some)
    }
    fn print(initial: &T::Initial) -> String {
        T::print(initial)
    }
    fn read(last: &str, explicit: bool) -> Result<Self, ValueError> {
        if explicit { Self::parse(last) } else { Ok(None) }
    }
}

/// Labels written `key:value,key2:value2`, as for `--leader-election-labels`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(pub BTreeMap<String, String>);

impl Value for Labels {
    type Initial = &'static str;
    const TYPE: &'static str = "value";
    fn parse(text: &str) -> Result<Self, ValueError> {
        let mut labels = BTreeMap::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item.split_once(':') {
                Some((key, value)) if !value.contains(':') => {
                    labels.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                _ => {
                    return Err(ValueError::new(format!("label {} must be written key:value", quoted(item))));
                }
            }
        }
        Ok(Labels(labels))
    }
    fn print(initial: &&'static str) -> String {
        (*initial).to_owned()
    }
}

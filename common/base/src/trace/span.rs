//! A finished span, as data.

use std::borrow::Cow;
use std::time::Duration;

/// Longest text of a span, in bytes: longer ones are cut.
const LONGEST: usize = 1024;

/// The numbers of a span. Neither is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// All spans of one trace share it.
    pub trace: u128,
    /// The span's own.
    pub span: u64,
}

impl Ids {
    /// Those of the first span of a new trace.
    pub(super) fn fresh() -> Self {
        Self { trace: fastrand::u128(1..), span: fastrand::u64(1..) }
    }

    /// Those of a span below this one.
    pub(super) fn below(self) -> Self {
        Self { span: fastrand::u64(1..), ..self }
    }

    /// As the header `traceparent` of W3C Trace Context has it.
    pub(super) fn traceparent(self, is_sampled: bool) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(is_sampled))
    }
}

/// Where the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In this process.
    Internal,
    /// By somebody who was asked.
    Client,
}

/// What is said about a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
}

impl From<&str> for Attribute {
    /// The text, cut to what a span holds.
    fn from(text: &str) -> Self {
        Self::Text(cut(text))
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<Duration> for Attribute {
    /// In whole milliseconds.
    fn from(duration: Duration) -> Self {
        Self::Number(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Names and values.
pub type Attributes = Vec<(Cow<'static, str>, Attribute)>;

/// A span that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its numbers.
    pub ids: Ids,
    /// The number of the span above it; none for the first of a trace.
    pub parent: Option<u64>,
    /// What was done. Few spans differ in it: objects are named by attributes.
    pub name: Cow<'static, str>,
    /// Where.
    pub kind: Kind,
    /// When it began, since 1970.
    pub begun: Duration,
    /// When it ended, since 1970.
    pub ended: Duration,
    /// What is said about it.
    pub attributes: Attributes,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// A text, cut to what a span holds.
pub(super) fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default().to_owned()
}

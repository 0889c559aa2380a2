//! Decides when a failure is written into an object's status, and how (docs/upstream/attacher.md, "Error status").

use super::object::StatusError;
use jiff::{SignedDuration, Timestamp};

/// An unchanged failure is written again after this long, so that its time shows that it persists.
pub const REFRESH: SignedDuration = SignedDuration::from_mins(5);

/// Longest message, in bytes, that the API server accepts in a status.
pub const LONGEST: usize = 1024;

/// A failure as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The whole error as text.
    pub message: String,
    /// The driver's gRPC code.
    pub code: Option<i32>,
}

impl Report {
    /// A failure whose text is cut to the length that the API server accepts.
    ///
    /// `Differs:` upstream sends the whole text. If it is too long, the API server refuses it, and the status
    /// shows no error at all.
    pub fn new(mut message: String, code: Option<i32>) -> Self {
        const CUT: &str = " ...";
        if message.len() > LONGEST {
            message.truncate(message.floor_char_boundary(LONGEST - CUT.len()));
            message.push_str(CUT);
        }
        Self { message, code }
    }
}

/// Whether to write a failure, given what the status says now.
///
/// `Differs:` upstream writes every failure. We write an unchanged message again only every few minutes.
pub fn is_news(known: Option<&StatusError>, report: &Report, now: Timestamp) -> bool {
    let Some(known) = known else { return true };
    if *known.message != *report.message || known.error_code != report.code {
        return true;
    }
    match known.time.parse::<Timestamp>() {
        Ok(time) => now.duration_since(time).abs() >= REFRESH,
        Err(_) => true,
    }
}

/// A moment as Kubernetes writes it: RFC 3339 with whole seconds.
pub fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_and_old_news_are_written() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let known = |message: &str, code, time: &str| StatusError {
            time: time.into(),
            message: message.into(),
            error_code: code,
        };
        let report = Report { message: "m".to_owned(), code: Some(8) };
        for (known, expected) in [
            (None, true),
            (Some(known("m", Some(8), "2026-01-01T11:59:00Z")), false),
            (Some(known("m", Some(8), "2026-01-01T11:55:01Z")), false),
            (Some(known("m", Some(8), "2026-01-01T11:55:00Z")), true),
            (Some(known("m", Some(8), "2026-01-01T12:01:00Z")), false),
            (Some(known("m", Some(8), "2026-01-02T12:01:00Z")), true),
            (Some(known("m", Some(8), "yesterday")), true),
            (Some(known("m", None, "2026-01-01T11:59:00Z")), true),
            (Some(known("other", Some(8), "2026-01-01T11:59:00Z")), true),
        ] {
            assert_eq!(is_news(known.as_ref(), &report, now), expected, "{known:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        for (text, expected) in [
            ("a".repeat(1024), "a".repeat(1024)),
            ("a".repeat(1025), format!("{} ...", "a".repeat(1020))),
            ("é".repeat(600), format!("{} ...", "é".repeat(510))),
            (format!("a{}", "é".repeat(600)), format!("a{} ...", "é".repeat(509))),
        ] {
            assert_eq!(Report::new(text, None).message, expected);
        }
    }

    #[test]
    fn time_has_whole_seconds() {
        let now: Timestamp = "2026-01-01T12:00:00.987Z".parse().unwrap();
        assert_eq!(time(now), "2026-01-01T12:00:00Z");
    }
}

//! Go's duration text: `1h15m30.918s`, `-1.5h`, `300ms`, `0`.
//!
//! Every duration flag and every duration in a Kubernetes-facing configuration uses this form.
//! Values are whole nanoseconds in an `i64`, as in Go, so the range is about ±292 years.

use std::time::Duration;

use crate::log::quote::quoted;

/// Why a text is not a Go duration. The texts are those of Go's `time` package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form `[-+]` then numbers with units, or too large for an `i64` of nanoseconds.
    #[error("time: invalid duration {}", quoted(.0))]
    Invalid(String),
    /// A number without a unit (only a bare `0` may do without).
    #[error("time: missing unit in duration {}", quoted(.0))]
    MissingUnit(String),
    /// A unit other than ns, us, µs, ms, s, m, h.
    #[error("time: unknown unit {} in duration {}", quoted(unit), quoted(text))]
    UnknownUnit {
        /// The unit as written.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Parses a Go duration into nanoseconds. Fractions beyond a nanosecond are cut off.
pub fn parse_go_duration(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or("")),
        Some(b'+') => (false, text.get(1..).unwrap_or("")),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    // Summed without sign: the negative range is one larger.
    let limit = i128::from(i64::MAX) + i128::from(negative);
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(tail) => split_digits(tail),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(text.to_owned()));
        }
        let nanos = unit_nanos(unit)
            .ok_or_else(|| DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() })?;
        total += component(whole, fraction, nanos).ok_or_else(invalid)?;
        if total > limit {
            return Err(invalid());
        }
        rest = after;
    }
    let signed = if negative { -total } else { total };
    i64::try_from(signed).map_err(|_| invalid())
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn unit_nanos(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        // U+00B5 micro sign and U+03BC Greek mu.
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `whole.fraction` times `unit` nanoseconds; none if the whole part does not fit.
fn component(whole: &str, fraction: &str, unit: i64) -> Option<i128> {
    // Unsigned, because the most negative duration has one more.
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Eighteen digits are more than any unit can show.
    let digits = fraction.get(..fraction.len().min(18)).unwrap_or("");
    let mut nanos = i128::from(whole) * i128::from(unit);
    if !digits.is_empty() {
        let scale = 10_i128.pow(digits.len() as u32);
        nanos += i128::from(digits.parse::<i64>().ok()?) * i128::from(unit) / scale;
    }
    Some(nanos)
}

/// Prints nanoseconds as Go's `time.Duration` does: `0s`, `1.5ms`, `1m30s`, `1h0m0s`.
pub fn format_go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    match n {
        0 => "0s".to_owned(),
        1..=999 => format!("{sign}{n}ns"),
        1_000..=999_999 => format!("{sign}{}µs", decimal(n, 1_000)),
        1_000_000..=999_999_999 => format!("{sign}{}ms", decimal(n, 1_000_000)),
        _ => {
            let (minutes, seconds) = (n / 60_000_000_000, n % 60_000_000_000);
            let seconds = decimal(seconds, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

/// `n / unit` with as many decimals as needed; `unit` is a power of ten.
fn decimal(n: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let fraction = format!("{:0width$}", n % unit);
    match fraction.trim_end_matches('0') {
        "" => (n / unit).to_string(),
        fraction => format!("{}.{fraction}", n / unit),
    }
}

/// Prints a [`Duration`] in Go's form; what exceeds Go's range prints as its largest value.
pub fn format_duration(duration: Duration) -> String {
    format_go_duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn parses_every_form_of_go() {
        for (text, want) in [
            ("0", 0),
            ("-0", 0),
            ("5s", 5 * SECOND),
            ("+5s", 5 * SECOND),
            ("-5s", -5 * SECOND),
            ("30s", 30 * SECOND),
            ("5.0s", 5 * SECOND),
            ("5.6s", 5 * SECOND + 600_000_000),
            ("5.s", 5 * SECOND),
            (".5s", SECOND / 2),
            ("1.004s", SECOND + 4_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12µs", 12_000),
            ("12μs", 12_000),
            ("13ms", 13_000_000),
            ("1m30s", 90 * SECOND),
            ("3h30m", 12_600 * SECOND),
            ("-1m30.5s", -90 * SECOND - SECOND / 2),
            ("10.5s4m", 250 * SECOND + SECOND / 2),
            // Go rounds this one through a float to 20m; we cut below the nanosecond.
            ("0.3333333333333333333h", 20 * 60 * SECOND - 1),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(parse_go_duration(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses_with_its_words() {
        for (text, want) in [
            ("", r#"time: invalid duration """#),
            ("3", r#"time: missing unit in duration "3""#),
            ("-", r#"time: invalid duration "-""#),
            ("s", r#"time: invalid duration "s""#),
            (".", r#"time: invalid duration ".""#),
            (".s", r#"time: invalid duration ".s""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("10 s", r#"time: unknown unit " s" in duration "10 s""#),
            ("9223372036854775808ns", r#"time: invalid duration "9223372036854775808ns""#),
            ("2562048h", r#"time: invalid duration "2562048h""#),
        ] {
            let got = parse_go_duration(text).map_err(|e| e.to_string());
            assert_eq!(got, Err(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn prints_as_go_does() {
        for (nanos, want) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (15 * SECOND, "15s"),
            (60 * SECOND, "1m0s"),
            (5 * 60 * SECOND, "5m0s"),
            (245 * SECOND + 1_000_000, "4m5.001s"),
            (3600 * SECOND, "1h0m0s"),
            (-90 * SECOND, "-1m30s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format_go_duration(nanos), want);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(nanos: i64) {
            prop_assert_eq!(parse_go_duration(&format_go_duration(nanos)), Ok(nanos));
        }

        #[test]
        fn any_text_is_answered_without_panic(text: String) {
            let _ = parse_go_duration(&text);
        }
    }
}

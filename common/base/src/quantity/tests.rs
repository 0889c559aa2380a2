//! Kubernetes' own answers, and round trips.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn parses_every_suffix() {
    for (text, nanos) in [
        ("0", 0),
        ("1n", 1),
        ("1u", 1_000),
        ("1m", 1_000_000),
        ("1", NANO),
        ("1k", 1_000 * NANO),
        ("1M", 1_000_000 * NANO),
        ("1G", 1_000_000_000 * NANO),
        ("1T", 1_000_000_000_000 * NANO),
        ("1P", 1_000_000_000_000_000 * NANO),
        ("1E", 1_000_000_000_000_000_000 * NANO),
        ("1Ki", 1024 * NANO),
        ("1Mi", (1 << 20) * NANO),
        ("1Gi", (1 << 30) * NANO),
        ("1Ti", (1 << 40) * NANO),
        ("1Pi", (1 << 50) * NANO),
        ("7Ei", (7 << 60) * NANO),
        ("1e3", 1_000 * NANO),
        ("1E3", 1_000 * NANO),
        ("1E+3", 1_000 * NANO),
        ("1e-3", NANO / 1000),
        ("-1.5Gi", -(3 << 29) * NANO),
        ("+5", 5 * NANO),
        (".5", NANO / 2),
        ("5.", 5 * NANO),
        ("0.5Ki", 512 * NANO),
        ("000012.340", 12_340_000_000),
        ("9223372036854775807", LARGEST),
        ("-9223372036854775807", -LARGEST),
    ] {
        assert_eq!(parse(text).nanos(), nanos, "{text}");
    }
}

#[test]
fn rounds_away_from_zero_at_the_nano() {
    for (text, nanos) in [
        ("0.1n", 1),
        ("-0.1n", -1),
        ("1.0000000001", NANO + 1),
        ("1e-30", 1),
        ("0.00000000000001Ki", 1),
        ("0e-30", 0),
    ] {
        assert_eq!(parse(text).nanos(), nanos, "{text}");
    }
}

#[test]
fn value_rounds_away_from_zero_to_a_whole_unit() {
    for (text, value) in [
        ("1", 1),
        ("1m", 1),
        ("1n", 1),
        ("1001m", 2),
        ("-1500m", -2),
        ("1.5Gi", 3 << 29),
        ("1.1Ki", 1127),
        ("9223372036854775807", i64::MAX),
    ] {
        assert_eq!(parse(text).value(), Ok(value), "{text}");
    }
}

#[test]
fn prints_the_canonical_form() {
    for (text, want) in [
        ("0", "0"),
        ("0Gi", "0"),
        ("-0", "0"),
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("1.5Gi", "1536Mi"),
        ("512Ki", "512Ki"),
        ("1023", "1023"),
        ("1Ki", "1Ki"),
        ("0.5Ki", "512"),
        ("-1Ki", "-1Ki"),
        ("1.0015Ki", "1025536m"),
        ("0.0001Ki", "102400u"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("1.5", "1500m"),
        ("100m", "100m"),
        ("0.1", "100m"),
        ("1000000u", "1"),
        ("12n", "12n"),
        ("1000G", "1T"),
        ("1e3", "1e3"),
        ("10e2", "1e3"),
        ("1e4", "10e3"),
        ("1e0", "1"),
        ("1.5e0", "1500e-3"),
        ("1E", "1E"),
        ("9223372036854775807", "9223372036854775807"),
    ] {
        assert_eq!(parse(text).to_string(), want, "{text}");
    }
    assert_eq!(Quantity::from_bytes(1 << 30).to_string(), "1Gi");
    assert_eq!(Quantity::from_bytes(1_000_000_000).to_string(), "1000000000");
    assert_eq!(Quantity::from_bytes(100).to_string(), "100");
}

#[test]
fn refuses_what_is_no_quantity() {
    for text in [
        "", "-", "+", ".", "Gi", "1.2.3", "1 Gi", " 1", "1gi", "1K", "1B", "1ki", "1e", "1e+", "1e1.5",
        "1Gi5", "--1", "1_000", "0x10", "1E3Gi", "١",
    ] {
        let got = Quantity::parse(text);
        // A bare `1E` is an exa, `1e` is nothing.
        assert_eq!(got, Err(QuantityError::Format(text.to_owned())), "{text}");
    }
}

#[test]
fn refuses_what_is_too_large_and_names_it() {
    let digits = "9".repeat(400);
    for text in
        ["9223372036854775808", "8Ei", "10E", "1e19", "1e99999", "-8Ei", "1e9223372036854775807", &digits]
    {
        let got = Quantity::parse(text);
        assert_eq!(got, Err(QuantityError::Overflow(text.to_owned())), "{text}");
    }
}

#[test]
fn equality_and_order_ignore_the_notation() {
    assert_eq!(parse("1Ki"), parse("1024"));
    assert!(parse("1k") < parse("1Ki") && parse("1500m") < parse("2") && parse("-1") < parse("0"));
}

proptest! {
    #[test]
    fn what_is_printed_parses_back(bytes: i64, suffix in 0..3_usize) {
        let bytes = bytes.max(-i64::MAX);
        let text = format!("{bytes}{}", ["", "e0", "n"].get(suffix).copied().unwrap_or(""));
        let quantity = parse(&text);
        let printed = quantity.to_string();
        prop_assert_eq!(parse(&printed), quantity);
        prop_assert_eq!(parse(&printed).to_string(), printed);
    }

    #[test]
    fn bytes_survive_the_binary_form(bytes in 0..i64::MAX) {
        let printed = Quantity::from_bytes(bytes).to_string();
        prop_assert_eq!(parse(&printed).value(), Ok(bytes));
    }

    #[test]
    fn fractions_of_binary_units_are_exact(whole in 0..1_000_000_i128, thousandths in 0..1000_i128, power in 1..3_usize) {
        let suffix = ["", "Ki", "Mi"].get(power).copied().unwrap_or("");
        let quantity = parse(&format!("{whole}.{thousandths:03}{suffix}"));
        let exact = (whole * 1000 + thousandths) * NANO * (1 << (10 * power)) / 1000;
        prop_assert_eq!(quantity.nanos(), exact);
    }

    #[test]
    fn any_text_is_answered_without_panic(text: String) {
        let _ = Quantity::parse(&text);
    }
}

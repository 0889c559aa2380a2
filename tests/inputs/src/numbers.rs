//! Durations and quantities: what was understood is printed, and understood again as the same.

use base::flag::duration::{format_go_duration, parse_go_duration};
use base::quantity::Quantity;

use crate::random::texts;

pub(crate) fn duration_seeds() -> Vec<Vec<u8>> {
    texts(&["1h30m", "-1.5s", "0", "+.5us", "2562047h47m16.854775807s", "-9223372036854775808ns", "1µs2μs"])
}

/// A flag's duration.
///
/// # Panics
/// When the duration is not the same after it was printed.
pub fn durations(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(nanos) = parse_go_duration(text) {
        let printed = format_go_duration(nanos);
        assert_eq!(parse_go_duration(&printed), Ok(nanos), "{text:?} is printed as {printed:?}");
    }
}

pub(crate) fn quantity_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "1Gi",
        "-1.5",
        "+100m",
        "9223372036854775807",
        "1e3",
        "1E-9",
        "12e+6",
        "8Ei",
        ".5Ki",
        "0.000000001n",
    ])
}

/// A quantity, such as a claim's size.
///
/// # Panics
/// When the quantity is not the same after it was printed.
pub fn quantities(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(quantity) = Quantity::parse(text) else { return };
    let printed = quantity.to_string();
    let again = Quantity::parse(&printed);
    assert_eq!(again.map(|again| again.nanos()), Ok(quantity.nanos()), "{text:?} is printed as {printed:?}");
    assert_eq!(quantity.is_zero(), quantity.nanos() == 0);
    if let Ok(whole) = quantity.value() {
        let distance = i128::from(whole) * 1_000_000_000 - quantity.nanos();
        assert!(distance.abs() < 1_000_000_000, "{text:?} is taken for {whole}");
    }
}

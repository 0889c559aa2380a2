//! Which seeds the random tests try.
//!
//! A test that fails names its seed. `MOORING_SEEDS=17..18` tries that seed alone, `MOORING_SEEDS=1000` the first thousand.

use std::ops::Range;

/// The variable that says which seeds are tried.
pub const VARIABLE: &str = "MOORING_SEEDS";

/// The seeds to try: those that [`VARIABLE`] asks for, or else the first `usual` ones.
///
/// # Panics
/// When the variable is neither a number nor a range of two.
#[allow(clippy::panic)]
pub fn seeds(usual: u64) -> Range<u64> {
    let Ok(asked) = std::env::var(VARIABLE) else { return 0..usual };
    parsed(&asked).unwrap_or_else(|| panic!("{VARIABLE}={asked}: neither a number nor a range like 17..18"))
}

fn parsed(text: &str) -> Option<Range<u64>> {
    let number = |text: &str| text.trim().parse().ok();
    match text.split_once("..") {
        Some((first, end)) => Some(number(first)?..number(end)?),
        None => Some(0..number(text)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_a_range_is_understood() {
        assert_eq!(parsed("1000"), Some(0..1000));
        assert_eq!(parsed("17..18"), Some(17..18));
        for wrong in ["", "..", "all", "1..", "-1"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}

//! Kubernetes quantities (`10Gi`, `1.5`, `100m`, `1e3`), exact to a nano-unit.
//!
//! A [`Quantity`] is a whole number of nano-units and the notation it was written in. Sizes of
//! volumes are quantities of bytes. Nothing is rounded except where Kubernetes rounds: parsing
//! rounds away from zero at the nano-unit, [`Quantity::value`] at the whole unit.
//!
//! `Differs:` Kubernetes silently cuts a quantity above 2^63-1 to that number; here it is an error. The API
//! server has cut its objects already, so only flags can cause the error.

use std::fmt;

/// The notation a quantity is printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// Powers of 1024: `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`.
    BinarySi,
    /// Powers of 1000: `n`, `u`, `m`, none, `k`, `M`, `G`, `T`, `P`, `E`.
    DecimalSi,
    /// Powers of ten that are multiples of three: `e3`, `e-6`.
    DecimalExponent,
}

/// An exact quantity. Two are equal if their numbers are, in whatever notation.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    notation: Notation,
}

/// Why a text is no quantity, or a quantity no whole number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not number and suffix.
    #[error("{0:?} is not a quantity: write a number and a suffix, for example 10Gi")]
    Format(String),
    /// Beyond ±(2^63-1).
    #[error("quantity {0:?} is too large: the largest is 9223372036854775807 (just under 8Ei)")]
    Overflow(String),
}

const NANO: i128 = 1_000_000_000;
const LARGEST: i128 = i64::MAX as i128 * NANO;

impl Quantity {
    /// A number of bytes, printed with binary suffixes, as upstream writes a volume's capacity.
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nanos: i128::from(bytes) * NANO, notation: Notation::BinarySi }
    }

    /// Parses every form Kubernetes accepts.
    ///
    /// # Errors
    /// [`QuantityError`] naming the text.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let format = || QuantityError::Format(text.to_owned());
        let overflow = || QuantityError::Overflow(text.to_owned());
        let (negative, body) = match text.strip_prefix('-') {
            Some(body) => (true, body),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = body.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(body.len());
        let (number, suffix) = body.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(format());
        }
        let unit = Unit::parse(suffix).ok_or_else(format)?;
        let magnitude = unit.nanos(whole, fraction).ok_or_else(overflow)?;
        if magnitude > LARGEST {
            return Err(overflow());
        }
        let notation = match unit.notation() {
            // Binary suffixes have no fractions.
            Notation::BinarySi if magnitude % NANO != 0 => Notation::DecimalSi,
            notation => notation,
        };
        Ok(Self { nanos: if negative { -magnitude } else { magnitude }, notation })
    }

    /// The number of whole units, rounded away from zero, as `Value()` does.
    ///
    /// # Errors
    /// None in practice: what was parsed fits. Kept as a result so that callers need no cast.
    pub fn value(&self) -> Result<i64, QuantityError> {
        let (whole, fraction) = (self.nanos / NANO, self.nanos % NANO);
        i64::try_from(whole + fraction.signum()).map_err(|_| QuantityError::Overflow(self.to_string()))
    }

    /// The exact number of nano-units.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// Whether the quantity is zero.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

/// The canonical form: no fraction, the largest suffix that keeps the number whole.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = -1024 * NANO < self.nanos && self.nanos < 1024 * NANO;
        match self.notation {
            Notation::BinarySi if !small => self.print_binary(f),
            Notation::BinarySi | Notation::DecimalSi => self.print_decimal(f, false),
            Notation::DecimalExponent => self.print_decimal(f, true),
        }
    }
}

impl Quantity {
    fn print_binary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole: parsing gives fractions another notation.
        let mut number = self.nanos / NANO;
        let mut suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter();
        let mut suffix = suffixes.next();
        while number % 1024 == 0 {
            let Some(next) = suffixes.next() else { break };
            suffix = Some(next);
            number /= 1024;
        }
        write!(f, "{number}{}", suffix.unwrap_or(&""))
    }

    fn print_decimal(&self, f: &mut fmt::Formatter<'_>, exponent_form: bool) -> fmt::Result {
        let (mut number, mut exponent) = (self.nanos, -9);
        while number % 1000 == 0 && exponent < 18 {
            number /= 1000;
            exponent += 3;
        }
        if exponent_form {
            return match exponent {
                0 => write!(f, "{number}"),
                _ => write!(f, "{number}e{exponent}"),
            };
        }
        let suffix = match exponent {
            -9 => "n",
            -6 => "u",
            -3 => "m",
            0 => "",
            3 => "k",
            6 => "M",
            9 => "G",
            12 => "T",
            15 => "P",
            _ => "E",
        };
        write!(f, "{number}{suffix}")
    }
}

/// What a suffix multiplies by.
enum Unit {
    /// 2 to this power.
    Binary(u32),
    /// 10 to this power, and whether it was written as an exponent.
    Decimal(i64, bool),
}

impl Unit {
    fn parse(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "" => Unit::Decimal(0, false),
            "n" => Unit::Decimal(-9, false),
            "u" => Unit::Decimal(-6, false),
            "m" => Unit::Decimal(-3, false),
            "k" => Unit::Decimal(3, false),
            "M" => Unit::Decimal(6, false),
            "G" => Unit::Decimal(9, false),
            "T" => Unit::Decimal(12, false),
            "P" => Unit::Decimal(15, false),
            "E" => Unit::Decimal(18, false),
            "Ki" => Unit::Binary(10),
            "Mi" => Unit::Binary(20),
            "Gi" => Unit::Binary(30),
            "Ti" => Unit::Binary(40),
            "Pi" => Unit::Binary(50),
            "Ei" => Unit::Binary(60),
            _ => {
                let exponent = suffix.strip_prefix(['e', 'E'])?;
                let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                Unit::Decimal(exponent.parse().ok()?, true)
            }
        })
    }

    fn notation(&self) -> Notation {
        match self {
            Unit::Binary(_) => Notation::BinarySi,
            Unit::Decimal(_, false) => Notation::DecimalSi,
            Unit::Decimal(_, true) => Notation::DecimalExponent,
        }
    }

    /// `whole.fraction` of this unit in nano-units, rounded up; none if far out of range.
    fn nanos(&self, whole: &str, fraction: &str) -> Option<i128> {
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        match self {
            Unit::Binary(power) => {
                // 19 digits exceed i64 already; 60 bits and nine zeros more still fit an i128
                // only in two steps.
                if whole.len() > 19 {
                    return None;
                }
                let factor = (1_i128 << power) * NANO;
                let number: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
                number.checked_mul(factor)?.checked_add(binary_fraction(fraction, factor))
            }
            Unit::Decimal(power, _) => decimal_nanos(whole, fraction, power.checked_add(9)?),
        }
    }
}

/// `0.fraction` of `factor`, rounded up, digit by digit from the last: exact without wide numbers.
fn binary_fraction(fraction: &str, factor: i128) -> i128 {
    // remainder + inexact/epsilon: dividing by ten once per digit, keeping what falls off.
    let mut below = 0_i128;
    let mut inexact = false;
    for digit in fraction.bytes().rev() {
        let sum = i128::from(digit - b'0') * factor + below;
        inexact |= sum % 10 != 0;
        below = sum / 10;
    }
    below + i128::from(inexact)
}

/// The digits with the point moved `power` places to the right, rounded up to a whole number.
fn decimal_nanos(whole: &str, fraction: &str, power: i64) -> Option<i128> {
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let shift = power.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    if shift >= 0 {
        // More than 38 digits are beyond any i128, and far beyond the largest quantity.
        let zeros = u32::try_from(shift).ok().filter(|zeros| *zeros <= 38)?;
        return significant.parse::<i128>().ok()?.checked_mul(10_i128.checked_pow(zeros)?);
    }
    let cut = usize::try_from(shift.unsigned_abs()).ok()?;
    let kept = significant.len().saturating_sub(cut);
    let (kept, dropped) = significant.split_at(kept);
    let number: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    Some(number + i128::from(dropped.bytes().any(|b| b != b'0')))
}

#[cfg(test)]
mod tests;

//! NumericDate (RFC 7519 §2) in decimal, without a float. A date read through one would round just as
//! the library's might, and hide it.

/// A double carries the digits of a number near now that is written with this many.
const EXACT_DIGITS: usize = 16;

/// Whole seconds with more digits than this are beyond any clock.
const MAX_SECONDS_DIGITS: i64 = 15;

/// An instant in microseconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Date {
    /// Exactly here.
    At(i128),
    FarFuture,
    FarPast,
    /// Within a microsecond of here: written finer than the clock, or than a double.
    Near(i128),
}

impl Date {
    /// The date that a JSON number says.
    pub fn parse(number: &str) -> Self {
        let (negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let exponent = exponent_of(exponent).saturating_sub(fraction.len() as i64);
        let size = Self::positive(digits, exponent);
        if negative { size.negated() } else { size }
    }

    /// `digits` · 10^`exponent` seconds.
    fn positive(digits: &str, exponent: i64) -> Self {
        let seconds_digits = exponent.saturating_add(digits.len() as i64);
        if digits.is_empty() {
            return Self::At(0);
        }
        if seconds_digits > MAX_SECONDS_DIGITS {
            return Self::FarFuture;
        }
        if seconds_digits < -6 {
            return Self::Near(0);
        }
        let kept = (seconds_digits + 6) as usize;
        let zeros = kept.saturating_sub(digits.len());
        let (kept, cut) = digits.split_at(kept.min(digits.len()));
        let micros = format!("0{kept}{}", "0".repeat(zeros));
        let micros = micros.parse().expect("22 digits fit");
        let is_exact = digits.len() <= EXACT_DIGITS && cut.bytes().all(|digit| digit == b'0');
        if is_exact { Self::At(micros) } else { Self::Near(micros) }
    }

    fn negated(self) -> Self {
        match self {
            Self::At(micros) => Self::At(-micros),
            Self::FarFuture => Self::FarPast,
            Self::FarPast => Self::FarFuture,
            Self::Near(micros) => Self::Near(-micros),
        }
    }

    /// Whether `now` is at or past the date; `None` where that is finer than the clock can tell.
    pub fn is_reached(self, now: i128) -> Option<bool> {
        match self {
            Self::At(micros) => Some(now >= micros),
            Self::FarFuture => Some(false),
            Self::FarPast => Some(true),
            Self::Near(micros) if (now - micros).abs() > 2 => Some(now > micros),
            Self::Near(_) => None,
        }
    }
}

/// Kept within what the digits of a token could bring back.
fn exponent_of(text: &str) -> i64 {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let size = digits.bytes().fold(0_i64, |size, digit| {
        size.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(1 << 40)
    });
    if negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_date_are_one_date() {
        for number in
            ["1767225600", "1767225600.0", "17672256e2", "1.7672256E+9", "1767225600000e-3"]
        {
            assert_eq!(Date::parse(number), Date::At(1_767_225_600_000_000), "{number}");
        }
        assert_eq!(Date::parse("1767225600.000001"), Date::At(1_767_225_600_000_001));
        assert_eq!(Date::parse("-1.5"), Date::At(-1_500_000));
        assert_eq!(Date::parse("1e-6"), Date::At(1));
        assert_eq!(Date::parse("5e-7"), Date::Near(0));
        assert_eq!(Date::parse("1e-7"), Date::Near(0));
        for zero in ["0", "-0", "0.000", "0e9999999999999999999999"] {
            assert_eq!(Date::parse(zero), Date::At(0), "{zero}");
        }
        assert_eq!(Date::parse("1e300"), Date::FarFuture);
        assert_eq!(Date::parse("-18446744073709551616"), Date::FarPast);
        assert_eq!(Date::parse("1e-99999999999999999999"), Date::Near(0));
    }

    #[test]
    fn a_date_is_reached_at_equality() {
        assert_eq!(Date::At(5).is_reached(4), Some(false));
        assert_eq!(Date::At(5).is_reached(5), Some(true));
        assert_eq!(Date::Near(5).is_reached(6), None);
        assert_eq!(Date::Near(5).is_reached(8), Some(true));
        assert_eq!(Date::Near(5).is_reached(2), Some(false));
    }
}

//! RFC 3339 times as seconds since 1970, to tell whether a field is a time and which.

use std::time::{SystemTime, UNIX_EPOCH};

/// The seconds since 1970 now.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970").as_secs_f64()
}

/// The seconds since 1970 that an RFC 3339 §5.6 `date-time` names; `None` where it is none.
pub(crate) fn seconds(text: &str) -> Option<f64> {
    let (date, clock) = (text.get(..10)?, text.get(11..19)?);
    if !matches!(text.as_bytes()[10], b'T' | b't') {
        return None;
    }
    let [year, month, day] = numbers(date, b'-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, b':', [2, 2, 2])?;
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let (fraction, zone) = fraction(text.get(19..)?)?;
    let whole = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(whole as f64 + fraction - offset(zone)? as f64)
}

fn numbers(text: &str, separator: u8, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(char::from(separator));
    let mut found = [0; 3];
    for (slot, width) in found.iter_mut().zip(widths) {
        *slot = number(parts.next()?, width)?;
    }
    parts.next().is_none().then_some(found)
}

fn number(text: &str, width: usize) -> Option<i64> {
    let plain = text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn fraction(rest: &str) -> Option<(f64, &str)> {
    let Some(digits) = rest.strip_prefix('.') else {
        return Some((0.0, rest));
    };
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    let value = format!("0.{}", digits.get(..end)?).parse().ok()?;
    (end > 0).then_some((value, &digits[end..]))
}

fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.bytes().next()? {
        b'Z' | b'z' if zone.len() == 1 => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    Some(sign * (number(hours, 2)? * 3_600 + number(minutes, 2)? * 60))
}

/// Days since 1970 in the Gregorian calendar, years beginning in March so that the leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, in_era) = (year.div_euclid(400), year.rem_euclid(400));
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_read_with_fraction_and_offset() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(seconds("2000-02-29T12:00:00.5Z"), Some(951_825_600.5));
        assert_eq!(seconds("2026-03-01T01:30:00+01:30"), Some(1_772_323_200.0));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026-03-01",
            "2026-03-01 01:30:00Z",
            "2026-03-01T01:30:00",
            "2026-13-01T01:30:00Z",
            "2026-03-01T01:30:00.Z",
            "2026-03-01T01:30:00Zulu",
            "+026-03-01T01:30:00Z",
            "2026-03-01T24:00:00Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}

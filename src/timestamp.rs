//! Instants as they are stored and compared: whole microseconds since 1970-01-01T00:00:00Z.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds to an hour.
const HOUR: i64 = 3_600_000_000;

/// Microseconds since the Unix epoch. Saturates instead of wrapping.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Timestamp(i64);

impl Timestamp {
    /// No instant comes after it.
    pub(crate) const LAST: Self = Self(i64::MAX);

    pub(crate) const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub(crate) const fn as_micros(self) -> i64 {
        self.0
    }

    pub(crate) const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Whole seconds, rounded down.
    pub(crate) const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The same instant with the fraction of its second cut off.
    pub(crate) const fn whole_second(self) -> Self {
        Self::from_seconds(self.as_seconds())
    }

    /// Whole hours since 1970, rounded down.
    pub(crate) const fn hour(self) -> i64 {
        self.0.div_euclid(HOUR)
    }

    /// The first hour that begins at this instant or after it.
    pub(crate) const fn next_hour(self) -> i64 {
        self.hour() + (self.0.rem_euclid(HOUR) > 0) as i64
    }

    /// Whole days since 1970 UTC, rounded down.
    pub(crate) const fn day(self) -> i64 {
        self.hour().div_euclid(24)
    }

    /// Where an hour since 1970 begins.
    pub(crate) const fn of_hour(hour: i64) -> Self {
        Self(hour.saturating_mul(HOUR))
    }

    pub(crate) fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(micros(by)))
    }

    pub(crate) fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(micros(by)))
    }

    /// The time from another instant to this one; none where that is the later one.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// As RFC 3339 has it; `None` for a year that it cannot say.
    pub(crate) fn to_text(self) -> Option<String> {
        self.to_date_time().format(&Rfc3339).ok()
    }

    /// The instant in the type of the public interface, kept within the years it can show.
    pub(crate) fn to_date_time(self) -> OffsetDateTime {
        let nanos = i128::from(self.0) * 1_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(if self.0 < 0 {
            time::macros::datetime!(-9999-01-01 00:00 UTC)
        } else {
            time::macros::datetime!(9999-12-31 23:59:59 UTC)
        })
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Self {
        let seconds = at.unix_timestamp().saturating_mul(1_000_000);
        Self(seconds.saturating_add(i64::from(at.microsecond())))
    }
}

/// A duration in whole microseconds, saturating.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_before_1970_keep_their_microseconds() {
        let at = time::macros::datetime!(1969-12-31 23:59:59.250_001 UTC);
        let stamp = Timestamp::from(at);
        assert_eq!(stamp.as_micros(), -749_999);
        assert_eq!(stamp.as_seconds(), -1);
        assert_eq!(stamp.to_date_time(), at);
    }

    #[test]
    fn an_instant_out_of_range_is_shown_as_the_last_one_there_is() {
        assert_eq!(Timestamp::from_micros(i64::MAX).to_date_time().year(), 9999);
        assert_eq!(Timestamp::from_micros(i64::MIN).to_date_time().year(), -9999);
    }
}

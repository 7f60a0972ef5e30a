//! The windows that a quota is told for, and where those of the calendar begin and end.

use std::fmt;
use std::time::Duration;

use time::{Date, Month};

use crate::timestamp::Timestamp;

/// Which limit of a [`Quota`](crate::Quota) is meant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum QuotaWindow {
    /// The day of UTC.
    Day,
    /// The hour of the clock.
    Hour,
    /// The minute of the clock.
    Minute,
    /// The calendar month of UTC.
    Month,
    /// The even rate, of this process alone.
    Rate,
}

impl QuotaWindow {
    /// The window as it appears in answers, such as `day`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Month => "month",
            Self::Rate => "rate",
        }
    }
}

impl fmt::Display for QuotaWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How one limit of a token stands: what the `RateLimit` fields of an answer say.
///
/// Exact where one process uses the file. With several it is what this one knows: what the others took since it last
/// asked the file is not in it.
///
/// ```
/// # use token_tracker::{ManualClock, NewToken, Quota, TokenTracker};
/// # let tracker = TokenTracker::builder().clock(ManualClock::default()).in_memory()?;
/// let new = NewToken::opaque("alice", "laptop").quota(Quota::new().per_hour(50).per_day(1_000));
/// let issued = tracker.tokens().issue(new)?;
/// let access = tracker.authenticate(&issued.secret)?;
/// let shown: Vec<String> = access
///     .quota()
///     .iter()
///     .map(|state| format!("{};r={};t={}", state.window, state.remaining, state.reset.as_secs()))
///     .collect();
/// assert_eq!(shown, ["hour;r=49;t=3600", "day;r=999;t=86400"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct QuotaState {
    /// Of which window.
    pub window: QuotaWindow,
    /// The units of the window; of a rate, its burst.
    pub limit: u64,
    /// The units that are left, 0 to `limit`.
    pub remaining: u64,
    /// How long until all of `limit` is free again: to the end of the window; of a rate, until it has recovered.
    pub reset: Duration,
}

impl QuotaState {
    pub(crate) fn new(window: QuotaWindow, limit: u64, remaining: u64, reset: Duration) -> Self {
        Self { window, limit, remaining, reset }
    }
}

/// A length of time that the calendar of UTC is cut into. The code in the store is the place in the list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Period {
    Minute,
    Hour,
    Day,
    Month,
}

const MONTHS: i64 = 12;

impl Period {
    pub(crate) const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::Month];

    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn place(self) -> usize {
        self.code().into()
    }

    pub(crate) fn window(self) -> QuotaWindow {
        match self {
            Self::Minute => QuotaWindow::Minute,
            Self::Hour => QuotaWindow::Hour,
            Self::Day => QuotaWindow::Day,
            Self::Month => QuotaWindow::Month,
        }
    }

    /// Which window since 1970 an instant is in.
    pub(crate) fn number(self, at: Timestamp) -> i64 {
        match self {
            Self::Minute => at.as_seconds().div_euclid(60),
            Self::Hour => at.hour(),
            Self::Day => at.day(),
            Self::Month => {
                let date = at.to_date_time().date();
                (i64::from(date.year()) - 1970) * MONTHS + i64::from(u8::from(date.month())) - 1
            }
        }
    }

    /// Where a window ends and the next begins. Beyond the years that there are, never.
    pub(crate) fn end(self, number: i64) -> Timestamp {
        let next = number.saturating_add(1);
        match self {
            Self::Minute => Timestamp::from_seconds(next.saturating_mul(60)),
            Self::Hour => Timestamp::of_hour(next),
            Self::Day => Timestamp::of_hour(next.saturating_mul(24)),
            Self::Month => start_of_month(next).unwrap_or(Timestamp::from_micros(i64::MAX)),
        }
    }
}

fn start_of_month(number: i64) -> Option<Timestamp> {
    let year = i32::try_from(number.div_euclid(MONTHS).checked_add(1970)?).ok()?;
    let month = Month::try_from(u8::try_from(number.rem_euclid(MONTHS) + 1).ok()?).ok()?;
    let first = Date::from_calendar_date(year, month, 1).ok()?;
    Some(Timestamp::from(first.midnight().assume_utc()))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    #[test]
    fn every_window_ends_where_the_next_one_begins() {
        let ends = [
            (Period::Minute, datetime!(2026-12-31 23:59 UTC), datetime!(2027-01-01 00:00 UTC)),
            (Period::Hour, datetime!(2026-03-29 01:00 UTC), datetime!(2026-03-29 02:00 UTC)),
            (Period::Day, datetime!(2028-02-28 00:00 UTC), datetime!(2028-02-29 00:00 UTC)),
            (Period::Month, datetime!(2026-01-01 00:00 UTC), datetime!(2026-02-01 00:00 UTC)),
            (Period::Month, datetime!(2026-02-01 00:00 UTC), datetime!(2026-03-01 00:00 UTC)),
            (Period::Month, datetime!(2028-02-01 00:00 UTC), datetime!(2028-03-01 00:00 UTC)),
            (Period::Month, datetime!(2026-04-01 00:00 UTC), datetime!(2026-05-01 00:00 UTC)),
            (Period::Month, datetime!(2026-12-01 00:00 UTC), datetime!(2027-01-01 00:00 UTC)),
            (Period::Month, datetime!(1969-12-01 00:00 UTC), datetime!(1970-01-01 00:00 UTC)),
        ];
        for (period, start, end) in ends {
            let (start, end) = (Timestamp::from(start), Timestamp::from(end));
            let number = period.number(start);
            assert_eq!(period.end(number), end);
            assert_eq!(period.number(end.saturating_sub(MICROSECOND)), number);
            assert_eq!(period.number(end), number + 1);
            assert_eq!(period.number(start.saturating_sub(MICROSECOND)), number - 1);
        }
        assert_eq!(Period::Month.number(Timestamp::from_seconds(0)), 0);
    }

    #[test]
    fn windows_at_the_ends_of_time_do_not_wrap() {
        for period in Period::ALL {
            for micros in [i64::MIN, i64::MAX] {
                let number = period.number(Timestamp::from_micros(micros));
                assert!(period.end(number) >= period.end(number - 1), "{period:?}");
            }
            assert!(period.end(i64::MAX) >= period.end(i64::MAX - 1), "{period:?}");
        }
    }

    #[test]
    fn codes_are_the_places_in_the_list() {
        assert_eq!(Period::ALL.map(Period::code), [0, 1, 2, 3]);
        let names = Period::ALL.map(|period| period.window().as_str());
        assert_eq!(names, ["minute", "hour", "day", "month"]);
    }
}

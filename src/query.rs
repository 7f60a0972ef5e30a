//! Questions about usage: whose, over what period, and grouped by what.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use time::{Date, OffsetDateTime, Time, UtcOffset};

use crate::bounds::check_number;
use crate::error::Error;
use crate::tally::Tally;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// The longest period that can be asked for, in days: ten years.
pub(crate) const MAX_DAYS: u32 = 3_650;

const DAY: Duration = Duration::from_secs(86_400);

/// Whose usage is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    All,
    Owner(String),
    Tag(String),
    Token(TokenId),
}

/// From when to when: the start is in it, the end is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Period {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) days: f64,
    /// What it begins with, where that was said: a period up to now begins where it can.
    pub(crate) begins: Option<&'static str>,
}

impl Period {
    /// The days up to now, from the full hour on in which they begin, with all of the present hour.
    pub(crate) fn last_days(days: i64, now: Timestamp) -> Result<Self, Error> {
        check_number("days", days, MAX_DAYS)?;
        let hours = days.saturating_mul(24);
        Ok(Self { days: days as f64, ..Self::back(hours, now) })
    }

    pub(crate) fn last_hours(hours: i64, now: Timestamp) -> Result<Self, Error> {
        check_number("hours", hours, MAX_DAYS * 24)?;
        Ok(Self::back(hours, now))
    }

    fn back(hours: i64, now: Timestamp) -> Self {
        Self {
            from: Timestamp::of_hour(now.hour().saturating_sub(hours)),
            until: Timestamp::of_hour(now.hour().saturating_add(1)),
            days: hours as f64 / 24.0,
            begins: None,
        }
    }

    pub(crate) fn between(from: Timestamp, until: Timestamp) -> Result<Self, Error> {
        if until <= from {
            return Err(Error::invalid("until", "must be after `from`"));
        }
        if from.saturating_add(DAY * MAX_DAYS) < until {
            return Err(Error::invalid(
                "from",
                format!("must be within {MAX_DAYS} days of `until`"),
            ));
        }
        let micros = until.as_micros().saturating_sub(from.as_micros());
        Ok(Self { from, until, days: micros as f64 / 86_400e6, begins: Some("from") })
    }

    /// Whole days of the calendar, the last among them.
    pub(crate) fn days(first: Date, last: Date, offset: UtcOffset) -> Result<Self, Error> {
        if last < first {
            return Err(Error::invalid("last", "must not be before `first`"));
        }
        let starts =
            |date: Date| Timestamp::from(date.with_time(Time::MIDNIGHT).assume_offset(offset));
        Self::between(starts(first), starts(last).saturating_add(DAY))
            .map(|period| Self { begins: Some("first"), ..period })
            .map_err(|_| {
                Error::invalid("first", format!("must be within {MAX_DAYS} days of `last`"))
            })
    }

    /// The last days of the calendar, up to the end of today.
    pub(crate) fn calendar_days(
        days: i64,
        now: Timestamp,
        offset: UtcOffset,
    ) -> Result<Self, Error> {
        check_number("days", days, MAX_DAYS)?;
        let today = now.to_date_time().to_offset(offset).date();
        let first = today.saturating_sub(time::Duration::days(days - 1));
        Self::days(first, today, offset).map(|period| Self { begins: None, ..period })
    }

    /// It in parts of whole hours, or of whole days of the calendar, each with its beginning; the first and the last
    /// are cut by the period.
    pub(crate) fn parts(&self, unit: Unit, offset: UtcOffset) -> Result<Vec<Part>, Error> {
        let length = match unit {
            Unit::Day => 86_400_000_000,
            Unit::Hour => 3_600_000_000,
        };
        let shift = i64::from(offset.whole_seconds()) * 1_000_000;
        let (from, until) = (self.from.as_micros(), self.until.as_micros());
        if until.saturating_sub(from) / length > MAX_PARTS {
            let message =
                format!("would make over {MAX_PARTS} groups of this period: ask for days");
            return Err(Error::invalid("by", message));
        }
        let mut parts = Vec::new();
        let mut start = from;
        while start < until {
            let local = start.saturating_add(shift).div_euclid(length).saturating_mul(length);
            let begins = local.saturating_sub(shift);
            let end = begins.saturating_add(length).min(until);
            let days = end.saturating_sub(start) as f64 / 86_400e6;
            let [begins, from, until] = [begins, start, end].map(Timestamp::from_micros);
            parts.push(Part { begins, period: Self { from, until, days, begins: None } });
            start = end;
        }
        Ok(parts)
    }
}

/// An hour or a day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) begins: Timestamp,
    pub(crate) period: Period,
}

/// Hours or days that one answer has at most.
const MAX_PARTS: i64 = 10_000;

/// What a period is cut into.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    Day,
    Hour,
}

/// What [`StatsQuery::groups`](crate::StatsQuery::groups) puts requests together by.
///
/// As text, which is also its form in JSON, in snake case: `status_class`.
///
/// ```
/// use token_tracker::Grouping;
///
/// assert_eq!("status_class".parse::<Grouping>()?, Grouping::StatusClass);
/// assert_eq!("colour".parse::<Grouping>().unwrap_err().field(), Some("by"));
/// # Ok::<(), token_tracker::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Grouping {
    /// The client's address, as [it is kept](crate::ClientAddresses).
    ClientAddress,
    /// Days of the calendar, in the [offset](crate::StatsQuery::offset) that was asked for.
    Day,
    /// Hours, in the offset.
    Hour,
    /// The request's method.
    Method,
    /// How requests ended.
    Outcome,
    /// The owner of the token, as the catalogue has it now.
    Owner,
    /// Why requests were denied; those that were not are in no group.
    Reason,
    /// The route template.
    Route,
    /// The status code.
    Status,
    /// The first digit of the status code: `2xx`.
    StatusClass,
    /// The token.
    Token,
    /// The `User-Agent`.
    UserAgent,
}

const GROUPINGS: [(&str, Grouping); 12] = [
    ("client_address", Grouping::ClientAddress),
    ("day", Grouping::Day),
    ("hour", Grouping::Hour),
    ("method", Grouping::Method),
    ("outcome", Grouping::Outcome),
    ("owner", Grouping::Owner),
    ("reason", Grouping::Reason),
    ("route", Grouping::Route),
    ("status", Grouping::Status),
    ("status_class", Grouping::StatusClass),
    ("token", Grouping::Token),
    ("user_agent", Grouping::UserAgent),
];

impl Order {
    /// The larger, the earlier.
    pub(crate) fn rank(self, tally: &Tally) -> u64 {
        match self {
            Self::Key => 0,
            Self::Cost => tally.cost,
            Self::Denied => tally.denied,
            Self::Mean => tally.duration_us / tally.total().max(1),
            Self::P95 => {
                let p95 = tally.latency.percentile(95).unwrap_or_default();
                u64::try_from(p95.as_micros()).unwrap_or(u64::MAX)
            }
            Self::Requests => tally.total(),
            Self::ResponseBytes => tally.response_bytes,
            Self::ServerErrors => tally.server_error,
        }
    }
}

impl Grouping {
    /// Every grouping, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        GROUPINGS.iter().map(|(_, grouping)| *grouping)
    }

    /// Its name, such as `status_class`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        let found = GROUPINGS.iter().find(|(_, grouping)| *grouping == self);
        found.expect("every grouping has its name, as a test proves").0
    }

    pub(crate) fn unit(self) -> Option<Unit> {
        match self {
            Self::Day => Some(Unit::Day),
            Self::Hour => Some(Unit::Hour),
            _ => None,
        }
    }
}

impl fmt::Display for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Grouping {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = GROUPINGS.iter().find(|(name, _)| *name == text);
        found.map(|(_, grouping)| *grouping).ok_or_else(|| {
            let names: Vec<_> = GROUPINGS.iter().map(|(name, _)| *name).collect();
            Error::invalid("by", format!("must be one of {}", names.join(", ")))
        })
    }
}

/// What is asked, of which moment, and until when there must be an answer.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) scope: Scope,
    pub(crate) period: Period,
    pub(crate) offset: UtcOffset,
    pub(crate) as_of: OffsetDateTime,
    pub(crate) buffered: u64,
    pub(crate) deadline: Instant,
}

/// Which groups, and from what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) by: Grouping,
    pub(crate) order: Order,
    /// Groups to show; all where it is `None`.
    pub(crate) top: Option<usize>,
    pub(crate) source: Source,
}

/// Where answers come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    Records,
    Sums,
}

impl Wanted {
    /// Refuses an order that needs more than what is summed up.
    pub(crate) fn check(&self) -> Result<(), Error> {
        use Grouping as By;
        let is_counted = !matches!(self.by, By::Day | By::Hour | By::Owner | By::Token);
        let is_simple = matches!(self.order, Order::Key | Order::Requests);
        if is_counted && !is_simple && self.source == Source::Sums {
            let by = self.by;
            let message = format!("must be key or requests where sums by {by} are asked for");
            return Err(Error::invalid("order", message));
        }
        Ok(())
    }
}

/// In which order groups come. All but the first begin with the largest.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Order {
    /// By what they are grouped by, ascending: the default for hours and days.
    Key,
    /// By the sum of costs.
    Cost,
    /// By requests that were denied.
    Denied,
    /// By the mean duration.
    Mean,
    /// By the 95th percentile of durations.
    P95,
    /// By requests: the default for everything else.
    Requests,
    /// By the bytes that were sent.
    ResponseBytes,
    /// By requests that ended as the server's error.
    ServerErrors,
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::{date, datetime, offset};

    const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

    #[test]
    fn days_and_hours_out_of_range_are_an_error_that_names_them() {
        for days in [0, -5, 3_651, 1_000_000_000, i64::MIN, i64::MAX] {
            let error = Period::last_days(days, NOW).unwrap_err();
            assert_eq!(error.field(), Some("days"), "{days}");
            let error = Period::calendar_days(days, NOW, UtcOffset::UTC).unwrap_err();
            assert_eq!(error.field(), Some("days"), "{days}");
        }
        for hours in [0, -1, 87_601, i64::MIN, i64::MAX] {
            assert_eq!(Period::last_hours(hours, NOW).unwrap_err().field(), Some("hours"));
        }
        assert_eq!(Period::last_days(30, NOW).unwrap().days, 30.0);
        assert_eq!(Period::last_hours(36, NOW).unwrap().days, 1.5);
    }

    #[test]
    fn a_period_that_ends_before_it_starts_is_an_error() {
        assert_eq!(Period::between(NOW, NOW).unwrap_err().field(), Some("until"));
        let ages_ago = Timestamp::from_micros(0);
        assert_eq!(Period::between(ages_ago, NOW).unwrap_err().field(), Some("from"));
        let (one, two) = (date!(2026 - 03 - 02), date!(2026 - 03 - 01));
        assert_eq!(Period::days(one, two, offset!(+2)).unwrap_err().field(), Some("last"));
        let long_ago = date!(1999 - 01 - 01);
        assert_eq!(Period::days(long_ago, two, offset!(+2)).unwrap_err().field(), Some("first"));
        for extreme in [Date::MIN, Date::MAX] {
            for offset in [offset!(-23:59:59), offset!(+23:59:59)] {
                let _ = Period::days(extreme, extreme, offset);
            }
        }
    }

    #[test]
    fn calendar_days_begin_at_midnight_of_the_offset() {
        let days = |offset| Period::calendar_days(2, NOW, offset).unwrap();
        let (west, east) = (days(offset!(-5)), days(offset!(+5:30)));
        assert_eq!(west.from.to_date_time(), datetime!(2025-12-30 05:00 UTC));
        assert_eq!(west.until.to_date_time(), datetime!(2026-01-01 05:00 UTC));
        assert_eq!(east.from.to_date_time(), datetime!(2025-12-30 18:30 UTC));
        assert_eq!((east.days, west.days), (2.0, 2.0));
    }

    #[test]
    fn parts_are_whole_hours_or_days_without_gap_or_overlap() {
        let from = Timestamp::from(datetime!(2026-01-01 10:20:30.5 UTC));
        let period = Period::between(from, from.saturating_add(DAY * 3)).unwrap();
        for (unit, offset, many, first) in [
            (Unit::Day, UtcOffset::UTC, 4, datetime!(2026-01-02 00:00 UTC)),
            (Unit::Day, offset!(+5:30), 4, datetime!(2026-01-01 18:30 UTC)),
            (Unit::Day, offset!(-23:59), 4, datetime!(2026-01-01 23:59 UTC)),
            (Unit::Hour, UtcOffset::UTC, 73, datetime!(2026-01-01 11:00 UTC)),
            (Unit::Hour, offset!(+5:30), 73, datetime!(2026-01-01 10:30 UTC)),
        ] {
            let parts = period.parts(unit, offset).unwrap();
            assert!(parts[0].begins < period.from && parts[1].begins == parts[1].period.from);
            let parts: Vec<_> = parts.into_iter().map(|part| part.period).collect();
            assert_eq!(parts.len(), many, "{unit:?} {offset}");
            assert_eq!((parts[0].from, parts[many - 1].until), (period.from, period.until));
            assert_eq!(parts[0].until.to_date_time(), first);
            assert!(parts.windows(2).all(|pair| pair[0].until == pair[1].from));
        }
        let long = Period::last_days(3_650, NOW).unwrap();
        assert_eq!(long.parts(Unit::Hour, UtcOffset::UTC).unwrap_err().field(), Some("by"));
        assert_eq!(long.parts(Unit::Day, UtcOffset::UTC).unwrap().len(), 3_651);
    }

    #[test]
    fn groupings_are_known_by_their_names() {
        for (name, grouping) in GROUPINGS {
            assert_eq!((grouping.as_str(), name.parse::<Grouping>().unwrap()), (name, grouping));
            assert_eq!(serde_json::to_string(&grouping).unwrap(), format!("\"{name}\""));
        }
        for unknown in ["", "Route", "routes", "colour"] {
            assert_eq!(unknown.parse::<Grouping>().unwrap_err().field(), Some("by"));
        }
    }
}

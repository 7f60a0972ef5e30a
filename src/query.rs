//! Questions about usage and their answers.

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use crate::error::Error;
use crate::tally::Tally;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// The longest period that can be asked for, in days: ten years.
pub(crate) const MAX_DAYS: u32 = 3_650;

/// Whose usage is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    All,
    Owner(String),
    Token(TokenId),
}

/// From when to when: the start is in it, the end is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Period {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) days: f64,
}

impl Period {
    /// The days up to now, from the full hour on in which they begin, with all of the present hour.
    pub(crate) fn last_days(days: i64, now: Timestamp) -> Result<Self, Error> {
        if !(1..=i64::from(MAX_DAYS)).contains(&days) {
            return Err(Error::invalid("days", format!("must be 1 to {MAX_DAYS}, not {days}")));
        }
        Ok(Self {
            from: Timestamp::of_hour(now.hour().saturating_sub(days * 24)),
            until: Timestamp::of_hour(now.hour().saturating_add(1)),
            days: days as f64,
        })
    }

    pub(crate) fn between(from: Timestamp, until: Timestamp) -> Result<Self, Error> {
        if until <= from {
            return Err(Error::invalid("until", "must be after `from`"));
        }
        let longest = Duration::from_secs(u64::from(MAX_DAYS) * 86_400);
        if from.saturating_add(longest) < until {
            return Err(Error::invalid(
                "from",
                format!("must be within {MAX_DAYS} days of `until`"),
            ));
        }
        let micros = until.as_micros().saturating_sub(from.as_micros());
        Ok(Self { from, until, days: (micros / 1_000_000) as f64 / 86_400.0 })
    }
}

/// Totals by outcome, and how long requests took, over a period.
///
/// `total` is the sum of the five outcomes. Durations are those of all requests, the denied among them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// How long the period is, in days, as it was asked for.
    pub period_days: f64,
    /// From when on requests are counted. Earlier than what was asked for, where the records of that hour are no
    /// longer kept, by the rest of an hour; where its hours are no longer kept, by the rest of a day (UTC).
    pub from: OffsetDateTime,
    /// Until when requests are counted, this instant not among them; later than asked for as `from` is earlier.
    pub until: OffsetDateTime,
    /// Records that were dropped in the hours of the period, of whatever token: a gap in all the other numbers.
    pub dropped: u64,
    /// All requests.
    pub total: u64,
    /// Answered below 400, to the end.
    pub success: u64,
    /// Answered 4xx by the service.
    pub client_error: u64,
    /// Answered 5xx, or failed half-way.
    pub server_error: u64,
    /// Refused by this library.
    pub denied: u64,
    /// Never ended.
    pub unfinished: u64,
    /// Those with a status below 400, whatever became of them after the head.
    pub below_400: u64,
    /// The bodies that were sent, in bytes.
    pub response_bytes: u64,
    /// The sum of the costs, those of refused requests too.
    pub cost: u64,
    /// How long requests took; `None` where there was none.
    pub latency: Option<Latency>,
}

impl Summary {
    pub(crate) fn new(
        tally: &Tally,
        dropped: u64,
        period_days: f64,
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Self {
        Self {
            period_days,
            from,
            until,
            dropped,
            total: tally.total(),
            success: tally.success,
            client_error: tally.client_error,
            server_error: tally.server_error,
            denied: tally.denied,
            unfinished: tally.unfinished,
            below_400: tally.below_400,
            response_bytes: tally.response_bytes,
            cost: tally.cost,
            latency: Latency::of(tally),
        }
    }

    /// The share of requests with a status below 400, 0 to 1; 0 where there was none.
    #[must_use]
    pub fn success_rate(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.below_400 as f64 / self.total as f64 }
    }
}

/// How long requests took.
///
/// Mean and maximum are exact. Percentiles are nearest-rank (the value that so many percent do not exceed), to
/// within 1/32 (3.2 %) of their value, and exact below 32 µs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Latency {
    /// The arithmetic mean.
    pub mean: Duration,
    /// The median.
    pub p50: Duration,
    /// The 90th percentile.
    pub p90: Duration,
    /// The 95th percentile.
    pub p95: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Latency {
    pub(crate) fn of(tally: &Tally) -> Option<Self> {
        let max = Duration::from_micros(tally.longest_us);
        let rank = |percent| tally.latency.percentile(percent).map(|shown| shown.min(max));
        Some(Self {
            mean: Duration::from_micros(tally.duration_us / tally.total().max(1)),
            p50: rank(50)?,
            p90: rank(90)?,
            p95: rank(95)?,
            p99: rank(99)?,
            max,
        })
    }
}

/// What [`TokenTracker::verify`](crate::TokenTracker::verify) found.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// What is wrong with the file, in words; the first hundred problems. Empty for a sound file.
    pub problems: Vec<String>,
    /// The requests that the log has records of.
    pub records: u64,
    /// The sums that were compared with what they are made of.
    pub sums: u64,
}

/// A route and how many requests it had.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RouteCount {
    /// The route template.
    pub route: String,
    /// Its requests.
    pub requests: u64,
}

/// The well-known seven numbers, for services that move over from a gateway that gave them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CompatibilitySummary {
    /// How long the period is, in days.
    pub period_days: f64,
    /// All requests.
    pub total_requests: u64,
    /// Those with a status below 400.
    pub successful_requests: u64,
    /// Those refused by this library.
    pub blocked_requests: u64,
    /// Successful by total, 0 to 1; 0 where there was none.
    pub success_rate: f64,
    /// The mean of all requests, in milliseconds with their fraction; 0 where there was none.
    pub average_response_time_ms: f64,
    /// The five routes with most requests, most first.
    pub top_endpoints: Vec<RouteCount>,
}

impl CompatibilitySummary {
    pub(crate) fn new(summary: &Summary, top_endpoints: Vec<RouteCount>) -> Self {
        let mean = summary.latency.map_or(Duration::ZERO, |latency| latency.mean);
        Self {
            period_days: summary.period_days,
            total_requests: summary.total,
            successful_requests: summary.below_400,
            blocked_requests: summary.denied,
            success_rate: summary.success_rate(),
            average_response_time_ms: mean.as_secs_f64() * 1_000.0,
            top_endpoints,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

    #[test]
    fn days_out_of_range_are_an_error_that_names_them() {
        for days in [0, -5, 3_651, 1_000_000_000, i64::MIN, i64::MAX] {
            let error = Period::last_days(days, NOW).unwrap_err();
            assert_eq!(error.field(), Some("days"), "{days}");
        }
        assert_eq!(Period::last_days(30, NOW).unwrap().days, 30.0);
    }

    #[test]
    fn a_period_that_ends_before_it_starts_is_an_error() {
        assert_eq!(Period::between(NOW, NOW).unwrap_err().field(), Some("until"));
        let ages_ago = Timestamp::from_micros(0);
        assert_eq!(Period::between(ages_ago, NOW).unwrap_err().field(), Some("from"));
    }
}

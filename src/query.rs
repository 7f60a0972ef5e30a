//! Questions about usage and their answers.

use std::time::Duration;

use crate::error::Error;
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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Period {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

impl Period {
    /// The days up to now, the present instant included.
    pub(crate) fn last_days(days: i64, now: Timestamp) -> Result<Self, Error> {
        if !(1..=i64::from(MAX_DAYS)).contains(&days) {
            return Err(Error::invalid("days", format!("must be 1 to {MAX_DAYS}, not {days}")));
        }
        let length = Duration::from_secs(days.unsigned_abs() * 86_400);
        Ok(Self {
            from: now.saturating_sub(length),
            until: now.saturating_add(Duration::from_micros(1)),
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
        Ok(Self { from, until })
    }

    pub(crate) fn days(self) -> f64 {
        let micros = self.until.as_micros().saturating_sub(self.from.as_micros());
        (micros / 1_000_000) as f64 / 86_400.0
    }
}

/// Totals by outcome, and how long requests took, over a period.
///
/// `total` is the sum of the five outcomes. Durations are those of all requests, the denied among
/// them, exact to the microsecond.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// How long the period is, in days.
    pub period_days: f64,
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
    /// The sum of the costs.
    pub cost: u64,
    /// How long requests took; `None` where there was none.
    pub latency: Option<Latency>,
}

impl Summary {
    /// The share of requests with a status below 400, 0 to 1; 0 where there was none.
    #[must_use]
    pub fn success_rate(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.below_400 as f64 / self.total as f64 }
    }
}

/// How long requests took. Percentiles are nearest-rank: the value that so many percent do not exceed.
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
    /// From all durations and how many requests each stands for.
    pub(crate) fn from_weighted(mut durations: Vec<(i64, u64)>) -> Option<Self> {
        durations.sort_unstable();
        let count: u64 = durations.iter().map(|(_, weight)| weight).sum();
        let (longest, _) = *durations.last()?;
        let sum: i128 =
            durations.iter().map(|(us, weight)| i128::from(*us) * i128::from(*weight)).sum();
        let mean = i64::try_from(sum / i128::from(count.max(1))).unwrap_or(i64::MAX);
        let rank = |percent: u64| {
            let wanted = (count * percent).div_ceil(100).max(1);
            let mut seen = 0;
            let found = durations.iter().find(|(_, weight)| {
                seen += weight;
                seen >= wanted
            });
            duration(found.map_or(longest, |(us, _)| *us))
        };
        Some(Self {
            mean: duration(mean),
            p50: rank(50),
            p90: rank(90),
            p95: rank(95),
            p99: rank(99),
            max: duration(longest),
        })
    }
}

fn duration(us: i64) -> Duration {
    Duration::from_micros(us.unsigned_abs())
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
        assert_eq!(Period::last_days(30, NOW).unwrap().days(), 30.0);
    }

    #[test]
    fn a_period_that_ends_before_it_starts_is_an_error() {
        assert_eq!(Period::between(NOW, NOW).unwrap_err().field(), Some("until"));
        let ages_ago = Timestamp::from_micros(0);
        assert_eq!(Period::between(ages_ago, NOW).unwrap_err().field(), Some("from"));
    }

    #[test]
    fn percentiles_are_nearest_rank_and_weights_count() {
        let even = Latency::from_weighted((1..=100).map(|us| (us, 1)).collect()).unwrap();
        let micros = |us| Duration::from_micros(us);
        assert_eq!((even.p50, even.p95, even.p99), (micros(50), micros(95), micros(99)));
        assert_eq!((even.mean, even.max), (micros(50), micros(100)));
        let weighted = Latency::from_weighted(vec![(10, 99), (1_000, 1)]).unwrap();
        assert_eq!((weighted.p99, weighted.max), (micros(10), micros(1_000)));
        assert_eq!(Latency::from_weighted(Vec::new()), None);
    }

    #[test]
    fn a_request_under_half_a_millisecond_counts_in_the_mean() {
        let latency = Latency::from_weighted(vec![(100, 1), (300, 1)]);
        let summary = Summary { total: 2, latency, ..Summary::default() };
        let compatible = CompatibilitySummary::new(&summary, Vec::new());
        assert_eq!(compatible.average_response_time_ms, 0.2);
    }
}

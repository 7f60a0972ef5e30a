//! Answers to questions about usage: values that also serialise.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::address::ClientAddress;
use crate::clients::Sketch;
use crate::query::Grouping;
use crate::tally::Tally;
use crate::token::TokenId;

/// Totals by outcome, and how long requests took, over a period.
///
/// `total` is the sum of the five outcomes. Durations are those of all requests, the denied among them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// How long the period is, in days, as it was asked for.
    pub period_days: f64,
    /// From when on requests are counted. Earlier than what was asked for, where the records of that hour are no
    /// longer kept, by the rest of an hour; where its hours are no longer kept, by the rest of a day (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    /// Until when requests are counted, this instant not among them; later than asked for as `from` is earlier.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
    /// When this was read. It has all that was committed by then, by whatever process.
    #[serde(with = "time::serde::rfc3339")]
    pub as_of: OffsetDateTime,
    /// Records of this process that waited for their commit at that time: they are in none of the numbers.
    pub buffered: u64,
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
    /// The share of all requests that have a status below 400: `below_400` by `total`, 0 where there was none.
    pub success_rate: f64,
    /// The bodies that were sent, in bytes.
    pub response_bytes: u64,
    /// The sum of the costs, those of refused requests too.
    pub cost: u64,
    /// From how many addresses requests came, as far as [addresses are kept](crate::ClientAddresses).
    pub distinct_addresses: Distinct,
    /// How long requests took; `None` where there was none.
    pub latency: Option<Latency>,
}

/// What an answer is of, beside the numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) days: f64,
    pub(crate) from: OffsetDateTime,
    pub(crate) until: OffsetDateTime,
    pub(crate) as_of: OffsetDateTime,
    pub(crate) buffered: u64,
    pub(crate) dropped: u64,
}

impl Summary {
    pub(crate) fn new(tally: &Tally, addresses: &Sketch, frame: Frame) -> Self {
        let (total, (count, is_exact)) = (tally.total(), addresses.distinct());
        let success_rate = if total == 0 { 0.0 } else { tally.below_400 as f64 / total as f64 };
        Self {
            period_days: frame.days,
            from: frame.from,
            until: frame.until,
            as_of: frame.as_of,
            buffered: frame.buffered,
            dropped: frame.dropped,
            total,
            success: tally.success,
            client_error: tally.client_error,
            server_error: tally.server_error,
            denied: tally.denied,
            unfinished: tally.unfinished,
            below_400: tally.below_400,
            success_rate,
            response_bytes: tally.response_bytes,
            cost: tally.cost,
            distinct_addresses: Distinct { count, is_exact },
            latency: Latency::of(tally),
        }
    }
}

/// How many different values there were.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Distinct {
    /// The number. Of all tokens together it is exact up to 1,024, and of one token as long as there are no more than
    /// 64 in any hour. Above it is estimated, with a standard error of 3 % and 13 %: two of three times it is within
    /// that, and nearly always within three times as much. Where it is made [of
    /// records](crate::StatsQuery::from_records), it is as that of all tokens.
    pub count: u64,
    /// Whether it is exact.
    pub is_exact: bool,
}

/// How long requests took.
///
/// Mean and maximum are exact. Percentiles are nearest-rank (the value that so many percent do not exceed), to
/// within 1/32 (3.2 %) of their value, and exact below 32 µs. In JSON they are whole microseconds: `p50_us`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// The arithmetic mean.
    #[serde(rename = "mean_us", serialize_with = "micros")]
    pub mean: Duration,
    /// The median.
    #[serde(rename = "p50_us", serialize_with = "micros")]
    pub p50: Duration,
    /// The 90th percentile.
    #[serde(rename = "p90_us", serialize_with = "micros")]
    pub p90: Duration,
    /// The 95th percentile.
    #[serde(rename = "p95_us", serialize_with = "micros")]
    pub p95: Duration,
    /// The 99th percentile.
    #[serde(rename = "p99_us", serialize_with = "micros")]
    pub p99: Duration,
    /// The longest.
    #[serde(rename = "max_us", serialize_with = "micros")]
    pub max: Duration,
}

fn micros<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
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

/// Requests by what they have in common. See [`StatsQuery::groups`](crate::StatsQuery::groups).
///
/// The requests of all groups and `other` add up to all: `total.total`, or where they are grouped by reason to
/// `total.denied`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Groups {
    /// What they are grouped by.
    pub by: Grouping,
    /// All of them together.
    pub total: Summary,
    /// The groups, in the order that was asked for.
    pub groups: Vec<Group>,
    /// The requests that are in no group: of groups that are not among the first, or no longer told apart.
    pub other: u64,
}

/// A group of requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// What they have in common.
    pub key: GroupKey,
    /// Their number.
    pub requests: u64,
    /// All that is known of them. `None` where they are only counted.
    pub summary: Option<Summary>,
}

/// What the requests of a group have in common. In JSON it is the value itself: a text, a number, or null.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum GroupKey {
    /// A client's address.
    Address(ClientAddress),
    /// Nothing was said, or nothing of it is kept.
    None,
    /// A status code.
    Status(u16),
    /// A route, method, user agent, owner, outcome, reason or class of status.
    Text(String),
    /// The beginning of an hour or day, in the offset that was asked for, also where the period begins within it.
    #[serde(with = "time::serde::rfc3339")]
    Time(OffsetDateTime),
    /// A token.
    Token(TokenId),
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::None => f.write_str("<none>"),
            Self::Status(status) => status.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Time(time) => match time.format(&Rfc3339) {
                Ok(text) => f.write_str(&text),
                Err(_) => time.fmt(f),
            },
            Self::Token(token) => token.fmt(f),
        }
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
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RouteCount {
    /// The route template.
    pub route: String,
    /// Its requests.
    pub requests: u64,
}

/// The well-known seven numbers, for services that move over from a gateway that gave them.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    pub(crate) fn new(routes: Groups) -> Self {
        let Groups { total, groups, .. } = routes;
        let mean = total.latency.map_or(Duration::ZERO, |latency| latency.mean);
        let endpoint =
            |group: Group| RouteCount { route: group.key.to_string(), requests: group.requests };
        Self {
            period_days: total.period_days,
            total_requests: total.total,
            successful_requests: total.below_400,
            blocked_requests: total.denied,
            success_rate: total.success_rate,
            average_response_time_ms: mean.as_secs_f64() * 1_000.0,
            top_endpoints: groups.into_iter().map(endpoint).collect(),
        }
    }
}

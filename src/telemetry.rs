//! What the library counts of itself: a snapshot, as a value and as text, and the optional types that hand it on.

mod families;
mod open_metrics;
#[cfg(feature = "metrics")]
mod publisher;
#[cfg(feature = "tracing")]
mod tracing_hook;

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::health::Health;
use crate::reason::DenialReason;
use crate::record::{Outcome, Record};
#[cfg(feature = "metrics")]
pub use publisher::MetricsPublisher;
#[cfg(feature = "tracing")]
pub use tracing_hook::TracingHook;

/// A tracker's own counters since it was opened, of this process alone. From [`TokenTracker::metrics`].
///
/// Its [`Display`](std::fmt::Display) is OpenMetrics 1.0 text, to be served as [`Metrics::CONTENT_TYPE`]. What is
/// counted is counted of all tokens together: no label is of a token, an owner, a route, an address or a user agent.
/// The text has the same seventy samples at all times, less those of files where the database is in memory. Counters begin at 0 when a tracker is opened, never go back, and stay as they are once it is closed.
///
/// An *attempt* is a call of [`TokenTracker::authenticate`] that returns, or of
/// [`TokenTracker::authenticate_cached`] that answers; one that says `None` is no attempt, so that a request that is
/// then taken to `authenticate` is one. Neither [`introspect`](crate::TokenTracker::introspect) nor
/// [`still_holds`](crate::TokenTracker::still_holds) makes any. Each is counted once, in a single step, so that these hold
/// at every moment:
///
/// * [`attempts`](Metrics::attempts) = [`allowed`](Metrics::allowed) + all that is [`denied`](Metrics::denied) +
///   [`unavailable`](Metrics::unavailable).
/// * [`cache_hits`](Metrics::cache_hits) + [`cache_misses`](Metrics::cache_misses) = the attempts whose credential
///   could be that of a token. The others are refused by their form alone: as `credential_missing`,
///   `credential_repeated` or `too_long`, or as `malformed` where it is neither a JWT by its look nor an opaque token
///   with prefix and checksum.
///
/// And by the [accounts](Health) of the queue, which are of the same moment among themselves:
/// [`stored.requests()`](StoredTotals::requests) = [`health.stored`](Health::stored).
///
/// ```
/// # use token_tracker::{Metrics, NewToken, TokenTracker};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
/// for _ in 0..3 {
///     tracker.authenticate(&issued.secret)?;
/// }
/// assert!(tracker.authenticate("made-up").is_err());
///
/// let metrics = tracker.metrics();
/// assert_eq!((metrics.attempts(), metrics.allowed), (4, 3));
/// assert_eq!((metrics.cache_hits, metrics.cache_misses), (2, 1), "the first was looked up");
///
/// // What a handler of `GET /metrics` answers, whatever serves it:
/// let (content_type, body) = (Metrics::CONTENT_TYPE, metrics.to_string());
/// assert!(content_type.starts_with("application/openmetrics-text"));
/// assert!(body.contains("token_tracker_authentication_attempts_total{outcome=\"allowed\"} 3\n"));
/// assert!(body.ends_with("# EOF\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`TokenTracker::metrics`]: crate::TokenTracker::metrics
/// [`TokenTracker::authenticate`]: crate::TokenTracker::authenticate
/// [`TokenTracker::authenticate_cached`]: crate::TokenTracker::authenticate_cached
/// [`TokenTracker::introspect`]: crate::TokenTracker::introspect
/// [`TokenTracker::still_holds`]: crate::TokenTracker::still_holds
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Metrics {
    /// Attempts that were let through.
    pub allowed: u64,
    /// Attempts that were refused, for each reason there is, in alphabetical order.
    pub denied: Vec<DenialCount>,
    /// Attempts that could not be answered, because of the storage.
    pub unavailable: u64,
    /// Attempts that were answered by what the cache held, allowed or denied: without the file and without a signature
    /// check.
    pub cache_hits: u64,
    /// Attempts that had to be looked up, whatever came of it; among them those that had to take units of a quota out
    /// of the file.
    pub cache_misses: u64,
    /// The records that were stored.
    pub stored: StoredTotals,
    /// The commits of records and last uses; what an administrator does is not among them.
    pub commits: CommitTimes,
    /// Commits that failed, each try of one.
    pub commit_failures: u64,
    /// Checkpoints that this tracker made of the write-ahead log while it was open, and those that failed. None where
    /// they are [left to others](crate::Checkpoints::External).
    pub checkpoints: u64,
    /// Checkpoints that failed; what they would have done is done by the next.
    pub checkpoint_failures: u64,
    /// How many records may wait for their commit.
    pub queue_capacity: u64,
    /// The bytes of the database file. `None` in memory, or where the file system does not say.
    pub file_bytes: Option<u64>,
    /// The bytes of the write-ahead log beside it, 0 where there is none.
    pub wal_bytes: Option<u64>,
    /// The most bytes that the file may have.
    pub max_file_bytes: Option<u64>,
    /// Accounts and condition.
    pub health: Health,
}

impl Metrics {
    /// The content type of the text: `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// All attempts: those allowed, denied and unavailable.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        let denied: u64 = self.denied.iter().map(|denied| denied.attempts).sum();
        self.allowed + denied + self.unavailable
    }

    /// The attempts that were denied for this reason.
    #[must_use]
    pub fn denied_as(&self, reason: DenialReason) -> u64 {
        self.denied.iter().filter(|denied| denied.reason == reason).map(|it| it.attempts).sum()
    }
}

/// How often one reason was why.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DenialCount {
    /// The reason.
    #[serde(serialize_with = "as_str")]
    pub reason: DenialReason,
    /// The attempts that were denied for it.
    pub attempts: u64,
}

impl DenialCount {
    pub(crate) fn new(reason: DenialReason, attempts: u64) -> Self {
        Self { reason, attempts }
    }
}

/// What was stored of all tokens together, each request counted that a record stands for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoredTotals {
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
    /// The bodies that were sent, in bytes.
    pub response_bytes: u64,
    /// The sum of the costs.
    pub cost: u64,
}

impl StoredTotals {
    /// All requests, of whatever outcome.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.success + self.client_error + self.server_error + self.denied + self.unfinished
    }

    pub(crate) fn note(&mut self, record: &Record) {
        let of_outcome = match record.outcome {
            Outcome::ClientError => &mut self.client_error,
            Outcome::Denied(_) => &mut self.denied,
            Outcome::ServerError => &mut self.server_error,
            Outcome::Success => &mut self.success,
            Outcome::Unfinished => &mut self.unfinished,
        };
        *of_outcome += u64::from(record.weight);
        self.response_bytes = self.response_bytes.saturating_add(record.response_bytes);
        self.cost = self.cost.saturating_add(record.cost);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.success += other.success;
        self.client_error += other.client_error;
        self.server_error += other.server_error;
        self.denied += other.denied;
        self.unfinished += other.unfinished;
        self.response_bytes = self.response_bytes.saturating_add(other.response_bytes);
        self.cost = self.cost.saturating_add(other.cost);
    }
}

/// How long commits took, each from its beginning to its end on the disk, or as far as the
/// [mode](crate::Durability) has it, measured with the tracker's [`Clock`](crate::Clock).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CommitTimes {
    /// How many there were.
    pub count: u64,
    /// How long they took together. In JSON whole microseconds: `sum_us`.
    #[serde(rename = "sum_us", serialize_with = "micros")]
    pub sum: Duration,
    /// How many took 1, 5, 10, 50, 100 and 500 milliseconds, and 1, 5 and 10 seconds, or less.
    pub buckets: [CommitBucket; 9],
}

/// How many commits took so long or less.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CommitBucket {
    /// How long. In JSON whole microseconds: `up_to_us`.
    #[serde(rename = "up_to_us", serialize_with = "micros")]
    pub up_to: Duration,
    /// How many, those of the buckets before among them.
    pub count: u64,
}

/// Those that OpenTelemetry advises for `db.client.operation.duration`.
const BOUNDS_MS: [u64; 9] = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000];

impl CommitTimes {
    pub(crate) fn new() -> Self {
        let bucket = |bound| CommitBucket { up_to: Duration::from_millis(bound), count: 0 };
        Self { count: 0, sum: Duration::ZERO, buckets: BOUNDS_MS.map(bucket) }
    }

    pub(crate) fn note(&mut self, took: Duration) {
        self.count += 1;
        self.sum = self.sum.saturating_add(took);
        let reached = self.buckets.iter_mut().filter(|bucket| took <= bucket.up_to);
        reached.for_each(|bucket| bucket.count += 1);
    }
}

fn as_str<S: Serializer>(reason: &DenialReason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.as_str())
}

fn micros<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_is_in_every_bucket_that_is_as_long_as_it_or_longer() {
        let mut times = CommitTimes::new();
        let took = [0, 1_000, 1_001, 50_000, 10_000_000, 10_000_001].map(Duration::from_micros);
        took.into_iter().for_each(|took| times.note(took));
        assert_eq!(times.buckets.map(|bucket| bucket.count), [2, 3, 3, 4, 4, 4, 4, 4, 5]);
        assert_eq!((times.count, times.sum), (6, took.iter().sum()));
    }
}

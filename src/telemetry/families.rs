//! The families of a snapshot, under one name for all that hand them on: OpenTelemetry's, which the text and the
//! recorders of Prometheus turn into theirs by the same rule.

use super::{CommitTimes, Metrics};

/// Measurements of one name.
pub(super) struct Family {
    /// With dots, and without the unit.
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    /// A sentence without a full stop, and without what would need escaping.
    pub(super) help: &'static str,
    pub(super) values: Values,
}

#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Unit {
    Bytes,
    /// The name says of what.
    Count,
    Seconds,
}

pub(super) enum Values {
    Counter(Vec<Sample>),
    Gauge(Vec<Sample>),
    Histogram(Box<CommitTimes>),
}

pub(super) struct Sample {
    pub(super) labels: Vec<Label>,
    pub(super) value: u64,
}

/// All of it is in the program's text: nothing that a client, a token or an administrator brings can be a label.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub(super) kind: Kind,
    pub(super) value: &'static str,
}

/// What a label is of.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Condition,
    Outcome,
    Reason,
}

impl Kind {
    /// The name of the label in text.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Condition => "condition",
            Self::Outcome => "outcome",
            Self::Reason => "reason",
        }
    }

    /// The name of the attribute, where it has another in OpenTelemetry.
    #[cfg(feature = "metrics")]
    pub(super) fn attribute(self) -> &'static str {
        match self {
            Self::Reason => "error.type",
            _ => self.label(),
        }
    }
}

impl Family {
    fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::counters(name, help, vec![Sample { labels: Vec::new(), value }])
    }

    fn counters(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Self {
        Self { name, unit: Unit::Count, help, values: Values::Counter(samples) }
    }

    fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::gauges(name, help, vec![Sample { labels: Vec::new(), value }])
    }

    fn gauges(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Self {
        Self { name, unit: Unit::Count, help, values: Values::Gauge(samples) }
    }

    fn bytes(self) -> Self {
        Self { unit: Unit::Bytes, ..self }
    }
}

impl Sample {
    fn new(kind: Kind, name: &'static str, value: u64) -> Self {
        Self { labels: vec![Label { kind, value: name }], value }
    }
}

/// All of them, in the order in which they are read best.
pub(super) fn families(metrics: &Metrics) -> Vec<Family> {
    let parts = [authentication, records, storage, condition];
    parts.into_iter().flat_map(|part| part(metrics)).collect()
}

fn authentication(metrics: &Metrics) -> Vec<Family> {
    let health = &metrics.health;
    vec![
        Family::counters(
            "token_tracker.authentication.attempts",
            "Requests that were authenticated, by what came of it",
            attempts(metrics),
        ),
        Family::counter(
            "token_tracker.authentication.anonymous",
            "Attempts without any credential, which are among those denied",
            health.anonymous,
        ),
        Family::counter(
            "token_tracker.authentication.strangers",
            "Attempts with a credential of no known token, which are among those denied",
            health.strangers,
        ),
        Family::counter(
            "token_tracker.cache.hits",
            "Attempts that were answered from memory",
            metrics.cache_hits,
        ),
        Family::counter(
            "token_tracker.cache.misses",
            "Attempts that had to be looked up in the file",
            metrics.cache_misses,
        ),
        Family::gauge("token_tracker.cache.tokens", "Tokens in the cache", health.cached_tokens),
    ]
}

fn attempts(metrics: &Metrics) -> Vec<Sample> {
    let outcome = |name| Label { kind: Kind::Outcome, value: name };
    let mut samples = vec![Sample { labels: vec![outcome("allowed")], value: metrics.allowed }];
    samples.extend(metrics.denied.iter().map(|denied| {
        let reason = Label { kind: Kind::Reason, value: denied.reason.as_str() };
        Sample { labels: vec![outcome("denied"), reason], value: denied.attempts }
    }));
    samples.push(Sample { labels: vec![outcome("unavailable")], value: metrics.unavailable });
    samples
}

fn records(metrics: &Metrics) -> Vec<Family> {
    let (health, stored) = (&metrics.health, &metrics.stored);
    let by_outcome = [
        ("success", stored.success),
        ("client_error", stored.client_error),
        ("server_error", stored.server_error),
        ("denied", stored.denied),
        ("unfinished", stored.unfinished),
    ];
    let by_outcome = by_outcome.map(|(name, value)| Sample::new(Kind::Outcome, name, value));
    vec![
        Family::counter(
            "token_tracker.records.accepted",
            "Records that were handed in: stored, waiting or dropped",
            health.accepted,
        ),
        Family::counters(
            "token_tracker.records.stored",
            "Records that are committed, by how the request ended",
            by_outcome.into(),
        ),
        Family::counter("token_tracker.records.dropped", "Records that were lost", health.dropped),
        Family::counter(
            "token_tracker.records.filtered",
            "Requests that the path filter keeps out of the records",
            health.filtered,
        ),
        Family::counter(
            "token_tracker.records.response.size",
            "Bodies that were sent, as far as their records are committed",
            stored.response_bytes,
        )
        .bytes(),
        Family::counter(
            "token_tracker.records.cost",
            "Costs of the requests whose records are committed",
            stored.cost,
        ),
        Family::gauge(
            "token_tracker.queue.records",
            "Records that wait for their commit",
            health.buffered,
        ),
        Family::gauge(
            "token_tracker.queue.capacity",
            "Records that may wait for their commit",
            metrics.queue_capacity,
        ),
        Family::counter(
            "token_tracker.last_use.writes",
            "Last uses of tokens that were written",
            health.last_used_writes,
        ),
    ]
}

fn storage(metrics: &Metrics) -> Vec<Family> {
    let mut families = vec![
        Family {
            name: "token_tracker.commit.duration",
            unit: Unit::Seconds,
            help: "How long commits of records and last uses took",
            values: Values::Histogram(Box::new(metrics.commits)),
        },
        Family::counter(
            "token_tracker.commit.failures",
            "Tries to commit that failed, each of which is followed by another",
            metrics.commit_failures,
        ),
        Family::counter(
            "token_tracker.checkpoint.runs",
            "Checkpoints of the write-ahead log that were made",
            metrics.checkpoints,
        ),
        Family::counter(
            "token_tracker.checkpoint.failures",
            "Checkpoints of the write-ahead log that failed",
            metrics.checkpoint_failures,
        ),
    ];
    let sizes = [
        ("token_tracker.database.file.size", "The database file", metrics.file_bytes),
        ("token_tracker.database.wal.size", "The write-ahead log", metrics.wal_bytes),
        (
            "token_tracker.database.file.limit",
            "What the database file may grow to",
            metrics.max_file_bytes,
        ),
    ];
    let known = |(name, help, bytes): (_, _, Option<u64>)| {
        bytes.map(|bytes| Family::gauge(name, help, bytes).bytes())
    };
    families.extend(sizes.into_iter().filter_map(known));
    families
}

fn condition(metrics: &Metrics) -> Vec<Family> {
    let health = &metrics.health;
    let conditions = [
        ("clock_in_doubt", health.clock_in_doubt),
        ("closed", health.closed),
        ("degraded", health.degraded),
        ("poisoned", health.poisoned),
        ("upkeep_failing", health.upkeep_error.is_some()),
    ];
    let conditions =
        conditions.map(|(name, holds)| Sample::new(Kind::Condition, name, holds.into()));
    vec![
        Family::gauges(
            "token_tracker.condition",
            "What is not as it should be: 1 while it is so",
            conditions.into(),
        ),
        Family::counter(
            "token_tracker.events.dropped",
            "Events that the hook was not told of",
            health.events_dropped,
        ),
        Family::counter(
            "token_tracker.hook.panics",
            "Calls of the hook that panicked",
            health.hook_panics,
        ),
        Family::gauge(
            "token_tracker.unclean_ends",
            "Writers that had ended without closing the file when it was opened",
            health.unclean_ends,
        ),
    ]
}

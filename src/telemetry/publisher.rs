//! A snapshot for the recorder of the `metrics` crate.

use std::sync::atomic::{AtomicBool, Ordering};

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::Metrics;
use super::families::{Family, Sample, Unit, Values, families};

/// Hands snapshots to the recorder that is installed for the [`metrics`] crate. Needs the feature `metrics`.
///
/// Counters are set to what they stand at, gauges to what they show, under the names of OpenTelemetry, which the
/// exporters turn into those of the text: `token_tracker.authentication.attempts` with `outcome` (`allowed`, `denied`,
/// `unavailable`) and, where it is denied, `error.type` (the reason); `token_tracker.records.stored` with `outcome`;
/// `token_tracker.condition` with `condition`. The times of commits, which a snapshot has in buckets and not one by
/// one, are two counters: `token_tracker.commit.count`, and `token_tracker.commit.time` in microseconds.
///
/// A snapshot is handed on when you say so: every few seconds on a thread of yours, or before a scrape. Names are
/// described at the first, so install the recorder before. Of two trackers in a process only one can be published to
/// a recorder, or their numbers overwrite each other.
///
/// ```
/// use token_tracker::{MetricsPublisher, TokenTracker};
///
/// let tracker = TokenTracker::builder().in_memory()?;
/// let publisher = MetricsPublisher::new();
/// publisher.publish(&tracker.metrics());
/// # Ok::<(), token_tracker::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct MetricsPublisher {
    described: AtomicBool,
}

impl MetricsPublisher {
    /// One that has described nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { described: AtomicBool::new(false) }
    }

    /// Sets everything to what the snapshot says. Cost: some seventy calls of the recorder.
    pub fn publish(&self, metrics: &Metrics) {
        let describes = !self.described.swap(true, Ordering::Relaxed);
        for family in families(metrics) {
            if describes {
                describe(&family);
            }
            set(&family);
        }
    }
}

const COMMITS: &str = "token_tracker.commit.count";
const COMMIT_TIME: &str = "token_tracker.commit.time";

fn describe(family: &Family) {
    let Family { name, help, .. } = *family;
    let unit = match family.unit {
        Unit::Bytes => metrics::Unit::Bytes,
        Unit::Count | Unit::Seconds => metrics::Unit::Count,
    };
    match family.values {
        Values::Counter(_) => describe_counter!(name, unit, help),
        Values::Gauge(_) => describe_gauge!(name, unit, help),
        Values::Histogram(_) => {
            describe_counter!(COMMITS, unit, "Commits of records and last uses");
            describe_counter!(COMMIT_TIME, metrics::Unit::Microseconds, help);
        }
    }
}

fn set(family: &Family) {
    match &family.values {
        Values::Counter(samples) => {
            let set = |sample| counter!(family.name, labels(sample)).absolute(sample.value);
            samples.iter().for_each(set);
        }
        Values::Gauge(samples) => {
            let set =
                |sample: &Sample| gauge!(family.name, labels(sample)).set(sample.value as f64);
            samples.iter().for_each(set);
        }
        Values::Histogram(times) => {
            let micros = u64::try_from(times.sum.as_micros()).unwrap_or(u64::MAX);
            counter!(COMMITS).absolute(times.count);
            counter!(COMMIT_TIME).absolute(micros);
        }
    }
}

fn labels(sample: &Sample) -> Vec<metrics::Label> {
    let label = |label: &super::families::Label| {
        metrics::Label::from_static_parts(label.kind.attribute(), label.value)
    };
    sample.labels.iter().map(label).collect()
}

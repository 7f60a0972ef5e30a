//! What the library counts of itself.

use super::TokenTracker;
use crate::telemetry::Metrics;

impl TokenTracker {
    /// The library's own counters, as a value and as OpenMetrics text: see [`Metrics`]. Of this process and since the
    /// tracker was opened. From memory, but for the sizes of two files, which the file system is asked for: a few
    /// microseconds, and nobody waits.
    ///
    /// ```
    /// # use token_tracker::{Metrics, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// fn answer_scrape(tracker: &TokenTracker) -> (&'static str, String) {
    ///     (Metrics::CONTENT_TYPE, tracker.metrics().to_string())
    /// }
    /// assert!(answer_scrape(&tracker).1.contains("\ntoken_tracker_cache_hits_total 0\n"));
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.engine().metrics()
    }
}

//! How long single calls took.

use std::time::Duration;

use token_tracker::{Clock, SystemClock};

/// The time of each call. Reading the clock costs about 30 ns of each, which are left in.
pub(crate) struct Calls {
    clock: SystemClock,
    nanoseconds: Vec<u64>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self { clock: SystemClock::new(), nanoseconds: Vec::new() }
    }

    pub(crate) fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = self.clock.monotonic();
        let done = call();
        self.nanoseconds.push((self.clock.monotonic() - start).as_nanos() as u64);
        done
    }

    /// By the nearest rank, of so many in a thousand.
    pub(crate) fn percentile(&self, per_mille: usize) -> Duration {
        let mut sorted = self.nanoseconds.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * per_mille).div_ceil(1_000).max(1);
        Duration::from_nanos(sorted[rank - 1])
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(500)
    }
}

pub(crate) fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

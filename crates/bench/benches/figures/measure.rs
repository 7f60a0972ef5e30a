//! Measuring by turns.

use std::time::Duration;

use token_tracker::{Clock, SystemClock};

/// Something that is promised, and how it is measured.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) measure: fn(Scale) -> f64,
}

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) enum Scale {
    Full,
    Quick,
}

impl Scale {
    pub(crate) fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// Adds up the time of the parts that are to be measured.
pub(crate) struct Stopwatch {
    clock: SystemClock,
    total: Duration,
}

impl Stopwatch {
    pub(crate) fn new() -> Self {
        Self { clock: SystemClock::new(), total: Duration::ZERO }
    }

    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = self.clock.monotonic();
        let done = work();
        self.total += self.clock.monotonic() - start;
        done
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.total.as_secs_f64()
    }
}

/// The median of the ratios of several rounds. A round measures both sides by turns, and returns the
/// seconds of the thing and of its limit. The first round warms up.
pub(crate) fn median_ratio(rounds: usize, mut round: impl FnMut() -> (f64, f64)) -> f64 {
    round();
    let ratio = |(thing, limit): (f64, f64)| thing / limit;
    let mut ratios: Vec<f64> = (0..rounds).map(|_| ratio(round())).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

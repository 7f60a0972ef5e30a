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

/// Times of a thing and of its limit, taken by turns.
pub(crate) struct Turns {
    clock: SystemClock,
    things: Vec<Duration>,
    limits: Vec<Duration>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self { clock: SystemClock::new(), things: Vec::new(), limits: Vec::new() }
    }

    pub(crate) fn thing(&mut self, work: impl FnOnce()) {
        let start = self.clock.monotonic();
        work();
        self.things.push(self.clock.monotonic() - start);
    }

    pub(crate) fn limit(&mut self, work: impl FnOnce()) {
        let start = self.clock.monotonic();
        work();
        self.limits.push(self.clock.monotonic() - start);
    }

    /// For a thing and a limit that say themselves how long they took.
    pub(crate) fn push(&mut self, thing: Duration, limit: Duration) {
        self.things.push(thing);
        self.limits.push(limit);
    }

    /// Median to median: a turn that was interrupted counts for one turn, however long that took.
    pub(crate) fn ratio(self) -> f64 {
        let [thing, limit] = [self.things, self.limits].map(median);
        eprintln!("turns of {thing:?} to {limit:?}");
        thing.as_secs_f64() / limit.as_secs_f64()
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
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

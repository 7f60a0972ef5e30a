//! Whether the wall clock can be relied on where something would be removed by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::clock::Clock;
use crate::timestamp::{Timestamp, micros};

/// How far wall and monotonic time may move apart between two looks.
const TOLERANCE: u64 = 60_000_000;

/// Compares the two clocks. What a time server slews is followed; a step puts the wall clock in doubt until
/// somebody confirms it.
pub(crate) struct ClockWatch {
    clock: Arc<dyn Clock>,
    /// Wall minus monotonic time, in microseconds, as of the last look.
    offset: AtomicI64,
    in_doubt: AtomicBool,
}

impl ClockWatch {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let watch = Self { clock, offset: AtomicI64::new(0), in_doubt: AtomicBool::new(false) };
        watch.confirm();
        watch
    }

    /// The wall clock, after a look at it.
    pub(crate) fn now(&self) -> Timestamp {
        let (now, offset) = self.look();
        let known = self.offset.load(Ordering::Relaxed);
        if known.abs_diff(offset) > TOLERANCE {
            self.in_doubt.store(true, Ordering::Relaxed);
        } else if !self.is_in_doubt() {
            self.offset.store(offset, Ordering::Relaxed);
        }
        now
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Relaxed)
    }

    /// The wall clock is right as it is.
    pub(crate) fn confirm(&self) {
        self.offset.store(self.look().1, Ordering::Relaxed);
        self.in_doubt.store(false, Ordering::Relaxed);
    }

    fn look(&self) -> (Timestamp, i64) {
        let now = Timestamp::from(self.clock.now());
        (now, now.as_micros().saturating_sub(micros(self.clock.monotonic())))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn step_of_over_a_minute_is_doubted_until_it_is_confirmed_and_a_slew_is_not() {
        let clock = ManualClock::default();
        let watch = ClockWatch::new(Arc::new(clock.clone()));
        for _ in 0..100 {
            clock.advance(Duration::from_secs(3_600));
            clock.set_wall(clock.now() + Duration::from_secs(59));
            watch.now();
        }
        assert!(!watch.is_in_doubt());
        let right = clock.now();
        for wrong in [right + Duration::from_secs(366 * 86_400), right - Duration::from_secs(3_600)]
        {
            clock.set_wall(wrong);
            watch.now();
            assert!(watch.is_in_doubt());
            clock.set_wall(right);
            watch.now();
            assert!(watch.is_in_doubt(), "it may be wrong now or have been wrong before");
            watch.confirm();
            assert!(!watch.is_in_doubt());
        }
    }
}

//! Whether the wall clock can be relied on where something would be removed by it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::timestamp::{Timestamp, micros};

/// How far wall and monotonic time may move apart between two looks.
const TOLERANCE: u64 = 60_000_000;

/// Compares the two clocks. What a time server slews is followed; a step puts the wall clock in doubt until
/// somebody confirms it.
pub(crate) struct ClockWatch {
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    /// Wall minus monotonic time, in microseconds, as of the last look.
    offset: i64,
    in_doubt: bool,
}

impl ClockWatch {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let seen = Mutex::new(Seen { offset: 0, in_doubt: false });
        let watch = Self { clock, seen };
        watch.confirm();
        watch
    }

    /// The wall clock, if it can be relied on.
    pub(crate) fn trusted_now(&self) -> Option<Timestamp> {
        let (now, offset) = self.look();
        let mut seen = self.seen.lock();
        if seen.offset.abs_diff(offset) > TOLERANCE {
            seen.in_doubt = true;
        } else if !seen.in_doubt {
            seen.offset = offset;
        }
        (!seen.in_doubt).then_some(now)
    }

    /// What the monotonic clock shows.
    pub(crate) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The wall clock is right as it is.
    pub(crate) fn confirm(&self) {
        let (_, offset) = self.look();
        *self.seen.lock() = Seen { offset, in_doubt: false };
    }

    fn look(&self) -> (Timestamp, i64) {
        let (now, monotonic) = self.clock.moment();
        (Timestamp::from_micros(now), now.saturating_sub(micros(monotonic)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn clock_that_is_moved_while_it_is_looked_at_is_not_doubted() {
        let clock = ManualClock::default();
        let watch = ClockWatch::new(Arc::new(clock.clone()));
        std::thread::scope(|scope| {
            let moves =
                scope.spawn(|| (0..200_000).for_each(|_| clock.advance(Duration::from_secs(120))));
            while !moves.is_finished() {
                assert!(watch.trusted_now().is_some());
            }
        });
    }

    #[test]
    fn step_of_over_a_minute_is_doubted_until_it_is_confirmed_and_a_slew_is_not() {
        let clock = ManualClock::default();
        let watch = ClockWatch::new(Arc::new(clock.clone()));
        for _ in 0..100 {
            clock.advance(Duration::from_secs(3_600));
            clock.set_wall(clock.now() + Duration::from_secs(59));
            assert!(watch.trusted_now().is_some());
        }
        let right = clock.now();
        for wrong in [right + Duration::from_secs(366 * 86_400), right - Duration::from_secs(3_600)]
        {
            clock.set_wall(wrong);
            assert!(watch.trusted_now().is_none());
            clock.set_wall(right);
            assert!(watch.trusted_now().is_none(), "it is wrong now, or was before");
            watch.confirm();
            assert!(watch.trusted_now().is_some());
        }
    }
}

//! The one place that reads the time. Everything else takes `now` as a parameter.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use time::OffsetDateTime;

/// Where a tracker reads the time from: [`SystemClock`] in service, [`ManualClock`] in tests.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, which decides expiry and dates records.
    fn now(&self) -> OffsetDateTime;

    /// Time since a fixed but arbitrary instant, never going back; durations are measured with it.
    fn monotonic(&self) -> Duration;

    /// Both at once, which each request asks for: the wall clock in whole microseconds since
    /// 1970-01-01T00:00:00Z, rounded down, and the monotonic time.
    fn moment(&self) -> (i64, Duration) {
        (whole_micros(self.now()), self.monotonic())
    }
}

fn whole_micros(at: OffsetDateTime) -> i64 {
    let micros = at.unix_timestamp_nanos().div_euclid(1_000);
    i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[allow(clippy::disallowed_methods, reason = "this is the room where the clock is read")]
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the room where the clock is read")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    /// For up to a millisecond the wall clock is taken to have moved on as the monotonic one did: reading
    /// one clock instead of two, and no calendar, saves 50 ns. A wall clock that is set, or stands before
    /// 1970, shows so a millisecond later, or as 1970.
    #[allow(clippy::disallowed_methods, reason = "this is the room where the clock is read")]
    fn moment(&self) -> (i64, Duration) {
        let now = Instant::now();
        let read = READ.get().and_then(|(at, micros)| {
            let since = now.checked_duration_since(at).filter(|since| *since < REREAD)?;
            Some(micros.saturating_add(i64::from(since.subsec_micros())))
        });
        let micros = read.unwrap_or_else(|| {
            let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let micros = i64::try_from(wall.as_micros()).unwrap_or(i64::MAX);
            READ.set(Some((now, micros)));
            micros
        });
        (micros, now.saturating_duration_since(self.start))
    }
}

/// How long the wall clock is not read again.
const REREAD: Duration = Duration::from_millis(1);

thread_local! {
    /// When this thread last read the wall clock for [`Clock::moment`], and what it showed.
    static READ: Cell<Option<(Instant, i64)>> = const { Cell::new(None) };
}

/// A clock that moves only when told to, so that a test needs no sleep.
///
/// Clones show the same time.
///
/// ```
/// use std::time::Duration;
/// use token_tracker::{Clock, ManualClock};
///
/// let clock = ManualClock::default();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now() - before, Duration::from_secs(60));
/// ```
#[derive(Clone)]
pub struct ManualClock {
    times: Arc<Mutex<Times>>,
}

#[derive(Clone, Copy)]
struct Times {
    wall: OffsetDateTime,
    monotonic: Duration,
}

impl ManualClock {
    /// A clock that stands at `wall`.
    #[must_use]
    pub fn new(wall: OffsetDateTime) -> Self {
        Self { times: Arc::new(Mutex::new(Times { wall, monotonic: Duration::ZERO })) }
    }

    /// Moves both the wall clock and the monotonic clock forward.
    pub fn advance(&self, by: Duration) {
        let mut times = self.times.lock();
        times.wall += by;
        times.monotonic += by;
    }

    /// Sets the wall clock alone, as an operator or a time server does.
    pub fn set_wall(&self, wall: OffsetDateTime) {
        self.times.lock().wall = wall;
    }
}

impl Default for ManualClock {
    /// A clock that stands at 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::new(time::macros::datetime!(2026-01-01 00:00 UTC))
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("now", &self.now()).finish()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        self.times.lock().wall
    }

    fn monotonic(&self) -> Duration {
        self.times.lock().monotonic
    }

    /// Of one moment: whoever compares the two sees no step where both are moved meanwhile.
    fn moment(&self) -> (i64, Duration) {
        let times = *self.times.lock();
        (whole_micros(times.wall), times.monotonic)
    }
}

/// An instant in real time for a thread to wait for; no [`Clock`] can hold a thread up. As good as never
/// where the time is longer than the operating system can count.
#[allow(clippy::disallowed_methods, reason = "this is the room where the clock is read")]
pub(crate) fn deadline(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or(now + Duration::from_secs(100 * 365 * 86_400))
}

/// Whether `deadline` has passed in real time.
#[allow(clippy::disallowed_methods, reason = "this is the room where the clock is read")]
pub(crate) fn has_passed(deadline: Instant) -> bool {
    Instant::now() >= deadline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_is_what_both_clocks_show() {
        let manual = ManualClock::new(time::macros::datetime!(1969-12-31 23:59:59.250_001_5 UTC));
        manual.advance(Duration::from_nanos(400));
        assert_eq!(manual.moment(), (-749_999, Duration::from_nanos(400)));
        let system = SystemClock::new();
        for _ in 0..1_000 {
            let before = (system.now(), system.monotonic());
            let (micros, monotonic) = system.moment();
            let behind = i128::from(micros) * 1_000 - before.0.unix_timestamp_nanos();
            assert!(behind.abs() < 1_000_000_000, "{behind}");
            assert!(monotonic >= before.1);
        }
    }
}

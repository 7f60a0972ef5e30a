//! The one place that reads the time. Everything else takes `now` as a parameter.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use time::OffsetDateTime;

/// Where a tracker reads the time from: [`SystemClock`] in service, [`ManualClock`] in tests.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, which decides expiry and dates records.
    fn now(&self) -> OffsetDateTime;

    /// The same in whole microseconds since 1970-01-01T00:00:00Z, rounded down. What each request asks for:
    /// a clock that has a shorter way to it than through a calendar takes that.
    fn unix_micros(&self) -> i64 {
        let micros = self.now().unix_timestamp_nanos().div_euclid(1_000);
        i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
    }

    /// Time since a fixed but arbitrary instant, never going back; durations are measured with it.
    fn monotonic(&self) -> Duration;
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

    /// A clock before 1970 shows 1970.
    #[allow(clippy::disallowed_methods, reason = "this is the room where the clock is read")]
    fn unix_micros(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
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

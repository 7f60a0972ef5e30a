//! The one place that reads the time, and waits that end.

use std::time::Duration;

use token_tracker::{Clock, SystemClock};

/// The wall clock in microseconds: comparable between processes.
#[must_use]
pub fn at_us() -> i64 {
    i64::try_from(SystemClock::new().now().unix_timestamp_nanos() / 1_000)
        .expect("the year is not that far off")
}

/// Lets other threads and processes go on for a moment.
pub fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// When patience ends.
pub struct Deadline {
    clock: SystemClock,
    patience: Duration,
}

impl Deadline {
    /// So long from now.
    #[must_use]
    pub fn after(patience: Duration) -> Self {
        Self { clock: SystemClock::new(), patience }
    }

    /// What is left of it; zero when it is over.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.patience.saturating_sub(self.clock.monotonic())
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// How long it has been running.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }
}

/// Waits for something that somebody else brings about, for at most twenty seconds.
///
/// # Panics
/// Where it does not come about.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Deadline::after(Duration::from_secs(20));
    while !holds() {
        assert!(!deadline.is_over(), "still not so after {:?}: {what}", deadline.elapsed());
        pause(5);
    }
}

//! Load beside what is measured.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_tracker::{Clock, SystemClock, TokenTracker, Usage};

use crate::percentiles::Calls;
use crate::traffic::Traffic;

/// Usages that are authenticated before they are recorded.
const CHUNK: usize = 512;

/// Records that are stored before the load counts as steady.
const STEADY: u64 = 50_000;

/// Does `work` while another thread authenticates and records as fast as there is room in the queue.
pub(crate) fn under_full_load<T>(tracker: &TokenTracker, work: impl FnOnce() -> T) -> T {
    let end = AtomicBool::new(false);
    let stored = tracker.health().stored;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut traffic = Traffic::new(2);
            while !end.load(Ordering::Relaxed) {
                for usage in traffic.usages(tracker, CHUNK) {
                    let _ = tracker.record_blocking(usage);
                }
            }
        });
        while tracker.health().stored < stored + STEADY {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _end = End(&end);
        work()
    })
}

/// Ends the load whatever becomes of the work.
struct End<'e>(&'e AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The time between two calls: 100,000 a second.
const INTERVAL: Duration = Duration::from_micros(10);

/// Records at a steady rate, by a schedule that waits for nobody: who was held up catches up. Ends with the
/// usages, or when `is_over`.
pub(crate) fn steadily(
    tracker: &TokenTracker,
    usages: &mut impl Iterator<Item = Usage>,
    calls: &mut Calls,
    is_over: impl Fn() -> bool,
) {
    let clock = SystemClock::new();
    let mut due = clock.monotonic();
    while !is_over()
        && let Some(usage) = usages.next()
    {
        while clock.monotonic() < due {
            std::hint::spin_loop();
        }
        let _ = calls.time(|| tracker.record(usage));
        due += INTERVAL;
    }
    let dropped = tracker.health().dropped;
    if dropped > 0 {
        eprintln!("{dropped} records were dropped: this machine is too busy to be measured");
    }
}

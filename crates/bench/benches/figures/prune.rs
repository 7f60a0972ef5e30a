//! Whether the caller of `record` notices that old records are removed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_tracker::{ManualClock, TokenTracker};

use crate::load::steadily;
use crate::material::{Database, builder};
use crate::measure::{Figure, Scale};
use crate::percentiles::Calls;
use crate::traffic::Traffic;
use crate::volume::{RECORDS, million};

pub(crate) const FIGURES: &[Figure] =
    &[Figure { name: "prune_stall_p999", unit: "ratio", measure: stall }];

const BEYOND_RETENTION: Duration = Duration::from_secs(32 * 86_400);

/// About as many as are recorded until a million rows are gone, and before that.
const USAGES: usize = 250_000;
const UNDISTURBED: usize = 75_000;

/// Of all calls of all rounds: a single round has too few of the slowest.
fn stall(scale: Scale) -> f64 {
    let mut traffic = Traffic::new(5);
    let (mut pruning, mut undisturbed) = (Calls::new(), Calls::new());
    for _ in 0..scale.pick(10, 2) {
        let (database, clock) = (Database::copy_of(&million()), ManualClock::default());
        clock.advance(Duration::from_secs(4 * 3_600));
        let tracker = builder().clock(clock.clone()).open(database.path()).unwrap();
        let mut usages = traffic.usages(&tracker, USAGES).into_iter();
        let before = &mut usages.by_ref().take(UNDISTURBED);
        steadily(&tracker, before, &mut undisturbed, || false);
        clock.advance(BEYOND_RETENTION);
        while_pruning(&tracker, |is_over| steadily(&tracker, &mut usages, &mut pruning, is_over));
        assert_eq!(left(&database), 0, "the million is gone");
    }
    pruning.percentile(999).as_secs_f64() / undisturbed.percentile(999).as_secs_f64()
}

/// How many of the million are still there.
fn left(database: &Database) -> i64 {
    let left = "SELECT count(*) FROM usage_log WHERE id <= ?1";
    database.connect().query_row(left, [RECORDS as i64], |row| row.get(0)).unwrap()
}

fn while_pruning(tracker: &TokenTracker, work: impl FnOnce(&dyn Fn() -> bool)) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            tracker.upkeep().unwrap();
            over.store(true, Ordering::Relaxed);
        });
        work(&|| over.load(Ordering::Relaxed));
    });
}

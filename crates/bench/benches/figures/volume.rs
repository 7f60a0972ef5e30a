//! A million records of four hours, shared by the figures that are measured on them.

use std::sync::Arc;
use std::time::Duration;

use token_tracker::{ManualClock, TokenTracker};

use crate::material::{Database, builder};
use crate::shared::Shared;
use crate::traffic::{TOKENS, Traffic};

pub(crate) const RECORDS: usize = 1_000_000;
const HOURS: usize = 4;
const HOUR: Duration = Duration::from_secs(3_600);

/// Usages that are authenticated before they are recorded.
const CHUNK: usize = 10_000;

pub(crate) static MILLION: Shared<Database> = Shared::new();

/// Closed and rolled up; to be copied by whoever wants to change it.
pub(crate) fn million() -> Arc<Database> {
    MILLION.get_or_build(|| {
        let database = Database::with_tokens(TOKENS);
        let clock = ManualClock::default();
        let tracker = builder().clock(clock.clone()).open(database.path()).unwrap();
        record_hours(&tracker, &clock, HOURS, RECORDS / HOURS);
        tracker.upkeep().unwrap();
        tracker.close().unwrap();
        database
    })
}

/// As many records in each hour, and the clock after the last.
pub(crate) fn record_hours(
    tracker: &TokenTracker,
    clock: &ManualClock,
    hours: usize,
    records: usize,
) {
    let mut traffic = Traffic::new(4);
    for _ in 0..hours {
        let mut left = records;
        while left > 0 {
            let usages = traffic.usages(tracker, left.min(CHUNK));
            left -= usages.len();
            for usage in usages {
                let _ = tracker.record_blocking(usage);
            }
        }
        clock.advance(HOUR);
    }
    tracker.flush().unwrap();
}

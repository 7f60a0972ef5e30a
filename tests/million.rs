//! Over a million random records, the seven numbers and every grouping are what plain SQL makes of the same requests,
//! for a hundred random scopes and periods. In a release build, where it takes half a minute; in others with fewer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

#[path = "suite/ledger.rs"]
mod ledger;

use std::time::Duration;

use ledger::{Dice, Ledger, any_instant, assert_seven, counted};
use time::UtcOffset;
use token_tracker::{Clock, Grouping, ManualClock, TokenTracker};

const RECORDS: usize = if cfg!(debug_assertions) { 10_000 } else { 1_000_000 };
const QUESTIONS: usize = if cfg!(debug_assertions) { 10 } else { 100 };
const DAYS: u32 = 60;
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn seven_numbers_and_every_grouping_equal_plain_sql() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    let builder = TokenTracker::builder().clock(clock.clone()).raw_retention(90 * DAY);
    let tracker = builder.open(directory.path().join("tokens.db")).unwrap();
    let ledger = Ledger::new(&tracker, 200);
    let (start, mut dice) = (clock.now(), Dice(7));
    for _ in 0..10 {
        let pause = DAY * DAYS / RECORDS as u32;
        ledger.live(&tracker, &clock, &mut dice, (RECORDS / 10, pause));
        tracker.upkeep().unwrap();
    }
    let end = clock.now() + Duration::from_secs(3_600);
    assert_eq!(tracker.stats().all().between(start, end).summary().unwrap().total, RECORDS as u64);
    let mut groupings = Grouping::all().collect::<Vec<_>>().into_iter().cycle();
    for question in 0..QUESTIONS {
        let (one, two) = (any_instant(start, end, &mut dice), any_instant(start, end, &mut dice));
        let period = (one.min(two), one.max(two) + Duration::from_secs(1));
        let whose = ledger.anyone(&mut dice);
        assert_seven(&ledger, &whose, &tracker, period);
        // Each grouping has 25 of the questions; those from records take longest, and have 8.
        for by in groupings.by_ref().take(3) {
            let expected = ledger.groups(&whose, period, by, UtcOffset::UTC);
            let query = whose.ask(&tracker).between(period.0, period.1);
            // Hours and days are all shown, unless said.
            let query = if expected.len() > 1_000 { query } else { query.top(1_000) };
            let sums = query.groups(by).unwrap();
            assert_eq!(counted(&sums), expected, "{question}: {whose:?} by {by}, {period:?}");
            if question % 3 == 0 {
                let records = query.from_records().groups(by).unwrap();
                assert_eq!(counted(&records), expected, "{question}: {whose:?} by {by} of records");
            }
        }
    }
}

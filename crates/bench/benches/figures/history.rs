//! A month of records, with their sums: a day is recorded, and the other days are copies of it.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use token_tracker::{ManualClock, TokenTracker};

use crate::material::{Database, builder};
use crate::measure::Scale;
use crate::shared::Shared;
use crate::traffic::TOKENS;
use crate::volume::record_hours;

/// A month, and the day that is not over.
const DAYS: i64 = 31;
const DAY: Duration = Duration::from_secs(86_400);

/// Records of the smaller history.
pub(crate) const SMALL: usize = 1_000_000;

/// Records of the larger one.
pub(crate) fn large(scale: Scale) -> usize {
    scale.pick(100_000_000, 10_000_000)
}

pub(crate) static LARGE: Shared<History> = Shared::new();

pub(crate) fn large_history(scale: Scale) -> Arc<History> {
    LARGE.get_or_build(|| History::of(large(scale)))
}

pub(crate) struct History {
    database: Database,
}

impl History {
    pub(crate) fn of(records: usize) -> Self {
        let database = Database::with_tokens(TOKENS);
        let clock = ManualClock::default();
        let tracker = builder().clock(clock.clone()).open(database.path()).unwrap();
        let records = records / DAYS as usize / 24;
        record_hours(&tracker, &clock, 24, records);
        // The day is over: it becomes daily sums too.
        tracker.upkeep().unwrap();
        tracker.close().unwrap();
        drop(tracker);
        copy_days(&database.connect(), records as i64 * 24).unwrap();
        Self { database }
    }

    /// In the last minute of the last day, so that a month is hours at both edges and days between.
    pub(crate) fn open(&self) -> TokenTracker {
        let clock = ManualClock::default();
        clock.advance(DAY * DAYS as u32 - Duration::from_secs(60));
        // A day more than the month is kept.
        builder().clock(clock).raw_retention(DAY * 60).open(self.database.path()).unwrap()
    }
}

/// Every row `?1` days later, and its id `?1` times `?2` rows further. A token's first row of a day has a link
/// to its last of the day before.
const COPIES: [&str; 4] = [
    "INSERT INTO usage_log
        SELECT log.id + ?1 * ?2, after_us, log.token_id,
            CASE back WHEN 0
                THEN log.id + ?2 - (SELECT last_id FROM usage_heads AS head
                    WHERE head.token_id = log.token_id)
                ELSE back END,
            endpoint, status, outcome, duration_us, response_bytes, client_address,
            user_agent, cost, weight
        FROM usage_log AS log WHERE log.id <= ?2",
    "INSERT INTO usage_groups SELECT first_id + ?1 * ?2, last_id + ?1 * ?2,
        first_at + ?1 * 86400000000, last_at + ?1 * 86400000000,
        base_at + ?1 * 86400000000
        FROM usage_groups WHERE first_id <= ?2",
    "INSERT INTO hourly_sums
        SELECT hour + 24 * ?1, token_id, success, client_error, server_error, denied, unfinished,
            below_400, response_bytes, cost, duration_us, longest_us, latency, addresses
        FROM hourly_sums WHERE hour < (SELECT min(hour) + 24 FROM hourly_sums) AND ?2",
    "INSERT INTO hourly_counts SELECT hour + 24 * ?1, token_id, counts
        FROM hourly_counts
        WHERE hour < (SELECT min(hour) + 24 FROM hourly_counts) AND ?2",
];
const COPIES_OF_WHOLE_DAYS: [&str; 2] = [
    "INSERT INTO daily_sums
        SELECT day + ?1, token_id, success, client_error, server_error, denied, unfinished,
            below_400, response_bytes, cost, duration_us, longest_us, latency, addresses
        FROM daily_sums WHERE day = (SELECT min(day) FROM daily_sums)",
    "INSERT INTO daily_counts SELECT day + ?1, token_id, counts
        FROM daily_counts WHERE day = (SELECT min(day) FROM daily_counts)",
];
/// How far things are after `?1` more days of `?2` rows, the last of which is not over.
const MARKS: [&str; 2] = [
    "UPDATE usage_heads SET last_id = last_id + ?1 * ?2",
    "UPDATE progress SET next_id = next_id + ?1 * ?2, rolled_up_to = next_id + ?1 * ?2,
        folded_day = folded_day + ?1 - 1",
];

fn copy_days(connection: &Connection, rows: i64) -> rusqlite::Result<()> {
    let fast = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144";
    connection.execute_batch(fast)?;
    let (records, rolled_up): (i64, i64) =
        connection.query_row("SELECT next_id - 1, rolled_up_to - 1 FROM progress", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    assert_eq!((records, rolled_up), (rows, rows), "the day is stored and summed up");
    connection.execute_batch("BEGIN")?;
    for day in 1..DAYS {
        for copy in COPIES {
            connection.execute(copy, (day, rows))?;
        }
        if day + 1 < DAYS {
            for copy in COPIES_OF_WHOLE_DAYS {
                connection.execute(copy, [day])?;
            }
        }
    }
    for mark in MARKS {
        connection.execute(mark, (DAYS - 1, rows))?;
    }
    connection.execute_batch("COMMIT")
}

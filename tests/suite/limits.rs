//! The file is bounded, and what is lost to a bound is counted where people look at the numbers.

use std::time::Duration;

use token_tracker::{Checkpoints, Clock, Durability, NewToken, Usage};

use crate::support::{
    Database, OWNER, accepted, access, assert_balanced, builder, eventually, opaque,
};

/// Fills the file with so many bytes that are no records.
fn ballast(database: &Database, bytes: u32) {
    database.execute("CREATE TABLE IF NOT EXISTS ballast (bytes BLOB)");
    database.execute(&format!("INSERT INTO ballast VALUES (zeroblob({bytes}))"));
}

#[test]
fn file_near_its_cap_lets_the_oldest_records_go_and_keeps_the_sums() {
    let database = Database::new();
    let (builder, clock) = builder();
    let start = clock.now();
    let tracker = builder.max_file_size(16 << 20).open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let record = |count: u32| {
        for _ in 0..count {
            tracker.record_blocking(Usage::of(access(&tracker, &issued)).status(200));
        }
        tracker.flush().unwrap();
        clock.advance(Duration::from_secs(3_600));
    };
    record(15_000);
    ballast(&database, (14 << 20) + (600 << 10));
    record(15_000);
    let kept = database.number("SELECT count(*) FROM usage_log");
    assert!((5_000..25_000).contains(&kept), "{kept} records are kept");
    let query = tracker.stats().all().between(start, clock.now());
    assert_eq!(query.summary().unwrap().total, 30_000);
    assert_eq!(tracker.stats().token(issued.token.id).recent(3).unwrap().len(), 3);
    assert!(std::fs::metadata(database.path()).unwrap().len() <= 16 << 20);
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
    assert_eq!(tracker.health().dropped, 0);
}

#[test]
fn file_at_its_cap_without_old_records_still_takes_administration_and_counts_what_it_drops() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let builder = builder.max_file_size(16 << 20).queue_capacity(100);
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    assert!(accepted(&tracker, &issued));
    tracker.flush().unwrap();
    ballast(&database, (15 << 20) + (1 << 19));
    for _ in 0..500 {
        drop(access(&tracker, &issued));
    }
    let error = tracker.flush().unwrap_err();
    assert!(error.to_string().contains("as large as it may be"), "{error}");
    assert!(tracker.health().degraded);
    assert_balanced(&tracker);
    let second = tracker.tokens().issue(NewToken::opaque(OWNER, "second")).unwrap();
    tracker.tokens().revoke(issued.token.id, "").unwrap();
    assert!(accepted(&tracker, &second) && !accepted(&tracker, &issued));

    database.execute("DELETE FROM ballast");
    eventually("stored", || tracker.flush().is_ok());
    assert_balanced(&tracker);
    let health = tracker.health();
    assert!(!health.degraded && health.dropped > 0);
    let summary = tracker.stats().all().summary().unwrap();
    assert_eq!((summary.total, summary.dropped), (health.stored, health.dropped));
}

#[test]
fn drops_are_gaps_in_the_hours_that_they_happened_in() {
    let database = Database::new();
    let (builder, clock) = builder();
    let builder = builder.queue_capacity(10).busy_timeout(Duration::from_millis(10));
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    tracker.flush().unwrap();
    let start = clock.now();
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The writer holds what it has taken, and takes no more.
    drop(access(&tracker, &issued));
    eventually("the writer fails", || tracker.health().degraded);
    for _ in 0..3 {
        (0..40).for_each(|_| drop(access(&tracker, &issued)));
        clock.advance(Duration::from_secs(3_600));
    }
    other.execute_batch("ROLLBACK").unwrap();
    eventually("stored", || tracker.flush().is_ok());
    let dropped = |from: u32, until: u32| {
        let hour = Duration::from_secs(3_600);
        let query = tracker.stats().token(issued.token.id);
        query.between(start + hour * from, start + hour * until).summary().unwrap().dropped
    };
    assert_eq!((dropped(0, 1), dropped(1, 2), dropped(2, 3)), (30, 40, 40));
    assert_eq!(dropped(0, 3), tracker.health().dropped);
    assert_balanced(&tracker);
}

#[test]
fn live_tracker_stops_writing_a_file_that_was_brought_to_a_newer_schema() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.durability(Durability::Committed).open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let version = database.number("PRAGMA user_version");
    database.execute("PRAGMA user_version = 4711");
    drop(access(&tracker, &issued));
    assert!(tracker.flush().is_err());
    assert!(tracker.health().last_error.is_some_and(|error| error.contains("4711")));
    assert_eq!(database.number("SELECT count(*) FROM usage_log"), 0);
    let refused = tracker.tokens().issue(NewToken::opaque(OWNER, "late")).unwrap_err();
    assert_eq!(refused.kind(), token_tracker::ErrorKind::NewerSchema);
    database.execute(&format!("PRAGMA user_version = {version}"));
    eventually("stored", || tracker.flush().is_ok());
    assert_eq!(database.number("SELECT count(*) FROM usage_log"), 1);
}

#[test]
fn write_ahead_log_starts_over_while_records_keep_coming() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.group_size(256).open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    ballast(&database, 1);
    let wal = database.path().with_extension("db-wal");
    for round in 0..60 {
        // As other tables do in a service that keeps its own beside ours: a megabyte a round.
        database.execute("UPDATE ballast SET bytes = randomblob(1000000)");
        for _ in 0..300 {
            tracker.record_blocking(Usage::of(access(&tracker, &issued)).status(200));
        }
        tracker.flush().unwrap();
        let length = std::fs::metadata(&wal).unwrap().len();
        assert!(length < 64 << 20, "{length} bytes after {round} rounds");
    }
}

#[test]
fn checkpoints_that_are_left_to_somebody_else_are_not_made_and_nothing_is_lost_by_that() {
    let database = Database::new();
    let tracker = || {
        let (builder, _clock) = builder();
        builder.checkpoints(Checkpoints::External).open(database.path()).unwrap()
    };
    let first = tracker();
    let size = || std::fs::metadata(database.path()).unwrap().len();
    let before = size();
    let issued = opaque(&first, "laptop");
    for _ in 0..60_000 {
        first.record_blocking(Usage::of(access(&first, &issued)).status(200));
    }
    first.close().unwrap();
    drop(first);
    let wal = database.path().with_extension("db-wal");
    assert!(std::fs::metadata(&wal).unwrap().len() > 1 << 20, "more than SQLite lets it grow to");
    assert_eq!(size(), before);
    let second = tracker();
    assert_eq!(second.stats().all().summary().unwrap().total, 60_000);
}

#[test]
fn file_far_over_its_cap_shrinks_batch_by_batch_and_takes_what_comes() {
    let database = Database::new();
    let open = |cap: u64| {
        let (builder, clock) = builder();
        (builder.max_file_size(cap).open(database.path()).unwrap(), clock)
    };
    let (tracker, clock) = open(1 << 30);
    let issued = opaque(&tracker, "laptop");
    // Groups of a hundred rows each, as a quiet service has them.
    for _ in 0..400 {
        for _ in 0..100 {
            tracker.record_blocking(Usage::of(access(&tracker, &issued)).status(200));
        }
        tracker.flush().unwrap();
        clock.advance(Duration::from_secs(3_600));
    }
    ballast(&database, (14 << 20) + (400 << 10));
    tracker.close().unwrap();
    drop(tracker);
    let (tracker, _clock) = open(16 << 20);
    for number in 1..=10 {
        drop(access(&tracker, &issued));
        tracker.flush().unwrap();
        assert_eq!(tracker.health().stored, number);
    }
    assert!(database.number("SELECT count(*) FROM usage_log") < 40_000);
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
}

#[test]
fn what_is_old_still_goes_while_a_batch_cannot_be_stored() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.max_file_size(16 << 20).open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    drop(access(&tracker, &issued));
    tracker.flush().unwrap();
    tracker.upkeep().unwrap();
    ballast(&database, (15 << 20) + (1 << 19));
    drop(access(&tracker, &issued));
    assert!(tracker.flush().is_err());
    // Nothing of the log is left, so that there are sums to remove alone.
    let hours = || database.number("SELECT count(*) FROM hourly_sums");
    assert!(hours() > 0);
    clock.advance(Duration::from_secs(100 * 86_400));
    tracker.upkeep().unwrap();
    assert_eq!(hours(), 0);
    assert_balanced(&tracker);
}

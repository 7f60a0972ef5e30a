//! Accounts balance: accepted = stored + buffered + dropped, at every moment and at the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_tracker::{Durability, ErrorKind, Usage};

use crate::support::{
    Database, Done, access, assert_balanced, builder, in_memory, opaque, records,
};

#[test]
fn accounts_balance_at_every_moment_under_load() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.queue_capacity(500).group_size(50).open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_balanced(&tracker);
            }
        });
        let writers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        tracker.record(Usage::of(access(&tracker, &issued)).status(200));
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
    });
    tracker.flush().unwrap();
    let health = tracker.health();
    assert_eq!((health.accepted, health.buffered), (6_000, 0));
    let total = tracker.stats().all().summary().unwrap().total;
    assert_eq!((total, total + health.dropped), (health.stored, 6_000));
}

#[test]
fn full_queue_drops_counts_and_tells() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let builder = builder.queue_capacity(10).busy_timeout(Duration::from_millis(10));
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    tracker.flush().unwrap();
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let receipts: Vec<_> =
        (0..40).map(|_| tracker.record(Usage::of(access(&tracker, &issued)).status(200))).collect();
    let accepted = receipts.iter().filter(|receipt| receipt.is_accepted()).count() as u64;
    let health = tracker.health();
    assert!((10..40).contains(&accepted), "{accepted}");
    assert_eq!((health.dropped, health.buffered), (40 - accepted, accepted));
    let lost = receipts.into_iter().find(|receipt| !receipt.is_accepted()).unwrap();
    assert_eq!(lost.wait().unwrap_err().kind(), ErrorKind::Lost);
    other.execute_batch("ROLLBACK").unwrap();
    crate::support::eventually("stored", || tracker.flush().is_ok());
    assert_eq!(tracker.health().stored, accepted);
}

#[test]
fn back_pressure_waits_for_room_and_loses_nothing() {
    let (builder, _clock) = builder();
    let tracker = builder.queue_capacity(4).group_size(2).in_memory().unwrap();
    let issued = opaque(&tracker, "laptop");
    for _ in 0..100 {
        let usage = Usage::of(access(&tracker, &issued)).status(200);
        assert!(tracker.record_blocking(usage).is_accepted());
    }
    assert_eq!(records(&tracker, issued.token.id).len(), 100);
    assert_eq!(tracker.health().dropped, 0);
}

#[test]
fn receipt_resolves_when_the_record_can_be_queried() {
    for durability in [Durability::Committed, Durability::Synced] {
        let database = Database::new();
        let (builder, _clock) = builder();
        let tracker = builder.durability(durability).open(database.path()).unwrap();
        let issued = opaque(&tracker, "laptop");
        for count in 1..=5 {
            let usage = Usage::of(access(&tracker, &issued)).status(200);
            tracker.record(usage).wait().unwrap();
            assert_eq!(database.number("SELECT count(*) FROM usage_log"), count);
        }
    }
}

#[test]
fn receipt_can_be_waited_for_a_while_and_again() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let builder = builder.durability(Durability::Committed).busy_timeout(Duration::from_millis(10));
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let receipt = tracker.record(Usage::of(access(&tracker, &issued)).status(200));
    let error = receipt.wait_for(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| receipt.wait_for(Duration::MAX));
        other.execute_batch("ROLLBACK").unwrap();
        waits.join().unwrap().unwrap();
    });
    receipt.wait().unwrap();
}

#[test]
fn last_handle_dropped_writes_everything() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    let clone = tracker.clone();
    (0..50).for_each(|_| drop(tracker.record(Usage::of(access(&tracker, &issued)).status(200))));
    drop(tracker);
    drop(clone);
    assert_eq!(database.number("SELECT count(*) FROM usage_log"), 50);
    assert_eq!(database.number("SELECT count(*) FROM writers"), 0);
}

#[test]
fn handle_dropped_while_a_ticket_lives_neither_blocks_nor_loses_what_was_recorded() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let (one, two) = (access(&tracker, &issued), access(&tracker, &issued));
    tracker.record(Usage::of(one).status(200));
    drop(tracker);
    assert!(!two.is_settled());
    drop(two);
}

#[test]
fn closing_twice_and_using_what_is_closed_are_errors_and_no_more() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    tracker.close().unwrap();
    tracker.close().unwrap();
    assert!(tracker.health().closed);
    assert!(tracker.flush().is_ok(), "there is nothing to flush");
    let closed = token_tracker::NewToken::opaque("alice", "late");
    assert_eq!(tracker.tokens().issue(closed).unwrap_err().kind(), ErrorKind::Closed);
    assert!(tracker.tokens().revoke(issued.token.id, "").is_err());
    assert!(tracker.authenticate(&issued.secret).is_err(), "revoked here all the same");
}

#[test]
fn closing_over_a_storage_that_fails_gives_up_and_counts_what_it_loses() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    database.execute("ALTER TABLE usage_log RENAME TO lost");
    drop(access(&tracker, &issued));
    assert_eq!(tracker.close().unwrap_err().kind(), ErrorKind::Lost);
    let health = tracker.health();
    assert_eq!((health.accepted, health.dropped, health.stored), (1, 1, 0));
}

#[test]
fn last_use_that_is_lost_at_the_end_is_told() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.without_usage_recording().open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    database.execute("ALTER TABLE catalogue RENAME COLUMN last_used_at TO lost");
    let refused = tracker.authenticate(&issued.secret).is_err();
    database.execute("ALTER TABLE catalogue RENAME COLUMN lost TO last_used_at");
    assert!(refused, "the look-up needs the column too");
    drop(access(&tracker, &issued));
    database.execute("ALTER TABLE catalogue RENAME COLUMN last_used_at TO lost");
    assert_eq!(tracker.close().unwrap_err().kind(), ErrorKind::Lost);
}

#[test]
fn every_close_waits_for_the_end() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    (0..5_000).for_each(|_| drop(tracker.record(Usage::of(access(&tracker, &issued)).status(200))));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                tracker.close().unwrap();
                assert_eq!(tracker.health().buffered, 0);
                assert_eq!(tracker.health().stored, 5_000);
            });
        }
    });
}

#[test]
fn flush_commits_once() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.durability(Durability::Committed).open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    tracker.flush().unwrap();
    let commits = || database.number("SELECT sequence FROM writers");
    let before = commits();
    for _ in 0..20 {
        tracker.record(Usage::of(access(&tracker, &issued)).status(200)).wait().unwrap();
    }
    let waited = commits() - before;
    assert!(waited <= 22, "{waited} commits for 20 records that were waited for");
}

#[test]
fn usage_has_its_turn_beside_busy_administration() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (tracker, done) = (&tracker, &done);
            scope.spawn(move || {
                let mut number = 0;
                while !done.load(Ordering::Relaxed) {
                    opaque(tracker, &format!("{thread} {number}"));
                    number += 1;
                }
            });
        }
        let _done = Done(&done);
        let clock = token_tracker::SystemClock::new();
        for _ in 0..10 {
            tracker.record(Usage::of(access(&tracker, &issued)).status(200));
            tracker.flush().unwrap();
        }
        let took = token_tracker::Clock::monotonic(&clock);
        assert!(took < Duration::from_secs(5), "ten flushes took {took:?}");
    });
}

#[test]
fn commit_that_fails_at_its_very_end_is_tried_again_and_stored_once() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    // A violation that is found at COMMIT and not before.
    database.execute(
        "CREATE TABLE fault (token INTEGER REFERENCES catalogue (id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER fail_at_commit AFTER INSERT ON usage_log
             BEGIN INSERT INTO fault VALUES (-1); END;",
    );
    (0..5).for_each(|_| drop(tracker.record(Usage::of(access(&tracker, &issued)).status(200))));
    assert_eq!(tracker.flush().unwrap_err().kind(), ErrorKind::Storage);
    assert!(tracker.health().degraded && !tracker.health().poisoned);
    assert_balanced(&tracker);
    database.execute("DROP TRIGGER fail_at_commit");
    crate::support::eventually("stored", || tracker.flush().is_ok());
    assert_eq!(records(&tracker, issued.token.id).len(), 5);
    assert_eq!(tracker.health().stored, 5);
}

#[test]
fn change_that_fails_at_its_commit_leaves_everything_as_it_was() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    database.execute(
        "CREATE TABLE fault (token INTEGER REFERENCES catalogue (id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER fail_at_commit AFTER UPDATE ON catalogue
             BEGIN INSERT INTO fault VALUES (-1); END;",
    );
    let update = token_tracker::TokenUpdate::new().scopes(["admin"]);
    let error = tracker.tokens().update(issued.token.id, update).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotDurable);
    assert_eq!(access(&tracker, &issued).identity().scopes(), [""; 0]);
    let error = tracker.tokens().revoke(issued.token.id, "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotDurable);
    assert!(tracker.authenticate(&issued.secret).is_err(), "refused here all the same");
    database.execute("DROP TRIGGER fail_at_commit");
    assert_eq!(tracker.tokens().get(issued.token.id).unwrap().scopes, [""; 0]);
    tracker.tokens().revoke(issued.token.id, "").unwrap();
}

//! Whoever follows sees each record once, as it is committed, by whatever process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_tracker::{
    Clock, ErrorKind, Follow, Issued, OutcomeKind, RecordFilter, SystemClock, TokenTracker, Usage,
};

use crate::ledger::{Dice, Ledger};
use crate::support::{Database, Done, OWNER, access, builder, eventually, in_memory, opaque};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn each_record_of_two_processes_comes_once_in_the_order_of_commit() {
    let database = Database::new();
    let (one, two) = (database.open(), database.open());
    let (here, there) = (opaque(&one, "here"), opaque(&one, "there"));
    let mut follow = one.stats().all().follow().unwrap();
    std::thread::scope(|threads| {
        for (tracker, issued) in [(&one, &here), (&two, &there)] {
            threads.spawn(move || {
                for number in 0..200 {
                    drop(access(tracker, issued));
                    if number % 20 == 19 {
                        tracker.flush().unwrap();
                    }
                }
            });
        }
        let mut ids = Vec::new();
        while ids.len() < 400 {
            let records = follow.next(LONG).unwrap();
            assert!(!records.is_empty(), "after {}", ids.len());
            ids.extend(records.iter().map(|record| record.id));
        }
        assert_eq!(ids, (1..=400).collect::<Vec<u64>>());
    });
    assert!(follow.next(Duration::ZERO).unwrap().is_empty());
}

#[test]
fn only_what_is_asked_for_comes_and_it_begins_now() {
    let (tracker, _clock) = in_memory();
    let (mine, other) = (opaque(&tracker, "mine"), opaque(&tracker, "other"));
    drop(access(&tracker, &mine));
    tracker.flush().unwrap();
    let failed = RecordFilter::new().outcome(OutcomeKind::ServerError).limit(2);
    let mut follow = tracker.stats().token(mine.token.id).follow_filtered(&failed).unwrap();
    for (issued, status) in [(&mine, 200), (&other, 500), (&mine, 500), (&mine, 503), (&mine, 502)]
    {
        tracker.record(Usage::of(access(&tracker, issued)).status(status));
    }
    tracker.flush().unwrap();
    let statuses = |records: Vec<token_tracker::UsageRecord>| -> Vec<u16> {
        records.iter().map(|record| record.status).collect()
    };
    assert_eq!(statuses(follow.next(LONG).unwrap()), [500, 503]);
    let cursor = follow.cursor();
    assert_eq!(statuses(follow.next(LONG).unwrap()), [502]);
    // From where it stood, another goes on.
    let query = tracker.stats().token(mine.token.id);
    let mut again = query.follow_filtered(&failed.clone().after(cursor.clone())).unwrap();
    assert_eq!(statuses(again.next(LONG).unwrap()), [502]);
    let page = query.records(&failed.oldest_first().after(cursor)).unwrap();
    assert_eq!(statuses(page.records), [502]);
}

#[test]
fn closed_tracker_ends_the_waiting_at_once() {
    let (tracker, _clock) = in_memory();
    let mut follow = tracker.stats().all().follow().unwrap();
    std::thread::scope(|threads| {
        let waiting = threads.spawn(move || {
            let start = token_tracker::SystemClock::new();
            let error = follow.next(Duration::from_secs(60)).unwrap_err();
            (error.kind(), token_tracker::Clock::monotonic(&start))
        });
        std::thread::sleep(Duration::from_millis(50));
        tracker.close().unwrap();
        let (kind, took) = waiting.join().unwrap();
        assert_eq!(kind, ErrorKind::Closed);
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
}

#[test]
fn records_that_go_while_nobody_looks_are_left_out_and_the_rest_comes() {
    let database = Database::new();
    let (builder, clock) = builder();
    let hour = Duration::from_secs(3_600);
    let tracker = builder.raw_retention(hour).open(database.path()).unwrap();
    let ledger = Ledger::new(&tracker, 3);
    let mut follow = tracker.stats().all().follow().unwrap();
    ledger.live(&tracker, &clock, &mut Dice(1), (50, Duration::from_secs(1)));
    clock.advance(5 * hour);
    tracker.upkeep().unwrap();
    ledger.live(&tracker, &clock, &mut Dice(2), (10, Duration::from_secs(1)));
    let ids: Vec<_> = follow.next(LONG).unwrap().iter().map(|record| record.id).collect();
    assert_eq!(ids, (51..=60).collect::<Vec<u64>>());
}

fn use_once(tracker: &TokenTracker, issued: &Issued, status: u16) {
    tracker.record_blocking(Usage::of(access(tracker, issued)).status(status));
}

/// What is there by now, in the order of commit.
fn rest(follow: &mut Follow) -> Vec<u64> {
    let mut ids = Vec::new();
    loop {
        let records = follow.next(Duration::ZERO).unwrap();
        if records.is_empty() {
            return ids;
        }
        ids.extend(records.iter().map(|record| record.id));
    }
}

#[test]
fn cursor_of_a_file_that_is_ahead_does_not_pass_over_what_comes() {
    // As where an older copy of the file was put in its place.
    let [(ahead, _), (tracker, _)] = [in_memory(), in_memory()];
    let issued = [&ahead, &tracker].map(|tracker| opaque(tracker, "laptop"));
    (0..5).for_each(|_| use_once(&ahead, &issued[0], 200));
    ahead.flush().unwrap();
    let cursor = ahead.stats().all().follow().unwrap().cursor();
    let after = RecordFilter::new().after(cursor);
    let mut follow = tracker.stats().all().follow_filtered(&after).unwrap();
    use_once(&tracker, &issued[1], 200);
    tracker.flush().unwrap();
    assert_eq!(rest(&mut follow), [1]);
}

fn last_id(database: &Database) -> u64 {
    database.number("SELECT next_id - 1 FROM progress").unsigned_abs()
}

#[test]
fn nothing_is_missed_or_repeated_while_processes_write_and_old_rows_go() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.raw_retention(Duration::from_secs(3_600)).open(database.path()).unwrap();
    let other = database.open();
    let issued = opaque(&tracker, "laptop");
    let (all, done) = (RecordFilter::new(), AtomicBool::new(false));
    let mut follow = tracker.stats().owner(OWNER).follow_filtered(&all).unwrap();
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        let _done = Done(&done);
        for writer in [&tracker, &other] {
            let (issued, done) = (&issued, &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    use_once(writer, issued, 200);
                    writer.flush().unwrap();
                }
            });
        }
        for _ in 0..12 {
            let target = last_id(&database) + 100;
            while seen.last() < Some(&target) {
                seen.extend(follow.next(LONG).unwrap().iter().map(|record| record.id));
            }
            // What was seen is old soon; what was not is of the last half hour or the one before.
            clock.advance(Duration::from_secs(1_800));
            tracker.upkeep().unwrap();
        }
    });
    tracker.flush().unwrap();
    other.flush().unwrap();
    seen.extend(rest(&mut follow));
    assert_eq!(seen, (1..=last_id(&database)).collect::<Vec<_>>());
    assert!(database.number("SELECT min(id) FROM usage_log") > 100, "old rows went");
}

#[test]
fn who_waits_is_woken_by_a_commit_of_any_process() {
    let database = Database::new();
    let tracker = database.open();
    let other = database.open();
    let issued = opaque(&tracker, "laptop");
    let mut follow = tracker.stats().token(issued.token.id).follow().unwrap();
    let clock = SystemClock::new();
    for writer in [&tracker, &other] {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| follow.next(LONG).unwrap());
            std::thread::yield_now();
            use_once(writer, &issued, 204);
            assert_eq!(waiting.join().unwrap()[0].status, 204);
        });
    }
    assert!(clock.monotonic() < LONG / 2);
}

#[test]
fn follower_keeps_nothing_open() {
    let database = Database::new();
    let tracker = database.open();
    let mut follow = tracker.stats().all().follow().unwrap();
    let clock = SystemClock::new();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| follow.next(Duration::MAX).unwrap_err().kind());
        std::thread::yield_now();
        tracker.close().unwrap();
        assert_eq!(waiting.join().unwrap(), ErrorKind::Closed);
    });
    assert!(clock.monotonic() < Duration::from_secs(10));
    assert_eq!(follow.next(LONG).unwrap_err().kind(), ErrorKind::Closed);
    drop(tracker);

    let tracker = database.open();
    let weak = tracker.downgrade();
    let mut follow = tracker.stats().all().follow().unwrap();
    drop(tracker);
    assert!(weak.upgrade().is_none(), "it was the last handle");
    assert_eq!(follow.next(LONG).unwrap_err().kind(), ErrorKind::Closed);
    // The last connection to close removes the log.
    let log = database.directory().join("tokens.db-wal");
    eventually("all connections are closed", || !log.exists());
    assert_eq!(database.number("SELECT count(*) FROM writers"), 0, "it closed cleanly");
}

#[test]
fn who_waits_holds_no_connection() {
    // In memory there is one for everything.
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let follows: Vec<Follow> = (0..8).map(|_| tracker.stats().all().follow().unwrap()).collect();
    std::thread::scope(|scope| {
        let waiting = follows
            .into_iter()
            .map(|mut follow| scope.spawn(move || follow.next(LONG).unwrap().len()));
        let waiting: Vec<_> = waiting.collect();
        let clock = SystemClock::new();
        for _ in 0..20 {
            assert!(tracker.stats().all().records(&RecordFilter::new()).unwrap().next.is_none());
        }
        assert!(clock.monotonic() < Duration::from_secs(10));
        use_once(&tracker, &issued, 200);
        waiting.into_iter().for_each(|waiting| assert_eq!(waiting.join().unwrap(), 1));
    });
}

#[test]
fn cursor_goes_on_where_another_process_stopped() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    let (filter, owner) = (RecordFilter::new(), tracker.stats().owner(OWNER));
    let mut follow = owner.follow_filtered(&filter).unwrap();
    use_once(&tracker, &issued, 200);
    tracker.flush().unwrap();
    assert_eq!(rest(&mut follow), [1]);
    let text = follow.cursor().to_string();
    (0..3).for_each(|_| use_once(&tracker, &issued, 200));
    tracker.close().unwrap();

    let tracker = database.open();
    let after = filter.after(text.parse().unwrap());
    let mut again = tracker.stats().owner(OWNER).follow_filtered(&after).unwrap();
    assert_eq!(rest(&mut again), [2, 3, 4]);
    let page = tracker.stats().owner(OWNER).records(&after.clone().oldest_first()).unwrap();
    assert_eq!(page.records.iter().map(|record| record.id).collect::<Vec<_>>(), [2, 3, 4]);
    for error in [
        tracker.stats().all().follow_filtered(&after).unwrap_err(),
        tracker.stats().owner(OWNER).follow_filtered(&after.clone().status(200)).unwrap_err(),
        tracker.stats().owner(OWNER).records(&after).unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("cursor")));
    }
}

//! Whoever follows sees each record once, as it is committed, by whatever process.

use std::time::Duration;

use token_tracker::{ErrorKind, OutcomeKind, RecordFilter, Usage};

use crate::ledger::{Dice, Ledger};
use crate::support::{Database, access, builder, in_memory, opaque};

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

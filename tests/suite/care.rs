//! A file that cannot be made smaller fills the disk for good; a check that stays silent, or cries wolf, is worse than
//! none; and either of them must not cost a record.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;
use token_tracker::{
    AuthRequest, Checkpoints, ErrorKind, Issued, ManualClock, Progress, TokenTracker, Usage,
};

use crate::support::{Database, Done, access, builder, denied, eventually, in_memory, opaque};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const PAGE: u64 = 4_096;

fn record(tracker: &TokenTracker, issued: &Issued, count: usize) {
    let client = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7].into();
    for _ in 0..count {
        let usage = Usage::of(access(tracker, issued)).route("GET", "/v1/items/{id}");
        tracker.record_blocking(usage.status(200).client_address(client));
    }
    tracker.flush().unwrap();
}

/// A file most of whose log was removed, and what is left stands at its end.
fn mostly_free(tracker: &TokenTracker, clock: &ManualClock, issued: &Issued) {
    record(tracker, issued, 40_000);
    clock.advance(3 * HOUR);
    record(tracker, issued, 5_000);
    tracker.confirm_clock();
    tracker.upkeep().unwrap();
}

fn open(database: &Database, checkpoints: Checkpoints) -> (TokenTracker, ManualClock) {
    let (builder, clock) = builder();
    let builder = builder.raw_retention(HOUR).checkpoints(checkpoints);
    (builder.open(database.path()).unwrap(), clock)
}

/// The pages of the database, wherever they are.
fn pages(database: &Database) -> u64 {
    database.number("PRAGMA page_count").unsigned_abs()
}

fn size(database: &Database) -> u64 {
    std::fs::metadata(database.path()).unwrap().len()
}

fn problems(tracker: &TokenTracker) -> Vec<String> {
    tracker.verify().unwrap().problems
}

fn total(tracker: &TokenTracker) -> u64 {
    tracker.flush().unwrap();
    tracker.stats().all().last_days(30).summary().unwrap().total
}

/// What was told never goes back, and ends with all of it.
fn assert_steady(told: &[Progress]) {
    let last = told.last().unwrap();
    assert_eq!(last.done, last.total);
    assert!(told.iter().all(|step| step.total == last.total), "{told:?}");
    assert!(told.is_sorted_by_key(|step| step.done), "{told:?}");
}

#[test]
fn free_pages_go_back_to_the_file_system_while_two_processes_record_and_nothing_is_lost() {
    let database = Database::new();
    let (tracker, clock) = open(&database, Checkpoints::Automatic);
    let issued = opaque(&tracker, "laptop");
    mostly_free(&tracker, &clock, &issued);
    let other = builder().0.clock(clock).raw_retention(HOUR).open(database.path()).unwrap();
    let (before, done) = (pages(&database), AtomicBool::new(false));
    let mut told = Vec::new();
    let (given, recorded) = std::thread::scope(|scope| {
        let end = Done(&done);
        let threads = [&tracker, &other].map(|tracker| {
            let (issued, done) = (&issued, &done);
            scope.spawn(move || {
                let mut count = 0;
                while !done.load(Ordering::SeqCst) || count == 0 {
                    record(tracker, issued, 10);
                    count += 10;
                }
                count
            })
        });
        let given = tracker.compact_with(|progress| {
            told.push(progress);
            // Some of what was free is not any more.
            record(&tracker, &issued, 500);
            ControlFlow::Continue(())
        });
        drop(end);
        (given.unwrap(), threads.map(|thread| thread.join().unwrap()))
    });
    assert_steady(&told);
    assert!(told.len() > 2, "in steps: {told:?}");
    assert!(given > before / 2 * PAGE, "{given} of {before} pages");
    let recorded = recorded.into_iter().sum::<u64>() + 500 * told.len() as u64;
    assert_eq!(total(&tracker), 45_000 + recorded);
    assert_eq!(problems(&tracker), [""; 0]);
    assert_eq!((tracker.health().last_error, other.health().last_error), (None, None));
    assert_eq!((tracker.health().dropped, other.health().dropped), (0, 0));
    tracker.compact().unwrap();
    eventually("the file has no more than its pages", || {
        size(&database) == pages(&database) * PAGE && size(&database) < before * PAGE / 2
    });
    assert_eq!(tracker.compact().unwrap(), 0, "there is nothing left to give");
}

#[test]
fn compaction_that_is_broken_off_leaves_a_sound_file_and_goes_on_when_it_is_called_again() {
    let database = Database::new();
    let (tracker, clock) = open(&database, Checkpoints::Automatic);
    let issued = opaque(&tracker, "laptop");
    mostly_free(&tracker, &clock, &issued);
    let before = pages(&database);
    let mut first = None;
    let cancelled = tracker.compact_with(|progress| {
        first = Some(progress);
        ControlFlow::Break(())
    });
    assert_eq!(cancelled.unwrap_err().kind(), ErrorKind::Cancelled);
    let first = first.unwrap();
    assert!((128..=130).contains(&(first.done / PAGE)) && first.done < first.total, "{first:?}");
    assert_eq!(before - pages(&database), first.done / PAGE, "one step of it is done");
    assert_eq!(problems(&tracker), [""; 0]);
    record(&tracker, &issued, 10);
    let rest = tracker.compact().unwrap();
    assert!(rest > first.total / 2, "{rest} after {first:?}");
    assert_eq!(problems(&tracker), [""; 0]);
    assert_eq!(total(&tracker), 45_010);
}

#[test]
fn closed_tracker_does_not_compact_and_one_in_memory_does() {
    let (tracker, _clock) = in_memory();
    assert_eq!(tracker.compact().unwrap(), 0);
    tracker.close().unwrap();
    assert_eq!(tracker.compact().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn log_and_file_are_left_to_whoever_makes_the_checkpoints() {
    let database = Database::new();
    let (tracker, clock) = open(&database, Checkpoints::External);
    let issued = opaque(&tracker, "laptop");
    mostly_free(&tracker, &clock, &issued);
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    let before = size(&database);
    let given = tracker.compact().unwrap();
    assert!(given > before / 2);
    assert_eq!(size(&database), before, "no checkpoint was made");
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(size(&database), before - given);
    assert_eq!(problems(&tracker), [""; 0]);
}

#[test]
fn copies_can_be_compacted_too_also_those_of_a_database_in_memory() {
    let database = Database::new();
    let (of_file, (in_memory, _clock)) = (database.open(), in_memory());
    for (name, tracker) in [("file", &of_file), ("memory", &in_memory)] {
        let issued = opaque(tracker, "laptop");
        record(tracker, &issued, 10);
        let copy = database.directory().join(name);
        tracker.backup_to(&copy).unwrap();
        let copied = TokenTracker::builder().open(&copy).unwrap();
        assert_eq!(copied.compact().unwrap(), 0);
        assert_eq!(problems(&copied), [""; 0]);
    }
}

#[test]
fn file_of_another_making_says_what_to_do_before_it_can_be_compacted() {
    let database = Database::new();
    drop(database.open());
    database.execute("PRAGMA auto_vacuum = NONE; VACUUM");
    let tracker = database.open();
    let error = tracker.compact().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    assert!(error.to_string().contains("`PRAGMA auto_vacuum = INCREMENTAL; VACUUM`"), "{error}");
    assert!(!tracker.health().degraded);
    drop(tracker);
    database.execute("PRAGMA auto_vacuum = INCREMENTAL; VACUUM");
    assert_eq!(database.open().compact().unwrap(), 0);
}

#[test]
fn check_says_how_far_it_is_and_ends_when_it_is_told_to() {
    let database = Database::new();
    let (tracker, clock) = open(&database, Checkpoints::Automatic);
    let issued = opaque(&tracker, "laptop");
    mostly_free(&tracker, &clock, &issued);
    let mut told = Vec::new();
    let found = tracker.verify_with(|progress| {
        told.push(progress);
        ControlFlow::Continue(())
    });
    let found = found.unwrap();
    assert_eq!(json!(found), json!({ "problems": [], "records": 5_000, "sums": found.sums }));
    // Until it is known what there is, it is nothing of nothing.
    let told: Vec<_> = told.into_iter().skip_while(|progress| progress.total == 0).collect();
    assert_steady(&told);
    assert!(told.last().unwrap().total > 5_000);

    let mut count = 0;
    let cancelled = tracker.verify_with(|_| {
        count += 1;
        ControlFlow::Break(())
    });
    assert_eq!((cancelled.unwrap_err().kind(), count), (ErrorKind::Cancelled, 1));
    let panicked = catch_unwind(AssertUnwindSafe(|| tracker.verify_with(|_| panic!("told"))));
    assert!(panicked.is_err());
    // Whoever reads next is not stopped by it, on whatever connection.
    for _ in 0..20 {
        assert_eq!(tracker.stats().all().recent(1_000).unwrap().len(), 1_000);
    }
    assert_eq!(problems(&tracker), [""; 0]);
}

/// A file with rows in every table, three days apart.
fn lived_in(database: &Database) -> TokenTracker {
    let (builder, clock) = builder();
    let builder = builder.client_addresses(Default::default());
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let new = token_tracker::NewToken::opaque("bob", "limited");
    let quota = token_tracker::Quota::new().per_day(1_000);
    let limited = tracker.tokens().issue(new.quota(quota)).unwrap();
    record(&tracker, &issued, 20);
    record(&tracker, &limited, 20);
    clock.advance(3 * DAY);
    tracker.confirm_clock();
    record(&tracker, &issued, 20);
    drop(denied(&tracker, AuthRequest::from(&issued.secret).scope("admin")));
    tracker.tokens().revoke(limited.token.id, "").unwrap();
    drop(denied(&tracker, &limited.secret));
    tracker.flush().unwrap();
    tracker.upkeep().unwrap();
    assert_eq!(problems(&tracker), [""; 0]);
    tracker
}

/// What is done to the file, and what is told of it.
const DAMAGES: [(&str, &str); 44] = [
    ("UPDATE usage_log SET outcome = 99 WHERE id = 5", "99 is no outcome of a record"),
    ("UPDATE usage_log SET outcome = 16 WHERE id = 5", "16 is no outcome of a record"),
    ("UPDATE usage_log SET outcome = 1 << 40 WHERE id = 5", "1099511627776 is no outcome"),
    ("UPDATE usage_log SET endpoint = endpoint | 15 WHERE id = 5", "15 is no method"),
    ("UPDATE usage_log SET status = 70000 WHERE id = 5", "1 rows of the log have a status"),
    ("UPDATE usage_log SET cost = -1 WHERE id = 5", "1 rows of the log have a number"),
    ("UPDATE usage_log SET client_address = x'00' WHERE id = 5", "have a number that cannot"),
    ("UPDATE usage_log SET endpoint = 160004 WHERE id = 5", "have a text that is not there"),
    ("UPDATE usage_log SET token_id = 77 WHERE id = 5", "1 rows of the log are of tokens"),
    ("UPDATE usage_log SET back = 3 WHERE id = 5", "row 5 of the log leads to Some(2)"),
    ("UPDATE usage_log SET duration_us = 9 WHERE id = 5", "are not those of its records"),
    ("DELETE FROM usage_log WHERE id = 5", "the group of rows 1 to 40 is not what it says"),
    ("DELETE FROM usage_groups WHERE first_id = 1", "the groups of the log have 22 rows, not 62"),
    ("UPDATE usage_groups SET last_at = first_at - 1", "the group of rows 1 to 40 is not"),
    (
        "INSERT INTO usage_groups SELECT next_id, next_id, 0, 0, 0 FROM progress",
        "the group of rows 63 to 63 is not what it says",
    ),
    ("UPDATE usage_heads SET last_id = 1 WHERE token_id = 1", "the last row of token 1 is"),
    ("DELETE FROM usage_heads WHERE token_id = 1", "of token 1 cannot be found by the token"),
    ("INSERT INTO usage_heads VALUES (3, 5)", "token 3 has no row, and row 5 is to be its last"),
    ("INSERT INTO usage_heads VALUES (77, 0)", "1 heads are of tokens that never were"),
    ("UPDATE progress SET rolled_up_to = 0", "its progress is"),
    ("UPDATE progress SET next_id = 1000, rolled_up_to = 1000", "the groups of the log end at"),
    ("UPDATE hourly_sums SET success = 1 WHERE token_id = 1", "are not those of its records"),
    ("UPDATE hourly_sums SET latency = x'ff' WHERE token_id = 1", "damaged: latencies"),
    ("UPDATE hourly_counts SET counts = x'ff' WHERE token_id = 1", "damaged: counts"),
    (
        // The method of all requests of an hour: 13 instead of 4, each and 2.
        "UPDATE hourly_counts SET counts = unhex(replace(hex(counts), '020106', '02010F'))",
        "have unknown codes",
    ),
    ("UPDATE daily_sums SET cost = 1 WHERE token_id = 1", "sums of day"),
    ("DELETE FROM daily_sums WHERE token_id = 1", "sums of day"),
    ("UPDATE hourly_counts SET token_id = 77 WHERE token_id = 1", "counts of hours are of tokens"),
    ("UPDATE daily_counts SET token_id = -1 WHERE token_id = 1", "counts of days are of tokens"),
    ("UPDATE daily_sums SET token_id = 77 WHERE token_id = 1", "sums of days are of tokens"),
    ("UPDATE hourly_sums SET token_id = 77 WHERE token_id = 1", "sums of hours are of tokens"),
    ("INSERT INTO token_addresses VALUES (77, x'00', 0)", "1 known addresses are of tokens"),
    ("UPDATE quota_windows SET token_id = 77", "quota windows are of tokens that never were"),
    ("UPDATE quota_windows SET period = 4", "4 is no period of a quota"),
    ("UPDATE late_uses SET credential_id = 77", "1 late uses are of credentials that never"),
    ("UPDATE late_uses SET reason = 25", "25 is no reason of a late use"),
    ("INSERT INTO changes VALUES (1000, 77)", "1 changes are of tokens that never were"),
    ("UPDATE audit SET act = 99 WHERE id = 1", "99 is no act in the audit"),
    ("UPDATE audit SET actor_token = 77 WHERE id = 1", "1 entries of the audit are of tokens"),
    ("UPDATE catalogue SET kind = 9 WHERE id = 1", "9 is no kind of a token"),
    ("UPDATE catalogue SET state = 9 WHERE id = 1", "9 is no state of a token"),
    ("UPDATE credentials SET state = 9 WHERE id = 1", "9 is no state of a credential"),
    ("DELETE FROM catalogue WHERE id = 1", "token 1 is not there, and nobody removed it"),
    ("DELETE FROM catalogue WHERE id = 1", "1 credentials are of no token"),
];

#[test]
fn every_kind_of_damage_is_a_problem_and_none_a_failure() {
    for (damage, problem) in DAMAGES {
        let database = Database::new();
        let tracker = lived_in(&database);
        let connection = database.connect();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        assert!(connection.execute(damage, []).unwrap() > 0, "{damage}");
        let found = problems(&tracker);
        assert!(found.iter().any(|found| found.contains(problem)), "{damage}: {found:?}");
    }
}

/// A request outlives its token: everything that is recorded of it afterwards leads to nothing, and nobody is to blame.
#[test]
fn what_is_recorded_after_the_removal_of_its_token_is_no_problem() {
    let database = Database::new();
    let (builder, clock) = builder();
    let builder = builder.raw_retention(HOUR).hourly_retention(DAY).daily_retention(DAY);
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let client: std::net::IpAddr = "192.0.2.7".parse().unwrap();
    let request = AuthRequest::from(&issued.secret).client_address(client);
    let late = tracker.authenticate(request).unwrap();
    tracker.tokens().revoke(issued.token.id, "").unwrap();
    clock.advance(2 * DAY);
    tracker.confirm_clock();
    tracker.upkeep().unwrap();
    assert_eq!(tracker.tokens().get(issued.token.id).unwrap_err().kind(), ErrorKind::NotFound);
    tracker.record(Usage::of(late).route("GET", "/late").status(200));
    tracker.flush().unwrap();
    assert_eq!(database.number("SELECT count(*) FROM usage_log WHERE token_id = 1"), 1);
    assert_eq!(problems(&tracker), [""; 0]);
    // Long after the audit has forgotten the removal, too.
    clock.advance(12 * HOUR);
    tracker.confirm_clock();
    for _ in 0..3 {
        tracker.upkeep().unwrap();
        assert_eq!(problems(&tracker), [""; 0]);
        clock.advance(DAY);
        tracker.confirm_clock();
    }
}

#[test]
fn file_that_sqlite_finds_damaged_is_told_with_the_words_of_sqlite() {
    let database = Database::new();
    let tracker = lived_in(&database);
    tracker.close().unwrap();
    drop(tracker);
    let connection: Connection = database.connect();
    connection
        .execute_batch(
            "PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET sql = replace(sql, '(hash)', '(fragment)')
                WHERE name = 'credential_hash';",
        )
        .unwrap();
    drop(connection);
    let tracker = database.open();
    let found = problems(&tracker);
    assert!(found.iter().any(|problem| problem.contains("credential_hash")), "{found:?}");
}

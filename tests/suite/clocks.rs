//! A clock that is set wrong for a moment must not remove a month of records, nor make a request take less than no
//! time.

use std::time::Duration;

use token_tracker::{Clock, ErrorKind, NewToken};

use crate::support::{Database, OWNER, access, builder, opaque, records};

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn clock_that_jumps_removes_and_marks_nothing_until_it_is_confirmed() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    tracker.tokens().issue(NewToken::opaque(OWNER, "short").expires_in(DAY)).unwrap();
    (0..20).for_each(|_| drop(access(&tracker, &issued)));
    tracker.flush().unwrap();
    tracker.upkeep().unwrap();
    let right = clock.now();
    let rows = || database.number("SELECT count(*) FROM usage_log");
    for wrong in [right + DAY * 365, right - Duration::from_secs(3_600)] {
        clock.set_wall(wrong);
        assert!(tracker.health().clock_in_doubt);
        assert_eq!(tracker.upkeep().unwrap_err().kind(), ErrorKind::ClockInDoubt);
        assert_eq!(tracker.tokens().mark_expired().unwrap_err().kind(), ErrorKind::ClockInDoubt);
        drop(access(&tracker, &issued));
        tracker.flush().unwrap();
        clock.set_wall(right);
        tracker.confirm_clock();
        tracker.upkeep().unwrap();
    }
    assert_eq!(rows(), 22);
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);

    clock.set_wall(right + DAY * 365);
    tracker.confirm_clock();
    assert!(!tracker.health().clock_in_doubt);
    assert_eq!(tracker.tokens().mark_expired().unwrap(), 1);
    tracker.upkeep().unwrap();
    assert_eq!(
        rows(),
        2,
        "what is confirmed counts: all but what was dated so and what came after it"
    );
    clock.advance(DAY * 31);
    tracker.upkeep().unwrap();
    assert_eq!(rows(), 0);
}

#[test]
fn time_that_passes_as_it_should_is_never_doubted() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    for _ in 0..10 {
        clock.advance(DAY * 30);
        assert!(!tracker.health().clock_in_doubt);
        tracker.upkeep().unwrap();
    }
}

#[test]
fn records_keep_the_order_of_their_commits_whatever_the_clock_says() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let right = clock.now();
    let mut walls = Vec::new();
    for hours in [0, -1, 5, 8_760, 2] {
        let mut access = access(&tracker, &issued);
        access.begin(200, None);
        clock.set_wall(right + time::Duration::hours(hours));
        access.finish();
        walls.push(clock.now());
        tracker.flush().unwrap();
    }
    let records = records(&tracker, issued.token.id);
    walls.reverse();
    assert_eq!(records.iter().map(|record| record.at).collect::<Vec<_>>(), walls);
    assert!(records.iter().all(|record| record.duration == Duration::ZERO));
}

#[test]
fn clock_that_was_behind_for_a_moment_does_not_take_the_records_before_with_it() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let request = || {
        drop(access(&tracker, &issued));
        tracker.flush().unwrap();
    };
    request();
    let right = clock.now();
    clock.set_wall(time::OffsetDateTime::UNIX_EPOCH);
    request();
    clock.set_wall(right);
    tracker.confirm_clock();
    request();
    tracker.upkeep().unwrap();
    assert_eq!(database.number("SELECT count(*) FROM usage_log"), 3);
    clock.advance(DAY * 31);
    tracker.upkeep().unwrap();
    assert_eq!(database.number("SELECT count(*) FROM usage_log"), 0);
}

#[test]
fn clock_in_doubt_frees_no_name() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let new = || NewToken::opaque(OWNER, "laptop");
    tracker.tokens().issue(new().expires_in(DAY * 100)).unwrap();
    clock.set_wall(clock.now() + DAY * 365);
    let error = tracker.tokens().issue(new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    tracker.confirm_clock();
    tracker.tokens().issue(new()).unwrap();
}

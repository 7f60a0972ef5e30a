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
    assert_eq!(rows(), 0, "what is confirmed counts");
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

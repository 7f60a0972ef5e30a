//! The last use is written at most once an interval a token, whatever is concurrent, evicted or elsewhere.

use std::time::Duration;

use token_tracker::{Clock, Issued, LastUsed, TokenTracker, TokenUpdate};

use crate::support::{Database, accepted, access, builder, denied, in_memory, opaque};

const INTERVAL: Duration = Duration::from_secs(300);

fn writes(tracker: &TokenTracker) -> u64 {
    tracker.flush().unwrap();
    tracker.health().last_used_writes
}

#[test]
fn first_use_is_written_with_the_next_group_and_then_once_an_interval() {
    let (tracker, clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let last_used = || {
        tracker.flush().unwrap();
        tracker.tokens().get(issued.token.id).unwrap().last_used
    };
    assert_eq!(last_used(), LastUsed::Never);
    let first = clock.now();
    for _ in 0..10 {
        assert!(accepted(&tracker, &issued));
    }
    assert_eq!((last_used(), writes(&tracker)), (LastUsed::At(first), 1));
    clock.advance(INTERVAL - Duration::from_micros(1));
    assert!(accepted(&tracker, &issued));
    assert_eq!((last_used(), writes(&tracker)), (LastUsed::At(first), 1));
    clock.advance(Duration::from_micros(1));
    assert!(accepted(&tracker, &issued));
    assert_eq!((last_used(), writes(&tracker)), (LastUsed::At(clock.now()), 2));
}

#[test]
fn clock_that_goes_back_does_not_move_it_back() {
    let (tracker, clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let first = clock.now();
    assert!(accepted(&tracker, &issued));
    clock.set_wall(first - Duration::from_secs(86_400));
    let update = TokenUpdate::new().description(Some("out of the cache".to_owned()));
    tracker.tokens().update(issued.token.id, update).unwrap();
    assert!(accepted(&tracker, &issued));
    assert_eq!(writes(&tracker), 1);
    assert_eq!(tracker.tokens().get(issued.token.id).unwrap().last_used, LastUsed::At(first));
}

#[test]
fn burst_of_concurrent_first_uses_writes_once() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..200).for_each(|_| assert!(accepted(&tracker, &issued))));
        }
    });
    assert_eq!(writes(&tracker), 1);
}

/// Uses as many tokens in turn, several rounds within one interval, and says how many rows were written.
fn written_for(active: usize) -> u64 {
    let (builder, clock) = builder();
    let tracker = builder.last_used_capacity(64).cache_capacity(64).in_memory().unwrap();
    let tokens: Vec<Issued> =
        (0..active).map(|number| opaque(&tracker, &format!("token {number}"))).collect();
    for _ in 0..4 {
        assert!(tokens.iter().all(|issued| accepted(&tracker, issued)));
        clock.advance(Duration::from_secs(60));
        tracker.flush().unwrap();
    }
    writes(&tracker)
}

#[test]
fn more_active_tokens_than_the_throttle_remembers_write_no_more_often() {
    assert_eq!(written_for(64), 64);
    assert_eq!(written_for(65), 65);
    assert_eq!(written_for(300), 300);
}

#[test]
fn thousand_and_twenty_five_tokens_over_the_default_throttle_write_once_each() {
    let (tracker, _clock) = in_memory();
    let tokens: Vec<Issued> =
        (0..1_025).map(|number| opaque(&tracker, &format!("token {number}"))).collect();
    for _ in 0..3 {
        assert!(tokens.iter().all(|issued| accepted(&tracker, issued)));
    }
    assert_eq!(writes(&tracker), 1_025);
}

#[test]
fn two_trackers_on_one_file_write_once_between_them() {
    let database = Database::new();
    let (first, clock) = builder();
    let (second, _) = builder();
    let one = first.open(database.path()).unwrap();
    let two = second.clock(clock).open(database.path()).unwrap();
    let issued = opaque(&one, "shared");
    assert!(accepted(&one, &issued) && accepted(&two, &issued));
    assert_eq!(writes(&one) + writes(&two), 1);
}

#[test]
fn refused_request_is_no_use() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    tracker.tokens().suspend(issued.token.id).unwrap();
    drop(denied(&tracker, &issued.secret));
    assert_eq!(writes(&tracker), 0);
    assert_eq!(tracker.tokens().get(issued.token.id).unwrap().last_used, LastUsed::Never);
}

#[test]
fn never_used_and_not_tracked_are_told_apart() {
    let database = Database::new();
    let open = |tracked: bool| {
        let (builder, _clock) = builder();
        let builder = if tracked { builder } else { builder.without_last_used() };
        builder.open(database.path()).unwrap()
    };
    let tracker = open(true);
    let before = opaque(&tracker, "before");
    let last_used = |tracker: &TokenTracker, issued: &Issued| {
        tracker.tokens().get(issued.token.id).unwrap().last_used
    };
    assert_eq!(last_used(&tracker, &before), LastUsed::Never);
    drop(tracker);

    let tracker = open(false);
    let during = opaque(&tracker, "during");
    assert!(accepted(&tracker, &before));
    tracker.flush().unwrap();
    assert_eq!(last_used(&tracker, &before), LastUsed::NotTracked);
    assert_eq!(last_used(&tracker, &during), LastUsed::NotTracked);
    assert_eq!(tracker.health().last_used_writes, 0);
    drop(tracker);

    let (builder, clock) = builder();
    clock.advance(Duration::from_secs(1));
    let tracker = builder.open(database.path()).unwrap();
    let after = opaque(&tracker, "after");
    assert_eq!(last_used(&tracker, &before), LastUsed::NotTracked);
    assert_eq!(last_used(&tracker, &after), LastUsed::Never);
    assert!(access(&tracker, &before).identity().last_used_at().is_some());
}

//! A client with a dead token in a retry loop would fill the log with what nobody wants to read; without its count
//! nobody would see it.

use std::time::Duration;

use token_tracker::{AuthRequest, DenialReason, Durability, Outcome, TokenTracker, Usage};

use crate::support::{Database, access, assert_balanced, builder, denied, opaque, records};

fn rows(tracker: &TokenTracker, id: token_tracker::TokenId) -> Vec<u32> {
    let mut weights: Vec<_> = records(tracker, id).iter().map(|record| record.weight).collect();
    weights.sort_unstable();
    weights
}

#[test]
fn denials_of_a_token_are_ten_rows_a_minute_and_one_for_the_rest_however_often_they_are_flushed() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    tracker.tokens().revoke(issued.token.id, "leaked").unwrap();
    for number in 0..500 {
        let route = format!("/{}", number % 7);
        let request = AuthRequest::from(&issued.secret).cost(3).route(route.as_str());
        drop(denied(&tracker, request));
        if number % 50 == 0 {
            tracker.flush().unwrap();
            tracker.upkeep().unwrap();
        }
    }
    assert_balanced(&tracker);
    let mut expected = vec![1; 10];
    expected.push(490);
    assert_eq!(rows(&tracker, issued.token.id), expected);
    assert_eq!((tracker.health().accepted, tracker.health().stored), (500, 500));
    let summary = tracker.stats().token(issued.token.id).summary().unwrap();
    assert_eq!((summary.total, summary.denied, summary.cost), (500, 500, 1_500));
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);

    clock.advance(Duration::from_secs(60));
    (0..12).for_each(|_| drop(denied(&tracker, &issued.secret)));
    expected = vec![1; 20];
    expected.extend([2, 490]);
    assert_eq!(rows(&tracker, issued.token.id), expected);
    tracker.upkeep().unwrap();
    assert_eq!(tracker.stats().all().summary().unwrap().denied, 512);
    assert_eq!(tracker.verify().unwrap().problems, [""; 0]);
}

#[test]
fn flood_of_one_token_and_reason_thins_no_other() {
    let database = Database::new();
    let tracker = database.open();
    let (dead, living) = (opaque(&tracker, "dead"), opaque(&tracker, "living"));
    tracker.tokens().suspend(dead.token.id).unwrap();
    for _ in 0..30 {
        drop(denied(&tracker, &dead.secret));
        drop(denied(&tracker, AuthRequest::from(&living.secret).scope("admin")));
        tracker.record(Usage::of(access(&tracker, &living)).status(403));
    }
    let of_living = records(&tracker, living.token.id);
    let denied = |record: &&token_tracker::UsageRecord| {
        record.outcome == Outcome::Denied(DenialReason::MissingScope)
    };
    assert_eq!(of_living.iter().filter(denied).map(|record| record.weight).sum::<u32>(), 30);
    assert_eq!(of_living.iter().filter(denied).count(), 11);
    assert_eq!(of_living.iter().filter(|record| !denied(record)).count(), 30, "no denial of ours");
    assert_eq!(rows(&tracker, dead.token.id).len(), 11);
}

#[test]
fn denial_that_shares_a_row_is_acknowledged_when_that_is_stored() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.durability(Durability::Committed).open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    tracker.tokens().revoke(issued.token.id, "").unwrap();
    for number in 1..=25 {
        tracker.record(Usage::of(denied(&tracker, &issued.secret))).wait().unwrap();
        let stored = database.number("SELECT sum(coalesce(weight, 1)) FROM usage_log");
        assert_eq!(stored, number);
    }
    assert_eq!(database.number("SELECT count(*) FROM usage_log"), 11);
}

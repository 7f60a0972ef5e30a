//! The catalogue: names, pages and what may be changed.

use std::collections::BTreeMap;
use std::time::Duration;

use token_tracker::{ErrorKind, NewToken, TokenFilter, TokenStatus, TokenUpdate};

use crate::support::{in_memory, opaque};

#[test]
fn token_comes_back_as_it_was_made() {
    let (tracker, _clock) = in_memory();
    let new = NewToken::opaque("alice", "\u{202e}right-to-left <b>\"name\"</b>")
        .description("two\nlines")
        .tag("ci")
        .tag("nightly")
        .scopes(["a:b", "c"])
        .resource("srv-1")
        .metadata("ticket", "OPS-1")
        .expires_in(Duration::from_secs(60));
    let issued = tracker.tokens().issue(new).unwrap();
    let token = tracker.tokens().get(issued.token.id).unwrap();
    assert_eq!(token, issued.token);
    assert_eq!(token.name, "\u{202e}right-to-left <b>\"name\"</b>");
    assert_eq!(token.description.as_deref(), Some("two\nlines"));
    assert_eq!((token.tags.len(), token.scopes.len()), (2, 2));
    assert_eq!(token.metadata, BTreeMap::from([("ticket".to_owned(), "OPS-1".to_owned())]));
    assert_eq!(token.status, TokenStatus::Active);
    assert!(issued.secret.expose().ends_with(token.fragment.trim_start_matches("tt_…")));
}

#[test]
fn name_is_taken_by_a_living_token_of_the_same_owner_only() {
    let (tracker, clock) = in_memory();
    let issue = |owner: &str| tracker.tokens().issue(NewToken::opaque(owner, "laptop"));
    let first = issue("alice").unwrap();
    let error = issue("alice").unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::AlreadyExists, Some("name")));
    assert!(issue("bob").is_ok());
    tracker.tokens().suspend(first.token.id).unwrap();
    assert!(issue("alice").is_err(), "a suspended token lives");
    tracker.tokens().revoke(first.token.id, "").unwrap();
    let second = issue("alice").unwrap();

    let ends = token_tracker::Clock::now(&clock) + Duration::from_secs(5);
    tracker.tokens().update(second.token.id, TokenUpdate::new().expires_at(Some(ends))).unwrap();
    clock.advance(Duration::from_secs(5));
    assert!(issue("alice").is_ok(), "an expired name is free, marked or not");
    let back = tracker.tokens().update(second.token.id, TokenUpdate::new().expires_at(None));
    assert_eq!(back.unwrap_err().field(), Some("name"), "and cannot be taken back");
}

#[test]
fn renaming_onto_a_living_name_is_refused_and_changes_nothing() {
    let (tracker, _clock) = in_memory();
    opaque(&tracker, "one");
    let two = opaque(&tracker, "two");
    let update = TokenUpdate::new().name("one").scopes(["x"]);
    assert_eq!(tracker.tokens().update(two.token.id, update).unwrap_err().field(), Some("name"));
    assert_eq!(tracker.tokens().get(two.token.id).unwrap(), two.token);
    let renamed = tracker.tokens().update(two.token.id, TokenUpdate::new().name("two")).unwrap();
    assert_eq!(renamed.name, "two");
}

#[test]
fn pages_neither_skip_nor_repeat_while_tokens_come_and_go() {
    let (tracker, _clock) = in_memory();
    let issued: Vec<_> = (0..25).map(|number| opaque(&tracker, &number.to_string())).collect();
    let mut filter = TokenFilter::new().limit(10);
    let mut seen = Vec::new();
    loop {
        let page = tracker.tokens().list(&filter).unwrap();
        seen.extend(page.tokens.iter().map(|token| token.id));
        tracker.tokens().revoke(issued[0].token.id, "").unwrap();
        match page.next {
            Some(next) => filter = filter.after(next),
            None => break,
        }
    }
    assert_eq!(seen, issued.iter().map(|issued| issued.token.id).collect::<Vec<_>>());
    let exactly = tracker.tokens().list(&TokenFilter::new().limit(25)).unwrap();
    assert_eq!((exactly.tokens.len(), exactly.next), (25, None));
}

#[test]
fn filters_find_by_owner_name_and_present_status() {
    let (tracker, clock) = in_memory();
    let issue = |owner: &str, name: &str| {
        let new = NewToken::opaque(owner, name).expires_in(Duration::from_secs(60));
        tracker.tokens().issue(new).unwrap().token.id
    };
    let (a, b, c) = (issue("alice", "a"), issue("alice", "b"), issue("bob", "a"));
    tracker.tokens().suspend(b).unwrap();
    let find = |filter: &TokenFilter| {
        let page = tracker.tokens().list(filter).unwrap();
        assert_eq!(tracker.tokens().count(filter).unwrap(), page.tokens.len() as u64);
        page.tokens.into_iter().map(|token| token.id).collect::<Vec<_>>()
    };
    assert_eq!(find(&TokenFilter::new().owner("alice")), [a, b]);
    assert_eq!(find(&TokenFilter::new().name("a")), [a, c]);
    assert_eq!(find(&TokenFilter::new().owner("bob").name("b")), []);
    assert_eq!(find(&TokenFilter::new().status(TokenStatus::Suspended)), [b]);
    assert_eq!(find(&TokenFilter::new().owner("alice").status(TokenStatus::Active)), [a]);
    tracker.tokens().revoke(a, "").unwrap();
    clock.advance(Duration::from_secs(60));
    assert_eq!(find(&TokenFilter::new().status(TokenStatus::Active)), []);
    assert_eq!(find(&TokenFilter::new().status(TokenStatus::Expired)), [b, c]);
    assert_eq!(find(&TokenFilter::new().status(TokenStatus::Revoked)), [a]);
    assert_eq!(tracker.tokens().mark_expired().unwrap(), 2);
    assert_eq!(find(&TokenFilter::new().status(TokenStatus::Expired)), [b, c]);
    assert_eq!(tracker.tokens().mark_expired().unwrap(), 0);
}

#[test]
fn what_is_out_of_bounds_is_refused_and_named() {
    let (tracker, clock) = in_memory();
    let field = |new: NewToken| tracker.tokens().issue(new).unwrap_err().field();
    assert_eq!(field(NewToken::opaque("", "x")), Some("owner"));
    assert_eq!(field(NewToken::opaque("a", "x\u{7}")), Some("name"));
    assert_eq!(field(NewToken::opaque("a", "x").scope("a b")), Some("scopes"));
    let past = token_tracker::Clock::now(&clock);
    assert_eq!(field(NewToken::opaque("a", "x").expires_at(past)), Some("expires_at"));
    assert_eq!(tracker.tokens().count(&TokenFilter::new()).unwrap(), 0);
    for limit in [0, 1_001] {
        let error = tracker.tokens().list(&TokenFilter::new().limit(limit)).unwrap_err();
        assert_eq!(error.field(), Some("limit"));
    }
    let id = opaque(&tracker, "laptop").token.id;
    let error = tracker.tokens().revoke(id, &"x".repeat(501)).unwrap_err();
    assert_eq!(error.field(), Some("reason"));
    let error = tracker.tokens().acting_as("x\0").revoke(id, "").unwrap_err();
    assert_eq!(error.field(), Some("actor"));
}

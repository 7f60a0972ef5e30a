//! A filter that finds one token too many revokes it, and one that finds one too few leaves it in force.

use std::time::Duration;

use token_tracker::{
    Algorithm, Clock, JwtIssuer, JwtKey, ManualClock, NewToken, TokenFilter, TokenId, TokenTracker,
    TokenUpdate,
};

use crate::support::{Database, accepted, builder, in_memory, key, opaque};

const DAY: Duration = Duration::from_secs(86_400);
const MICROSECOND: Duration = Duration::from_micros(1);

/// What a filter finds, by list, by count and by pages of one.
fn find(tracker: &TokenTracker, filter: TokenFilter) -> Vec<TokenId> {
    let tokens = tracker.tokens();
    let page = tokens.list(&filter).unwrap();
    let found: Vec<_> = page.tokens.into_iter().map(|token| token.id).collect();
    assert_eq!(tokens.count(&filter).unwrap(), found.len() as u64);
    let (mut filter, mut single) = (filter.limit(1), Vec::new());
    loop {
        let page = tokens.list(&filter).unwrap();
        single.extend(page.tokens.iter().map(|token| token.id));
        match page.next {
            Some(next) => filter = filter.after(next),
            None => break,
        }
    }
    assert_eq!(single, found);
    found
}

fn issue(tracker: &TokenTracker, new: NewToken) -> TokenId {
    tracker.tokens().issue(new).unwrap().token.id
}

#[test]
fn tag_is_found_as_a_whole_and_among_others() {
    let (tracker, _clock) = in_memory();
    let a = issue(&tracker, NewToken::opaque("alice", "a").tag("ci").tag("nightly"));
    let b = issue(&tracker, NewToken::opaque("alice", "b").tag("ci-old"));
    let c = issue(&tracker, NewToken::opaque("bob", "c").tag("\"ci\", \\").tag("nightly"));
    opaque(&tracker, "none");
    let tagged = |tag: &str| find(&tracker, TokenFilter::new().tag(tag));
    assert_eq!(tagged("ci"), [a]);
    assert_eq!(tagged("ci-old"), [b]);
    assert_eq!(tagged("nightly"), [a, c]);
    assert_eq!(tagged("\"ci\", \\"), [c]);
    assert_eq!(tagged("CI"), []);
    assert_eq!(find(&tracker, TokenFilter::new().tag("nightly").owner("bob")), [c]);
    tracker.tokens().update(a, TokenUpdate::new().tags(["other"])).unwrap();
    assert_eq!(tagged("ci"), []);
}

#[test]
fn signing_key_is_that_of_any_credential() {
    let issuer = JwtIssuer::named("first").key(key());
    let tracker = TokenTracker::builder().jwt_issuer(issuer).in_memory().unwrap();
    let unnamed = issue(&tracker, NewToken::jwt("alice", "key without a name"));
    let register = |name: &str, kid: Option<&str>| {
        let new = NewToken::legacy_jwt("alice", name);
        let new = if let Some(kid) = kid { new.signing_key(kid) } else { new };
        tracker.tokens().register(new, None, name).unwrap().id
    };
    let (first, second) = (register("1", Some("2026-01")), register("2", Some("2026-02")));
    let unsaid = register("3", None);
    let of_key = |kid: &str| find(&tracker, TokenFilter::new().signing_key(kid));
    assert_eq!((of_key("2026-01"), of_key("2026-02")), (vec![first], vec![second]));
    assert_eq!(of_key("2026"), []);
    assert_eq!(find(&tracker, TokenFilter::new()), [unnamed, first, second, unsaid]);
    assert_eq!(find(&tracker, TokenFilter::new().signing_key("2026-01").owner("bob")), []);
}

#[test]
fn key_that_signs_what_is_issued_is_known_by_its_name() {
    let clock = ManualClock::default();
    let key = JwtKey::hmac(Algorithm::Hs256, &[8; 32]).unwrap().kid("2026-01");
    let tracker = TokenTracker::builder().jwt_key(key).clock(clock).in_memory().unwrap();
    let signed = issue(&tracker, NewToken::jwt("alice", "jwt"));
    opaque(&tracker, "opaque");
    assert_eq!(find(&tracker, TokenFilter::new().signing_key("2026-01")), [signed]);
}

#[test]
fn issued_before_is_exact_to_the_microsecond_both_ways() {
    let (tracker, clock) = in_memory();
    let before = opaque(&tracker, "before").token.id;
    clock.advance(MICROSECOND);
    let instant = clock.now();
    let at = opaque(&tracker, "at").token.id;
    clock.advance(MICROSECOND);
    let after = opaque(&tracker, "after").token.id;
    let issued_before = |at| find(&tracker, TokenFilter::new().issued_before(at));
    assert_eq!(issued_before(instant), [before]);
    assert_eq!(issued_before(instant - MICROSECOND), []);
    assert_eq!(issued_before(instant + MICROSECOND), [before, at]);
    clock.advance(MICROSECOND);
    assert_eq!(issued_before(clock.now()), [before, at, after]);
}

#[test]
fn dormant_tokens_live_and_were_last_used_longer_ago() {
    let (tracker, clock) = in_memory();
    let used = opaque(&tracker, "used once");
    assert!(accepted(&tracker, &used));
    let (idle, lost) = (opaque(&tracker, "never used"), opaque(&tracker, "suspended"));
    let ended = NewToken::opaque("alice", "expired").expires_in(DAY);
    issue(&tracker, ended);
    let revoked = opaque(&tracker, "revoked");
    tracker.tokens().suspend(lost.token.id).unwrap();
    tracker.tokens().revoke(revoked.token.id, "").unwrap();
    tracker.flush().unwrap();
    let dormant = || find(&tracker, TokenFilter::new().unused_for(10 * DAY));

    clock.advance(10 * DAY);
    assert_eq!(dormant(), [], "not longer ago yet");
    let busy = opaque(&tracker, "new");
    clock.advance(MICROSECOND);
    assert_eq!(dormant(), [used.token.id, idle.token.id, lost.token.id]);
    assert!(accepted(&tracker, &used));
    tracker.flush().unwrap();
    assert_eq!(dormant(), [idle.token.id, lost.token.id]);
    clock.advance(10 * DAY);
    assert_eq!(dormant(), [idle.token.id, lost.token.id, busy.token.id]);
}

#[test]
fn use_while_nobody_looked_counts_as_a_use_until_tracking_began() {
    let database = Database::new();
    let clock = ManualClock::default();
    let open = |tracked: bool| {
        let builder = builder().0.clock(clock.clone());
        let builder = if tracked { builder } else { builder.without_last_used() };
        builder.open(database.path()).unwrap()
    };
    let tracker = open(true);
    let (used, idle) = (opaque(&tracker, "used"), opaque(&tracker, "idle"));
    assert!(accepted(&tracker, &used));
    drop(tracker);

    clock.advance(100 * DAY);
    let tracker = open(false);
    let during = opaque(&tracker, "during");
    let dormant = |tracker: &TokenTracker| find(tracker, TokenFilter::new().unused_for(10 * DAY));
    let never = |tracker: &TokenTracker| find(tracker, TokenFilter::new().never_used());
    let unknown = |tracker: &TokenTracker| find(tracker, TokenFilter::new().not_tracked());
    assert_eq!((dormant(&tracker), never(&tracker)), (vec![], vec![]));
    assert_eq!(unknown(&tracker), [idle.token.id, during.token.id]);
    drop(tracker);

    clock.advance(DAY);
    let tracker = open(true);
    let after = opaque(&tracker, "after");
    clock.advance(10 * DAY);
    assert_eq!(dormant(&tracker), []);
    assert_eq!(never(&tracker), [after.token.id]);
    assert_eq!(unknown(&tracker), [idle.token.id, during.token.id]);
    assert_eq!(find(&tracker, TokenFilter::new().never_used().not_tracked()), []);
    clock.advance(MICROSECOND);
    let all = [used.token.id, idle.token.id, during.token.id, after.token.id];
    assert_eq!(dormant(&tracker), all);
    assert_eq!(find(&tracker, TokenFilter::new().unused_for(10 * DAY).not_tracked()), all[1..3]);
}

#[test]
fn expiring_tokens_live_and_end_within_the_time() {
    let (tracker, clock) = in_memory();
    let ends = |name: &str, time: Duration| {
        issue(&tracker, NewToken::opaque("alice", name).expires_in(time))
    };
    let second = Duration::from_secs(1);
    let (now, soon, later) =
        (ends("now", second), ends("soon", second + DAY), ends("later", second * 2 + DAY));
    let revoked = ends("revoked", DAY);
    let suspended = ends("suspended", DAY);
    opaque(&tracker, "never");
    tracker.tokens().revoke(revoked, "").unwrap();
    tracker.tokens().suspend(suspended).unwrap();
    let expiring = |time: Duration| find(&tracker, TokenFilter::new().expiring_within(time));
    assert_eq!(expiring(DAY), [now, suspended]);
    clock.advance(second);
    assert_eq!(expiring(DAY), [soon, suspended], "what is past its expiry does not expire again");
    assert_eq!(expiring(DAY + second), [soon, later, suspended]);
    tracker.tokens().mark_expired().unwrap();
    assert_eq!(expiring(DAY), [soon, suspended]);
}

#[test]
fn everything_that_is_asked_for_must_be_met() {
    let (tracker, clock) = in_memory();
    let tagged = |owner: &str, name: &str, tag: &str| {
        issue(&tracker, NewToken::opaque(owner, name).tag(tag).expires_in(30 * DAY))
    };
    let wanted = tagged("alice", "a", "ci");
    tagged("alice", "b", "ci");
    tagged("alice", "a2", "other");
    tagged("bob", "a", "ci");
    clock.advance(DAY);
    let all = |filter: TokenFilter| {
        let filter = filter.name("a").tag("ci").never_used().expiring_within(29 * DAY);
        filter.issued_before(clock.now()).unused_for(Duration::from_secs(1))
    };
    assert_eq!(find(&tracker, all(TokenFilter::new().owner("alice"))), [wanted]);
    assert_eq!(find(&tracker, all(TokenFilter::new())).len(), 2, "bob's too");
    let early = all(TokenFilter::new()).issued_before(clock.now() - DAY);
    assert_eq!(find(&tracker, early), []);
}

#[test]
fn what_is_out_of_bounds_is_named_and_not_looked_for() {
    let (tracker, clock) = in_memory();
    let long = "x".repeat(10_000);
    for (filter, field) in [
        (TokenFilter::new().owner(&*long), "owner"),
        (TokenFilter::new().name(&*long), "name"),
        (TokenFilter::new().tag(&*long), "tag"),
        (TokenFilter::new().signing_key(&*long), "signing_key"),
        (TokenFilter::new().unused_for(Duration::MAX), "unused_for"),
        (TokenFilter::new().expiring_within(Duration::ZERO), "expiring_within"),
        (TokenFilter::new().issued_before(clock.now() + MICROSECOND), "issued_before"),
    ] {
        let listed = tracker.tokens().list(&filter).unwrap_err();
        assert_eq!(listed.field(), Some(field));
        assert!(!listed.to_string().contains("xxx"));
        assert_eq!(tracker.tokens().count(&filter).unwrap_err().field(), Some(field));
        let preview = tracker.tokens().preview(&filter, DAY).unwrap_err();
        assert_eq!(preview.field(), Some(field));
        assert_eq!(tracker.tokens().revoke_all(&filter, "").unwrap_err().field(), Some(field));
    }
}

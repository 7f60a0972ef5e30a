//! What narrows a token: if one were looked at only when it is set, or only where a request says enough, a
//! token would be good for more than it says.

use std::net::IpAddr;
use std::time::Duration;

use token_tracker::{
    AuthRequest, Clock, DenialReason, ErrorKind, Identity, Network, NewToken, Outcome, Quota, Rate,
    Restrictions, TokenTracker, TokenUpdate,
};

use crate::support::{Database, access, denied, in_memory, opaque, records};

fn networks(texts: &[&str]) -> Vec<Network> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn identity(tracker: &TokenTracker, new: NewToken) -> Identity {
    let issued = tracker.tokens().issue(new).unwrap();
    access(tracker, &issued).identity().clone()
}

#[test]
fn token_limited_to_networks_is_good_from_those_alone() {
    let (tracker, _clock) = in_memory();
    let new = NewToken::opaque("alice", "x").networks(networks(&["192.0.2.0/24", "2001:db8::/48"]));
    let issued = tracker.tokens().issue(new).unwrap();
    let from = |text: &str| AuthRequest::from(&issued.secret).client_address(address(text));
    for good in ["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.7", "2001:db8:0:ffff::1"] {
        assert!(tracker.authenticate(from(good)).is_ok(), "{good}");
    }
    for bad in
        ["192.0.3.0", "192.0.1.255", "::ffff:192.0.3.1", "::c000:0207", "2001:db8:1::", "::1"]
    {
        let denied = denied(&tracker, from(bad));
        assert_eq!((denied.reason(), denied.status()), (DenialReason::WrongAddress, 403), "{bad}");
    }
    let unknown = denied(&tracker, &issued.secret);
    assert_eq!(unknown.reason(), DenialReason::WrongAddress, "deny on doubt");
    drop(unknown);
    let newest = records(&tracker, issued.token.id).remove(0);
    assert_eq!(newest.outcome, Outcome::Denied(DenialReason::WrongAddress));
}

#[test]
fn token_cannot_be_used_before_its_time() {
    let (tracker, clock) = in_memory();
    let start = clock.now() + Duration::from_secs(60);
    let issued = tracker.tokens().issue(NewToken::jwt("alice", "x").not_before(start)).unwrap();
    clock.advance(Duration::from_micros(59_999_999));
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::NotYetValid);
    assert!(!tracker.introspect(issued.secret.expose()).unwrap().active);
    clock.advance(Duration::from_micros(1));
    assert!(tracker.authenticate(&issued.secret).is_ok(), "from that instant on, cached or not");
}

#[test]
fn wildcard_in_a_granted_scope_covers_what_comes_in_its_place() {
    let (tracker, _clock) = in_memory();
    let new = NewToken::opaque("alice", "x").scopes(["items:*", "usage:read"]);
    let issued = tracker.tokens().issue(new).unwrap();
    let wants = |scope: &'static str| AuthRequest::from(&issued.secret).scope(scope);
    for good in ["items:read", "items:write:own", "usage:read"] {
        assert!(tracker.authenticate(wants(good)).is_ok(), "{good}");
    }
    for bad in ["items", "usage:write", "usage:*", "*", "itemsx:read", "Items:read"] {
        assert_eq!(denied(&tracker, wants(bad)).reason(), DenialReason::MissingScope, "{bad}");
    }
    let everything = identity(&tracker, NewToken::opaque("alice", "all").scope("*"));
    assert!(everything.has_scope("admin") && everything.has_scope("a:b:c"));
    assert!(!identity(&tracker, NewToken::opaque("alice", "none")).has_scope("*"));
}

#[test]
fn changed_restriction_is_in_force_on_the_next_request_without_a_new_token() {
    let (tracker, clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let request = || AuthRequest::from(&issued.secret).client_address(address("192.0.2.7"));
    let limit = |restrictions: Restrictions| {
        tracker
            .tokens()
            .update(issued.token.id, TokenUpdate::new().restrictions(restrictions))
            .unwrap()
    };
    assert!(tracker.authenticate(request()).is_ok());
    let mut restrictions =
        Restrictions { networks: Some(networks(&["198.51.100.0/24"])), ..Restrictions::default() };
    assert_eq!(limit(restrictions.clone()).restrictions, restrictions);
    assert_eq!(denied(&tracker, request()).reason(), DenialReason::WrongAddress);
    restrictions.networks = Some(networks(&["192.0.2.7"]));
    restrictions.not_before = Some(clock.now() + Duration::from_secs(1));
    limit(restrictions.clone());
    assert_eq!(denied(&tracker, request()).reason(), DenialReason::NotYetValid);
    restrictions.not_before = None;
    restrictions.resource = Some("srv-1".to_owned());
    limit(restrictions);
    assert_eq!(denied(&tracker, request()).reason(), DenialReason::WrongResource);
    limit(Restrictions::default());
    let access = tracker.authenticate(request()).unwrap();
    assert_eq!(access.identity().restrictions(), None);
}

#[test]
fn restrictions_survive_the_file_and_are_followed_by_the_other_process() {
    let database = Database::new();
    let open = || TokenTracker::builder().open(database.path()).unwrap();
    let (one, two) = (open(), open());
    let issued = opaque(&one, "laptop");
    assert!(two.authenticate(&issued.secret).is_ok());
    let restrictions = Restrictions {
        networks: Some(networks(&["192.0.2.0/24"])),
        not_before: Some(time::macros::datetime!(2026-01-01 00:00 UTC)),
        quota: Some(Quota::new().per_day(1_000).rate(Rate::per_second(10).burst(20))),
        ..Restrictions::default()
    };
    let update = TokenUpdate::new().restrictions(restrictions.clone());
    one.tokens().update(issued.token.id, update).unwrap();
    std::thread::sleep(Duration::from_millis(250));
    assert_eq!(denied(&two, &issued.secret).reason(), DenialReason::WrongAddress);
    assert_eq!(two.tokens().get(issued.token.id).unwrap().restrictions, restrictions);
    one.close().unwrap();
    two.close().unwrap();
    assert_eq!(open().tokens().get(issued.token.id).unwrap().restrictions, restrictions);
}

#[test]
fn restrictions_that_cannot_be_read_let_nobody_in() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    tracker.close().unwrap();
    drop(tracker);
    for unreadable in [r#"{"networks": ["10.0.0.1/8"]}"#, r#"{"planet": "earth"}"#, "{", "17", "[]"]
    {
        database.execute(&format!("UPDATE catalogue SET restrictions = '{unreadable}'"));
        let tracker = database.open();
        let refusal = tracker.authenticate(&issued.secret).unwrap_err();
        assert_eq!(refusal.status(), 503, "{unreadable}");
    }
}

#[test]
fn bad_restrictions_are_refused_by_name_and_nothing_is_done() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let none = Restrictions::default();
    let limited = |list: &[&str]| Restrictions { networks: Some(networks(list)), ..none.clone() };
    let (overlapping, empty) = (limited(&["10.0.0.0/8", "10.1.0.0/16"]), limited(&[]));
    let zero = Restrictions { quota: Some(Quota::new().per_day(0)), ..none.clone() };
    let long = Restrictions { resource: Some("x".repeat(10_000)), ..none.clone() };
    for (bad, field) in
        [(overlapping, "networks"), (empty, "networks"), (zero, "quota"), (long, "resource")]
    {
        let update = TokenUpdate::new().name("changed").restrictions(bad.clone());
        let error = tracker.tokens().update(issued.token.id, update).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some(field)));
        let error =
            tracker.tokens().issue(NewToken::opaque("bob", "x").restrictions(bad)).unwrap_err();
        assert_eq!(error.field(), Some(field));
    }
    for scope in ["two words", "a*", "*:a", "tab\t", "\u{202e}"] {
        let error = tracker
            .tokens()
            .update(issued.token.id, TokenUpdate::new().scopes([scope]))
            .unwrap_err();
        assert_eq!(error.field(), Some("scopes"), "{scope}");
    }
    assert_eq!(tracker.tokens().get(issued.token.id).unwrap(), issued.token);
}

#[test]
fn instant_that_cannot_be_written_is_refused_by_name() {
    use time::macros::datetime;
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    for (number, (at, is_good)) in [
        (datetime!(-0001-12-31 23:59 UTC), false),
        (datetime!(-9999-01-01 00:00 UTC), false),
        (datetime!(2026-01-01 00:00 +01:02:03), false),
        (datetime!(0000-01-01 00:00 UTC), true),
        (datetime!(9999-12-31 23:59:59.999_999_999 UTC), true),
        (datetime!(2026-01-01 00:00 +14:30), true),
    ]
    .into_iter()
    .enumerate()
    {
        let new = NewToken::opaque("alice", number.to_string()).not_before(at);
        let registered = NewToken::legacy_jwt("bob", number.to_string()).not_before(at);
        let narrowed = Restrictions { not_before: Some(at), ..Restrictions::default() };
        let update = TokenUpdate::new().restrictions(narrowed.clone());
        let tokens = tracker.tokens();
        let results = [
            tokens.issue(new).map(|issued| issued.token),
            tokens.register(registered, None, &number.to_string()),
            tokens.update(issued.token.id, update),
        ];
        for result in results {
            match result {
                Ok(token) => assert_eq!((is_good, token.restrictions), (true, narrowed.clone())),
                Err(error) => {
                    let refused = (error.kind(), error.field());
                    assert!(!is_good, "{error}");
                    assert_eq!(refused, (ErrorKind::InvalidInput, Some("not_before")), "{at}");
                }
            }
        }
    }
}

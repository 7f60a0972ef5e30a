//! A refusal is an answer, a failure is not: one must never come out as the other, and only verified
//! identity touches a token's record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_tracker::{AuthError, AuthRequest, DenialReason, ErrorKind, NewToken, Usage};

use crate::support::{
    Database, Done, accepted, access, assert_balanced, builder, denied, eventually, in_memory, jwt,
    opaque, records,
};

#[test]
fn forged_signature_with_a_known_jti_leaves_the_tokens_record_untouched() {
    let (tracker, _clock) = in_memory();
    let issued = jwt(&tracker, "nightly");
    let token = issued.secret.expose();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    for forged in [
        format!("{message}.{flipped}{}", &signature[1..]),
        format!("{message}."),
        format!("{message}.{}", "A".repeat(43)),
    ] {
        let denied = denied(&tracker, &forged);
        assert_eq!(denied.reason(), DenialReason::SignatureInvalid);
        assert!(denied.identity().is_none());
        tracker.record(Usage::of(denied).status(401));
    }
    assert_eq!(records(&tracker, issued.token.id), []);
    assert_eq!((tracker.health().strangers, tracker.health().accepted), (3, 0));
}

#[test]
fn strangers_are_counted_and_the_anonymous_apart() {
    let (tracker, _clock) = in_memory();
    let elsewhere = in_memory().0;
    let unknown = [jwt(&elsewhere, "jwt"), opaque(&elsewhere, "opaque")];
    for issued in &unknown {
        assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::UnknownToken);
    }
    for garbage in ["", " ", "a.b.c", "tt_", "é", "a\0b", "tt_ ", "Bearer x"] {
        assert_eq!(denied(&tracker, garbage).reason(), DenialReason::Malformed, "{garbage:?}");
    }
    let none = AuthRequest::from_authorization(std::iter::empty::<&str>());
    assert_eq!(denied(&tracker, none).reason(), DenialReason::CredentialMissing);
    assert_eq!((tracker.health().strangers, tracker.health().anonymous), (10, 1));
}

#[test]
fn refusals_say_what_to_answer_by_rfc_6750() {
    let (builder, _clock) = builder();
    let tracker = builder.realm("items api").in_memory().unwrap();
    let issued = opaque(&tracker, "laptop");
    let missing = denied(&tracker, AuthRequest::from_authorization(["Basic YTpi"]));
    assert_eq!(missing.status(), 401);
    assert_eq!(missing.www_authenticate(), r#"Bearer realm="items api""#);
    let scope = denied(&tracker, AuthRequest::from(&issued.secret).scope("items:write"));
    assert_eq!(scope.status(), 403);
    assert_eq!(
        scope.www_authenticate(),
        "Bearer realm=\"items api\", error=\"insufficient_scope\", error_description=\"the request \
         needs a scope that the token does not have\", scope=\"items:write\"",
    );
    let repeated = denied(&tracker, AuthRequest::from_authorization(["Bearer a", "Bearer b"]));
    assert_eq!(repeated.status(), 400);
    assert!(repeated.www_authenticate().contains(r#"error="invalid_request""#));
}

#[test]
fn nothing_in_a_request_breaks_out_of_the_challenge() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    for scope in ["a\", realm=\"b", "a\r\nSet-Cookie: x", "a\\", "é", "", "a b"] {
        let challenge =
            denied(&tracker, AuthRequest::from(&issued.secret).scope(scope)).www_authenticate();
        assert!(challenge.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
        assert_eq!(challenge.matches('"').count() % 2, 0, "{challenge}");
        assert!(!challenge.contains("realm") && !challenge.contains("Cookie"), "{challenge}");
    }
}

#[test]
fn storage_fault_during_authentication_is_unavailable_and_never_a_denial() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.open(database.path()).unwrap();
    let (cached, fresh) = (opaque(&tracker, "cached"), opaque(&tracker, "not seen before"));
    assert!(accepted(&tracker, &cached));
    database.execute("ALTER TABLE catalogue RENAME TO lost; ALTER TABLE changes RENAME TO gone;");
    let unavailable = |issued: &token_tracker::Issued| match tracker.authenticate(&issued.secret) {
        Err(AuthError::Unavailable(unavailable)) => unavailable.status(),
        other => panic!("not unavailable: {other:?}"),
    };
    assert_eq!(unavailable(&fresh), 503);
    clock.advance(Duration::from_millis(251));
    assert_eq!(unavailable(&cached), 503, "a cached token is not relied on past its bound");
    assert_eq!(denied(&tracker, "tt_forged").status(), 401, "a forgery needs no storage to see");
    database.execute("ALTER TABLE lost RENAME TO catalogue; ALTER TABLE gone RENAME TO changes;");
    assert!(accepted(&tracker, &fresh) && accepted(&tracker, &cached));
    assert_eq!(tracker.health().strangers, 1);
}

#[test]
fn stale_answers_are_served_for_the_time_that_was_allowed_and_no_longer() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.serve_stale(Duration::from_secs(60)).open(database.path()).unwrap();
    let issued = opaque(&tracker, "cached");
    assert!(accepted(&tracker, &issued));
    database.execute("ALTER TABLE catalogue RENAME TO lost; ALTER TABLE changes RENAME TO gone;");
    clock.advance(Duration::from_secs(60));
    assert!(accepted(&tracker, &issued));
    tracker.tokens().revoke(issued.token.id, "").unwrap_err();
    assert!(!accepted(&tracker, &issued), "what was revoked here is not served");
    clock.advance(Duration::from_secs(1));
    assert!(matches!(tracker.authenticate(&issued.secret), Err(AuthError::Unavailable(_))));
}

#[test]
fn storage_fault_during_recording_is_nobodys_failure_and_loses_nothing() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    database.execute("ALTER TABLE usage_log RENAME TO lost");
    for _ in 0..100 {
        assert!(tracker.record(Usage::of(access(&tracker, &issued)).status(200)).is_accepted());
    }
    assert_eq!(tracker.flush().unwrap_err().kind(), ErrorKind::Storage);
    let health = tracker.health();
    assert!(health.degraded && !health.poisoned, "{health:?}");
    assert!(health.last_error.is_some());
    assert_eq!((health.stored, health.buffered, health.dropped), (0, 100, 0));
    assert!(accepted(&tracker, &issued));

    database.execute("ALTER TABLE lost RENAME TO usage_log");
    eventually("stored", || tracker.flush().is_ok());
    assert_eq!(records(&tracker, issued.token.id).len(), 101);
    assert!(!tracker.health().degraded);
    assert_balanced(&tracker);
}

#[test]
fn foreign_write_lock_stops_neither_authentication_nor_recording() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.busy_timeout(Duration::from_millis(20)).open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..10 {
        tracker.record(Usage::of(access(&tracker, &issued)).status(200));
    }
    assert_eq!(tracker.flush().unwrap_err().kind(), ErrorKind::Storage);
    let error = tracker.tokens().issue(NewToken::opaque("bob", "new")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    other.execute_batch("ROLLBACK").unwrap();
    eventually("stored", || tracker.flush().is_ok());
    assert_eq!(records(&tracker, issued.token.id).len(), 10);
}

#[test]
fn token_limited_to_a_resource_is_good_for_that_one_alone() {
    let (tracker, _clock) = in_memory();
    let issued = tracker.tokens().issue(NewToken::opaque("alice", "x").resource("srv-1")).unwrap();
    let request = || AuthRequest::from(&issued.secret);
    assert!(tracker.authenticate(request().resource("srv-1")).is_ok());
    assert_eq!(denied(&tracker, request().resource("srv-2")).status(), 403);
    assert_eq!(denied(&tracker, request()).reason(), DenialReason::WrongResource);
}

#[test]
fn token_over_the_cap_is_refused_before_it_costs_anything() {
    let (builder, _clock) = builder();
    let tracker = builder.max_token_length(256).in_memory().unwrap();
    let huge = "a.".repeat(32 << 20);
    assert_eq!(denied(&tracker, huge.as_str()).reason(), DenialReason::TooLong);
    let header = format!("Bearer {}", "x".repeat(257));
    let request = AuthRequest::from_authorization([header.as_str()]);
    assert_eq!(denied(&tracker, request).reason(), DenialReason::TooLong);
    assert_eq!(tracker.health().cached_tokens, 0);
}

#[test]
fn questions_that_take_long_do_not_keep_authentication_waiting() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let builder = builder.readers(2).busy_timeout(Duration::from_millis(50));
    let tracker = builder.open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let fresh: Vec<_> =
        (0..20).map(|number| opaque(&tracker, &format!("fresh {number}"))).collect();
    for _ in 0..20_000 {
        tracker.record_blocking(Usage::of(access(&tracker, &issued)).status(200));
    }
    tracker.flush().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = Done(&done);
        for _ in 0..16 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = tracker.stats().all().summary();
                }
            });
        }
        for issued in &fresh {
            assert!(accepted(&tracker, issued), "a token that was not seen before");
        }
    });
}

//! A revoked token that is accepted once more is the failure that this library exists to prevent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use token_tracker::{
    Algorithm, AuthRequest, Clock, DenialReason, ErrorKind, JwtIssuer, JwtKey, NewToken, Outside,
    Restrictions, Revoked, TokenFilter, TokenStatus, TokenTracker, TokenUpdate,
};

use crate::support::{
    Database, Done, accepted, access, builder, denied, eventually, in_memory, jwt, key, opaque,
    records,
};

#[test]
fn revoked_token_is_refused_from_the_cache_by_the_next_call() {
    let (tracker, _clock) = in_memory();
    for issued in [jwt(&tracker, "jwt"), opaque(&tracker, "opaque")] {
        assert!(accepted(&tracker, &issued) && accepted(&tracker, &issued), "cached");
        assert_eq!(tracker.tokens().revoke(issued.token.id, "leaked").unwrap(), Revoked::Now);
        assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Revoked);
        assert_eq!(tracker.tokens().revoke(issued.token.id, "again").unwrap(), Revoked::Already);
        assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Revoked);
    }
}

#[test]
fn revocation_keeps_who_when_and_why_of_the_first_time() {
    let (tracker, clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let at = token_tracker::Clock::now(&clock);
    tracker.tokens().acting_as("carol").revoke(issued.token.id, "left the company").unwrap();
    clock.advance(Duration::from_secs(60));
    tracker.tokens().acting_as("dave").revoke(issued.token.id, "other").unwrap();
    let token = tracker.tokens().get(issued.token.id).unwrap();
    let revocation = token.revocation.unwrap();
    assert_eq!(token.status, TokenStatus::Revoked);
    assert_eq!(revocation.at, at);
    assert_eq!(revocation.by.as_deref(), Some("carol"));
    assert_eq!(revocation.reason.as_deref(), Some("left the company"));
}

#[test]
fn revoking_what_is_unknown_is_success_without_effect() {
    let (tracker, _clock) = in_memory();
    let unknown = "987654".parse().unwrap();
    assert_eq!(tracker.tokens().revoke(unknown, "").unwrap(), Revoked::Unknown);
    assert_eq!(tracker.tokens().get(unknown).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn revoked_token_is_refused_by_every_call_that_starts_after_the_revocation_began() {
    let database = Database::new();
    let tracker = database.open();
    let revoked = AtomicBool::new(false);
    for round in 0..50 {
        let issued = opaque(&tracker, &format!("token {round}"));
        revoked.store(false, Ordering::SeqCst);
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        while !revoked.load(Ordering::SeqCst) {
                            let _ = tracker.authenticate(&issued.secret);
                        }
                        accepted(&tracker, &issued)
                    })
                })
                .collect();
            let done = Done(&revoked);
            tracker.tokens().revoke(issued.token.id, "").unwrap();
            drop(done);
            for caller in callers {
                assert!(!caller.join().unwrap(), "accepted after its revocation");
            }
        });
    }
}

#[test]
fn revocation_that_cannot_be_stored_is_in_force_all_the_same_and_says_so() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.busy_timeout(Duration::from_millis(20)).open(database.path()).unwrap();
    let cached = opaque(&tracker, "cached");
    let fresh = opaque(&tracker, "not seen before");
    assert!(accepted(&tracker, &cached));

    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for issued in [&cached, &fresh] {
        let error = tracker.tokens().revoke(issued.token.id, "leaked").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotDurable);
        assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Revoked);
    }
    other.execute_batch("ROLLBACK").unwrap();

    let update = TokenUpdate::new().description(Some("edited meanwhile".to_owned()));
    tracker.tokens().update(cached.token.id, update).unwrap();
    assert_eq!(denied(&tracker, &cached.secret).reason(), DenialReason::Revoked);

    assert_eq!(tracker.tokens().revoke(cached.token.id, "leaked").unwrap(), Revoked::Now);
    assert_eq!(tracker.tokens().get(cached.token.id).unwrap().status, TokenStatus::Revoked);
}

#[test]
fn refusal_that_turns_out_to_be_none_is_taken_back() {
    let (tracker, _clock) = in_memory();
    let first = opaque(&tracker, "same name");
    tracker.tokens().revoke(first.token.id, "").unwrap();
    assert_eq!(tracker.tokens().suspend(first.token.id).unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(denied(&tracker, &first.secret).reason(), DenialReason::Revoked);
}

#[test]
fn suspension_is_in_force_until_resumed() {
    let (tracker, _clock) = in_memory();
    let issued = jwt(&tracker, "nightly");
    assert!(accepted(&tracker, &issued));
    assert_eq!(tracker.tokens().suspend(issued.token.id).unwrap().status, TokenStatus::Suspended);
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Suspended);
    assert_eq!(tracker.tokens().resume(issued.token.id).unwrap().status, TokenStatus::Active);
    assert!(accepted(&tracker, &issued) && accepted(&tracker, &issued));
    tracker.tokens().revoke(issued.token.id, "").unwrap();
    assert_eq!(tracker.tokens().resume(issued.token.id).unwrap_err().kind(), ErrorKind::Revoked);
}

#[test]
fn changed_scopes_count_on_the_next_request() {
    let (tracker, _clock) = in_memory();
    let new = NewToken::opaque("alice", "laptop").scopes(["items:read", "items:write"]);
    let issued = tracker.tokens().issue(new).unwrap();
    let writing = || AuthRequest::from(&issued.secret).scope("items:write");
    assert!(tracker.authenticate(writing()).is_ok());
    let less = TokenUpdate::new().scopes(["items:read"]);
    tracker.tokens().update(issued.token.id, less).unwrap();
    let denied = denied(&tracker, writing());
    assert_eq!((denied.reason(), denied.status()), (DenialReason::MissingScope, 403));
    let more = TokenUpdate::new().scopes(["items:write"]);
    tracker.tokens().update(issued.token.id, more).unwrap();
    assert!(tracker.authenticate(writing()).is_ok());
}

#[test]
fn expired_revoked_and_suspended_tokens_are_each_recorded_with_their_own_reason() {
    let (tracker, clock) = in_memory();
    let short = NewToken::jwt("alice", "short").expires_in(Duration::from_secs(60));
    let expired = tracker.tokens().issue(short).unwrap();
    let (revoked, suspended) = (opaque(&tracker, "revoked"), jwt(&tracker, "suspended"));
    assert!(accepted(&tracker, &expired), "and cached");
    clock.advance(Duration::from_secs(60));
    tracker.tokens().revoke(revoked.token.id, "").unwrap();
    tracker.tokens().suspend(suspended.token.id).unwrap();
    for (issued, reason) in [
        (&expired, DenialReason::Expired),
        (&revoked, DenialReason::Revoked),
        (&suspended, DenialReason::Suspended),
    ] {
        assert_eq!(denied(&tracker, &issued.secret).reason(), reason);
        let record = records(&tracker, issued.token.id).remove(0);
        assert_eq!((record.outcome.reason(), record.status), (Some(reason), 401));
    }
}

#[test]
fn other_trackers_on_the_file_follow_within_a_quarter_of_a_second() {
    let database = Database::new();
    let one = builder().0.open(database.path()).unwrap();
    let two = token_tracker::TokenTracker::builder().jwt_key(key()).open(database.path()).unwrap();
    let issued = opaque(&one, "shared");
    for _ in 0..10 {
        one.tokens().resume(issued.token.id).unwrap();
        eventually("accepted by the other", || accepted(&two, &issued));
        one.tokens().suspend(issued.token.id).unwrap();
        std::thread::sleep(Duration::from_millis(250));
        assert!(!accepted(&two, &issued), "accepted 250 ms after its suspension was committed");
    }
}

#[test]
fn long_stream_can_ask_whether_its_token_still_holds() {
    let (tracker, clock) = in_memory();
    let new = NewToken::opaque("alice", "stream").expires_in(Duration::from_secs(600));
    let issued = tracker.tokens().issue(new).unwrap();
    let access = access(&tracker, &issued);
    assert!(tracker.still_holds(access.identity()).unwrap());
    let update = TokenUpdate::new().description(Some("edited".to_owned()));
    tracker.tokens().update(issued.token.id, update).unwrap();
    assert!(tracker.still_holds(access.identity()).unwrap(), "an edit does not end it");
    tracker.tokens().suspend(issued.token.id).unwrap();
    assert!(!tracker.still_holds(access.identity()).unwrap());
    tracker.tokens().resume(issued.token.id).unwrap();
    assert!(tracker.still_holds(access.identity()).unwrap());
    clock.advance(Duration::from_secs(600));
    assert!(!tracker.still_holds(access.identity()).unwrap());
}

#[test]
fn suspension_lasts_until_it_is_ended_whatever_becomes_of_the_expiry() {
    type End = fn(&TokenTracker, &NewToken);
    let marked: End = |tracker, _| assert_eq!(tracker.tokens().mark_expired().unwrap(), 1);
    let name_taken: End = |tracker, new| drop(tracker.tokens().issue(new.clone()).unwrap());
    let not_marked: End = |_, _| {};
    for end in [marked, name_taken, not_marked] {
        for suspended_first in [true, false] {
            let (tracker, clock) = in_memory();
            let (tokens, minute) = (tracker.tokens(), Duration::from_secs(60));
            let new = NewToken::opaque("alice", "laptop").expires_in(minute);
            let issued = tokens.issue(new.clone()).unwrap();
            let id = issued.token.id;
            let suspend = || assert!(tokens.suspend(id).is_ok());
            if suspended_first {
                suspend();
            }
            clock.advance(minute);
            end(&tracker, &new);
            if !suspended_first {
                suspend();
            }
            assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Expired);
            let expired = TokenFilter::new().status(TokenStatus::Expired);
            assert_eq!(tokens.count(&expired).unwrap(), 1);

            let update = TokenUpdate::new().name("again").expires_at(None);
            assert_eq!(tokens.update(id, update).unwrap().status, TokenStatus::Suspended);
            assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Suspended);
            assert_eq!(tokens.resume(id).unwrap().status, TokenStatus::Active);
            assert!(accepted(&tracker, &issued));
        }
    }
}

#[test]
fn suspension_that_is_ended_after_the_expiry_brings_nothing_back_but_with_another_expiry() {
    let (tracker, clock) = in_memory();
    let new = NewToken::opaque("alice", "laptop").expires_in(Duration::from_secs(60));
    let issued = tracker.tokens().issue(new).unwrap();
    let id = issued.token.id;
    tracker.tokens().suspend(id).unwrap();
    clock.advance(Duration::from_secs(60));
    tracker.tokens().mark_expired().unwrap();
    assert_eq!(tracker.tokens().resume(id).unwrap().status, TokenStatus::Expired);
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Expired);
    let update = TokenUpdate::new().expires_at(None);
    assert_eq!(tracker.tokens().update(id, update).unwrap().status, TokenStatus::Active);
    assert!(accepted(&tracker, &issued));
}

#[test]
fn token_that_was_refused_does_not_hold_whether_it_is_cached_or_not() {
    let (tracker, clock) = in_memory();
    let (suspended, later) = (opaque(&tracker, "suspended"), opaque(&tracker, "later"));
    tracker.tokens().suspend(suspended.token.id).unwrap();
    let held = access(&tracker, &later);
    let start = clock.now() + Duration::from_secs(60);
    let from_then = Restrictions { not_before: Some(start), ..Default::default() };
    tracker.tokens().update(later.token.id, TokenUpdate::new().restrictions(from_then)).unwrap();
    assert!(!tracker.still_holds(held.identity()).unwrap(), "it does not hold yet");
    for issued in [&suspended, &later] {
        let refused = denied(&tracker, &issued.secret);
        assert!(!tracker.still_holds(refused.identity().unwrap()).unwrap());
    }
    clock.advance(Duration::from_secs(60));
    assert!(tracker.still_holds(held.identity()).unwrap());
}

#[test]
fn token_holds_no_longer_than_the_overlap_of_its_replaced_key() {
    let (tracker, clock) = in_memory();
    let issued = jwt(&tracker, "stream");
    let overlap = Duration::from_secs(60);
    let other = JwtKey::hmac(Algorithm::Hs256, &[9; 32]).unwrap();
    tracker.replace_keys("", other.into(), overlap).unwrap();
    let held = access(&tracker, &issued);
    clock.advance(overlap - Duration::from_micros(1));
    assert!(tracker.still_holds(held.identity()).unwrap());
    clock.advance(Duration::from_micros(1));
    assert!(!tracker.still_holds(held.identity()).unwrap());
    assert!(!accepted(&tracker, &issued));
}

#[test]
fn token_that_is_passed_holds_while_the_file_cannot_be_asked_too() {
    let database = Database::new();
    let issuer = || JwtIssuer::named("https://outside.example").key(key());
    let elsewhere = TokenTracker::builder().jwt_issuer(issuer()).in_memory().unwrap();
    let new = NewToken::jwt("bob", "passed").expires_in(Duration::from_secs(3_600));
    let issued = elsewhere.tokens().issue(new).unwrap();
    let issuer = issuer().outside(Outside::Pass);
    let tracker = TokenTracker::builder().jwt_issuer(issuer).open(database.path()).unwrap();
    let passed = access(&tracker, &issued);
    assert!(!passed.identity().is_tracked());
    tracker.close().unwrap();
    let known = opaque(&database.open(), "known");
    let held = access(&tracker, &known);
    // Nobody follows changes any longer: before long everything is asked of the file.
    let request = AuthRequest::from(&known.secret);
    eventually("not fresh", || tracker.authenticate_cached(&request).is_none());
    assert!(tracker.still_holds(held.identity()).unwrap());
    assert!(tracker.still_holds(passed.identity()).unwrap());
}

#[test]
fn failed_revocation_is_not_undone_by_a_resume() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.busy_timeout(Duration::from_millis(20)).open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = tracker.tokens().revoke(issued.token.id, "leaked").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotDurable);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(tracker.tokens().resume(issued.token.id).unwrap_err().kind(), ErrorKind::Revoked);
    tracker.tokens().suspend(issued.token.id).unwrap();
    assert_eq!(tracker.tokens().resume(issued.token.id).unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Revoked);
}

#[test]
fn suspension_that_could_not_be_stored_does_not_hide_a_revocation_by_another_process() {
    let database = Database::new();
    let (builder, clock) = builder();
    let tracker = builder.busy_timeout(Duration::from_millis(20)).open(database.path()).unwrap();
    let issued = opaque(&tracker, "laptop");
    let lock = database.connect();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = tracker.tokens().suspend(issued.token.id).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotDurable);
    lock.execute_batch("ROLLBACK").unwrap();
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Suspended);

    database.open().tokens().revoke(issued.token.id, "leaked").unwrap();
    clock.advance(Duration::from_millis(251));
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Revoked);
}

#[test]
fn refusal_of_a_number_that_nobody_had_does_not_meet_the_token_that_gets_it() {
    let database = Database::new();
    let (builder, _clock) = builder();
    let tracker = builder.busy_timeout(Duration::from_millis(20)).open(database.path()).unwrap();
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    tracker.tokens().revoke("1".parse().unwrap(), "").unwrap_err();
    other.execute_batch("ROLLBACK").unwrap();
    let issued = opaque(&tracker, "first");
    assert_eq!(issued.token.id.to_string(), "1");
    assert!(accepted(&tracker, &issued));
}

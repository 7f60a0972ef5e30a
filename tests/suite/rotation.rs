//! A rotation that breaks a client is one that nobody dares to do, and one that leaves the old secret alive is none.

use std::sync::Barrier;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use token_tracker::{
    Act, AuditFilter, AuthRequest, Clock, Credential, CredentialId, CredentialState, DenialReason,
    Error, ErrorKind, Issued, JwtIssuer, ManualClock, NewToken, Rotation, SystemClock, TokenFilter,
    TokenKind, TokenStatus, TokenTracker, TokenUpdate,
};

use crate::support::{
    Database, accepted, access, builder, denied, eventually, in_memory, jwt, key, opaque, records,
};

const MINUTE: Duration = Duration::from_secs(60);

fn rotate(tracker: &TokenTracker, issued: &Issued, rotation: Rotation) -> Issued {
    let named = issued.token.credential_id;
    tracker.tokens().rotate(named, rotation).unwrap()
}

/// The number of the credential that a secret is, as its bearer is told it.
fn number(tracker: &TokenTracker, issued: &Issued) -> CredentialId {
    access(tracker, issued).identity().credential_id()
}

fn is_retired(tracker: &TokenTracker, issued: &Issued) -> bool {
    !accepted(tracker, issued)
        && denied(tracker, &issued.secret).reason() == DenialReason::CredentialRetired
}

fn failure(tracker: &TokenTracker, named: CredentialId, rotation: Rotation) -> Error {
    tracker.tokens().rotate(named, rotation).unwrap_err()
}

fn credentials(tracker: &TokenTracker, issued: &Issued) -> Vec<Credential> {
    tracker.tokens().credentials(issued.token.id).unwrap()
}

/// The states of a token's credentials, oldest first.
fn states(tracker: &TokenTracker, issued: &Issued) -> Vec<CredentialState> {
    credentials(tracker, issued).iter().rev().map(|credential| credential.state).collect()
}

fn claims(issued: &Issued) -> Value {
    let payload = issued.secret.expose().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A tracker that gives up on a locked file quickly, so that a test can lock it.
fn impatient(database: &Database) -> (TokenTracker, ManualClock) {
    let (builder, clock) = builder();
    let tracker = builder.busy_timeout(Duration::from_millis(100)).open(database.path()).unwrap();
    (tracker, clock)
}

#[test]
fn old_secret_is_good_until_the_new_one_is_used_and_refused_by_the_next_call() {
    let (tracker, _clock) = in_memory();
    for old in [jwt(&tracker, "jwt"), opaque(&tracker, "opaque")] {
        assert!(accepted(&tracker, &old) && accepted(&tracker, &old), "cached");
        let new = rotate(&tracker, &old, Rotation::until_first_use());
        assert_ne!(new.secret, old.secret);
        assert_eq!((new.token.id, &new.token.name), (old.token.id, &old.token.name));
        for _ in 0..3 {
            assert!(accepted(&tracker, &old), "its client may not have the new one");
        }
        let first = access(&tracker, &new);
        assert_eq!(first.identity().token_id(), old.token.id);
        let refusal = denied(&tracker, &old.secret);
        assert_eq!(refusal.reason(), DenialReason::CredentialRetired);
        assert_eq!(refusal.identity(), Some(first.identity()), "attributed to the token");
        assert!(accepted(&tracker, &new) && accepted(&tracker, &new));
        drop((first, refusal));
        let newest = records(&tracker, old.token.id);
        let retired = |record: &&token_tracker::UsageRecord| {
            record.outcome.reason() == Some(DenialReason::CredentialRetired)
        };
        assert_eq!((newest.len(), newest.iter().filter(retired).count()), (9, 1));
    }
}

#[test]
fn credentials_of_a_token_are_shown_from_their_first_to_their_last_day() {
    let (tracker, clock) = in_memory();
    let old = opaque(&tracker, "laptop");
    let issued_at = clock.now();
    clock.advance(MINUTE);
    let new = rotate(&tracker, &old, Rotation::until_first_use_or(10 * MINUTE));
    let rotated_at = clock.now();
    let ends_at = Some(rotated_at + 10 * MINUTE);
    let shown = credentials(&tracker, &old);
    assert_eq!(shown.len(), 2);
    assert_eq!((shown[0].state, shown[0].first_used_at), (CredentialState::New, None));
    assert_eq!((shown[0].created_at, shown[0].kind), (rotated_at, TokenKind::Opaque));
    assert_eq!(shown[0].fragment, new.token.fragment);
    assert_eq!(shown[1].state, CredentialState::Outgoing { ends_at });
    assert_eq!((shown[1].ends_at, shown[1].retired_at), (ends_at, None));
    assert_eq!((shown[1].id, &shown[1].fragment), (old.token.credential_id, &old.token.fragment));
    assert_eq!(shown[1].created_at, issued_at);

    clock.advance(MINUTE);
    assert!(accepted(&tracker, &new));
    let shown = credentials(&tracker, &old);
    assert_eq!(shown[0].state, CredentialState::Current);
    assert_eq!(shown[0].first_used_at, Some(clock.now()));
    assert_eq!(
        (shown[1].state, shown[1].retired_at),
        (CredentialState::Retired, Some(clock.now()))
    );
    let unknown = tracker.tokens().credentials("999".parse().unwrap()).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[test]
fn token_shows_the_fragment_of_its_newest_secret_and_the_credential_that_clients_have() {
    let (tracker, _clock) = in_memory();
    let old = jwt(&tracker, "nightly");
    let new = rotate(&tracker, &old, Rotation::until_first_use());
    assert_ne!(new.token.fragment, old.token.fragment);
    let listed = |tracker: &TokenTracker| {
        let mut page = tracker.tokens().list(&TokenFilter::new()).unwrap();
        assert_eq!(page.tokens[0], tracker.tokens().get(old.token.id).unwrap());
        page.tokens.remove(0)
    };
    let token = listed(&tracker);
    assert_eq!(token.fragment, new.token.fragment);
    assert_eq!(token.credential_id, old.token.credential_id, "until the new one is used");
    let current = number(&tracker, &new);
    assert_eq!(listed(&tracker).credential_id, current);
    assert_ne!(current, old.token.credential_id);
}

#[test]
fn new_secret_is_not_answered_from_memory_before_its_first_use_is_stored() {
    let (tracker, _clock) = in_memory();
    let old = opaque(&tracker, "laptop");
    let new = rotate(&tracker, &old, Rotation::until_first_use());
    let request = AuthRequest::from(&new.secret);
    assert!(tracker.authenticate_cached(&request).is_none());
    let refused = denied(&tracker, request.clone().scope("admin"));
    assert_eq!(refused.reason(), DenialReason::MissingScope);
    assert!(tracker.introspect(new.secret.expose()).unwrap().active);
    assert!(tracker.authenticate_cached(&request).is_none());
    assert!(accepted(&tracker, &old), "what is refused or only asked about is no use");
    assert!(accepted(&tracker, &new) && accepted(&tracker, &new));
    assert!(tracker.authenticate_cached(&request).is_some_and(|answer| answer.is_ok()));
}

#[test]
fn rotation_within_a_time_lets_both_work_to_its_last_microsecond() {
    let (tracker, clock) = in_memory();
    for old in [jwt(&tracker, "jwt"), opaque(&tracker, "opaque")] {
        let new = rotate(&tracker, &old, Rotation::within(MINUTE));
        assert!(accepted(&tracker, &new) && accepted(&tracker, &old) && accepted(&tracker, &new));
        clock.advance(MINUTE - Duration::from_micros(1));
        assert!(accepted(&tracker, &old) && accepted(&tracker, &old), "cached");
        clock.advance(Duration::from_micros(1));
        assert!(is_retired(&tracker, &old) && accepted(&tracker, &new));
        assert_eq!(states(&tracker, &old), [CredentialState::Retired, CredentialState::Current]);
        assert_eq!(credentials(&tracker, &old)[1].retired_at, Some(clock.now()));
    }
}

#[test]
fn deadline_ends_the_old_secret_where_the_new_one_is_not_used() {
    let (tracker, clock) = in_memory();
    let old = opaque(&tracker, "laptop");
    let new = rotate(&tracker, &old, Rotation::until_first_use_or(MINUTE));
    assert!(accepted(&tracker, &old));
    clock.advance(MINUTE);
    assert!(is_retired(&tracker, &old));
    assert!(accepted(&tracker, &new));
    let ended = credentials(&tracker, &old)[1].retired_at;
    clock.advance(MINUTE);
    assert_eq!(ended, Some(clock.now() - MINUTE), "by its deadline");
    let acts = tracker.tokens().audit(&AuditFilter::new().act(Act::Retire)).unwrap();
    assert_eq!(acts.entries, [], "it was not the first use that ended it");
}

#[test]
fn leaked_secret_ends_at_once_whatever_is_cached() {
    let (tracker, _clock) = in_memory();
    for leaked in [jwt(&tracker, "jwt"), opaque(&tracker, "opaque")] {
        assert!(accepted(&tracker, &leaked) && accepted(&tracker, &leaked), "cached");
        let new = rotate(&tracker, &leaked, Rotation::within(Duration::ZERO));
        assert!(is_retired(&tracker, &leaked));
        assert!(accepted(&tracker, &new));
    }
}

#[test]
fn lost_answer_is_repeated_by_naming_the_old_secret_or_the_new_one() {
    let (tracker, clock) = in_memory();
    for old in [jwt(&tracker, "jwt"), opaque(&tracker, "opaque")] {
        let lost = rotate(&tracker, &old, Rotation::until_first_use());
        let repeated = rotate(&tracker, &old, Rotation::within(MINUTE));
        assert!(is_retired(&tracker, &lost), "dead at once");
        let unused = credentials(&tracker, &old)[0].id;
        let last = tracker.tokens().rotate(unused, Rotation::until_first_use()).unwrap();
        assert!(is_retired(&tracker, &repeated));
        clock.advance(2 * MINUTE);
        assert!(accepted(&tracker, &old), "by the newest terms");
        assert!(accepted(&tracker, &last) && is_retired(&tracker, &old));
        let late = failure(&tracker, old.token.credential_id, Rotation::until_first_use());
        assert_eq!(late.kind(), ErrorKind::AlreadyRotated);
        assert_eq!(failure(&tracker, unused, Rotation::within(MINUTE)).kind(), late.kind());
        assert_eq!(late.to_string(), "the credential was replaced already");
        assert_eq!(
            states(&tracker, &old),
            [
                CredentialState::Retired,
                CredentialState::Retired,
                CredentialState::Retired,
                CredentialState::Current
            ]
        );
    }
}

#[test]
fn repeated_rotation_brings_nothing_back_that_is_over() {
    let (tracker, clock) = in_memory();
    let old = opaque(&tracker, "laptop");
    rotate(&tracker, &old, Rotation::within(MINUTE));
    clock.advance(MINUTE);
    assert!(is_retired(&tracker, &old));
    let second = rotate(&tracker, &old, Rotation::until_first_use());
    assert!(is_retired(&tracker, &old), "its deadline had passed");
    let leaked = rotate(&tracker, &old, Rotation::within(Duration::ZERO));
    let last = rotate(&tracker, &old, Rotation::within(MINUTE));
    assert!([&old, &second, &leaked].iter().all(|dead| is_retired(&tracker, dead)));
    assert!(accepted(&tracker, &last));
}

#[test]
fn deadline_that_passed_by_a_clock_in_doubt_is_neither_made_final_nor_put_off() {
    let (tracker, clock) = in_memory();
    let old = opaque(&tracker, "laptop");
    rotate(&tracker, &old, Rotation::within(MINUTE));
    let right = clock.now();
    clock.set_wall(right + 60 * MINUTE);
    assert!(tracker.health().clock_in_doubt && is_retired(&tracker, &old));
    let new = rotate(&tracker, &old, Rotation::until_first_use());
    assert!(is_retired(&tracker, &old), "not brought back");
    clock.set_wall(right);
    assert!(accepted(&tracker, &old), "its deadline is as it was");
    clock.advance(MINUTE);
    assert!(is_retired(&tracker, &old) && accepted(&tracker, &new));
}

#[test]
fn rotation_is_refused_while_the_one_before_is_under_way() {
    let (tracker, clock) = in_memory();
    let first = opaque(&tracker, "laptop");
    let second = rotate(&tracker, &first, Rotation::within(MINUTE));
    let current = number(&tracker, &second);
    let refused = failure(&tracker, current, Rotation::until_first_use());
    assert_eq!(refused.kind(), ErrorKind::AlreadyRotated);
    let until = (clock.now() + MINUTE).unix_timestamp();
    assert!(refused.to_string().starts_with("a rotation of the token is under way until 20"));
    assert_eq!(credentials(&tracker, &first)[1].ends_at.unwrap().unix_timestamp(), until);
    assert!(accepted(&tracker, &first) && accepted(&tracker, &second), "nothing has changed");

    clock.advance(MINUTE);
    let third = tracker.tokens().rotate(current, Rotation::within(MINUTE)).unwrap();
    assert!(accepted(&tracker, &third) && accepted(&tracker, &second));
    assert!(is_retired(&tracker, &first));
}

#[test]
fn leak_is_answered_whatever_rotation_is_under_way() {
    let (tracker, _clock) = in_memory();
    let first = opaque(&tracker, "laptop");
    let second = rotate(&tracker, &first, Rotation::within(MINUTE));
    let current = number(&tracker, &second);
    let third = tracker.tokens().rotate(current, Rotation::within(Duration::ZERO)).unwrap();
    assert!(is_retired(&tracker, &first) && is_retired(&tracker, &second));
    assert!(accepted(&tracker, &third));

    let current = number(&tracker, &third);
    let fourth = tracker.tokens().rotate(current, Rotation::until_first_use()).unwrap();
    let fifth = tracker.tokens().rotate(current, Rotation::within(Duration::ZERO)).unwrap();
    assert!(is_retired(&tracker, &third) && is_retired(&tracker, &fourth));
    assert!(accepted(&tracker, &fifth));
}

#[test]
fn bearer_of_an_old_secret_cannot_take_the_token_over() {
    let (tracker, _clock) = in_memory();
    let old = opaque(&tracker, "laptop");
    let new = rotate(&tracker, &old, Rotation::within(MINUTE));
    assert!(accepted(&tracker, &new));
    let stolen = number(&tracker, &old);
    for rotation in [Rotation::within(Duration::ZERO), Rotation::until_first_use()] {
        assert_eq!(failure(&tracker, stolen, rotation).kind(), ErrorKind::AlreadyRotated);
    }
    assert!(accepted(&tracker, &new) && accepted(&tracker, &old));
}

#[test]
fn dead_and_unknown_tokens_are_not_rotated_and_a_suspended_one_stays_so() {
    let (tracker, clock) = in_memory();
    let rotation = Rotation::until_first_use();
    let unknown = failure(&tracker, "999".parse().unwrap(), rotation);
    assert_eq!(
        (unknown.kind(), unknown.to_string()),
        (ErrorKind::NotFound, "no such credential".to_owned())
    );
    let revoked = opaque(&tracker, "revoked");
    tracker.tokens().revoke(revoked.token.id, "").unwrap();
    assert_eq!(failure(&tracker, revoked.token.credential_id, rotation).kind(), ErrorKind::Revoked);
    let short = NewToken::jwt("alice", "short").expires_in(MINUTE);
    let expired = tracker.tokens().issue(short).unwrap();
    clock.advance(MINUTE);
    assert_eq!(failure(&tracker, expired.token.credential_id, rotation).kind(), ErrorKind::Expired);
    tracker.tokens().mark_expired().unwrap();
    assert_eq!(failure(&tracker, expired.token.credential_id, rotation).kind(), ErrorKind::Expired);

    let suspended = opaque(&tracker, "suspended");
    tracker.tokens().suspend(suspended.token.id).unwrap();
    let new = rotate(&tracker, &suspended, rotation);
    assert_eq!(new.token.status, TokenStatus::Suspended);
    assert_eq!(denied(&tracker, &new.secret).reason(), DenialReason::Suspended);
    tracker.tokens().resume(suspended.token.id).unwrap();
    assert!(accepted(&tracker, &suspended), "a use that was refused was none");
    assert!(accepted(&tracker, &new) && is_retired(&tracker, &suspended));
}

#[test]
fn jwt_that_somebody_else_signed_cannot_be_rotated() {
    let outside = "https://id.example.com";
    let issuers = [
        JwtIssuer::named("ours").key(key()),
        JwtIssuer::named(outside).key(key()).outside(token_tracker::Outside::Refuse),
    ];
    let [ours, theirs] = issuers;
    let tracker = TokenTracker::builder().jwt_issuer(ours).jwt_issuer(theirs).in_memory().unwrap();
    let new = || NewToken::legacy_jwt("bob", "registered");
    let token = tracker.tokens().register(new(), Some(outside), "1").unwrap();
    let foreign = failure(&tracker, token.credential_id, Rotation::until_first_use());
    assert_eq!((foreign.kind(), foreign.field()), (ErrorKind::InvalidInput, Some("credential")));

    let database = Database::new();
    let tracker = database.open();
    let (jwt, opaque) = (jwt(&tracker, "jwt"), opaque(&tracker, "opaque"));
    drop(tracker);
    let tracker = TokenTracker::builder().open(database.path()).unwrap();
    let keyless = failure(&tracker, jwt.token.credential_id, Rotation::until_first_use());
    assert_eq!((keyless.kind(), keyless.field()), (ErrorKind::InvalidInput, Some("credential")));
    let opaque = rotate(&tracker, &opaque, Rotation::until_first_use());
    assert!(accepted(&tracker, &opaque), "it needs no key");
}

#[test]
fn overlap_is_bounded_and_named() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let year = Duration::from_secs(366 * 86_400);
    for rotation in [Rotation::within, Rotation::until_first_use_or] {
        let error = failure(&tracker, issued.token.credential_id, rotation(year + MINUTE));
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("overlap")));
    }
    assert_eq!(states(&tracker, &issued), [CredentialState::Current]);
    assert!(accepted(&tracker, &rotate(&tracker, &issued, Rotation::within(year))));
}

#[test]
fn rotated_jwt_keeps_its_kind_and_carries_the_expiry_of_the_catalogue() {
    let (tracker, clock) = in_memory();
    for (new, mark) in [
        (NewToken::jwt("alice", "marked"), Some("api")),
        (NewToken::legacy_jwt("alice", "legacy"), None),
    ] {
        let old = tracker.tokens().issue(new.expires_in(MINUTE)).unwrap();
        let expires_at = clock.now() + 100 * MINUTE;
        let update = TokenUpdate::new().expires_at(Some(expires_at));
        tracker.tokens().update(old.token.id, update).unwrap();
        let new = rotate(&tracker, &old, Rotation::until_first_use());
        let claims = claims(&new);
        assert_eq!(claims["exp"], expires_at.unix_timestamp());
        assert_eq!(claims.get("token_use").and_then(Value::as_str), mark);
        assert_eq!((&claims["sub"], new.token.kind), (&"alice".into(), old.token.kind));
        clock.advance(50 * MINUTE);
        assert_eq!(denied(&tracker, &old.secret).reason(), DenialReason::Expired, "its own `exp`");
        assert_eq!(access(&tracker, &new).identity().kind(), old.token.kind);
    }
}

#[test]
fn rotated_jwt_and_catalogue_agree_also_where_the_expiry_is_edited_meanwhile() {
    let (tracker, clock) = in_memory();
    let old = jwt(&tracker, "nightly");
    for minutes in 10..110 {
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                let update = TokenUpdate::new().expires_at(Some(clock.now() + MINUTE * minutes));
                tracker.tokens().update(old.token.id, update).unwrap();
            });
            barrier.wait();
            let new = rotate(&tracker, &old, Rotation::until_first_use());
            let expires_at = new.token.expires_at.map(|at| at.unix_timestamp());
            assert_eq!(claims(&new)["exp"].as_i64(), expires_at);
        });
    }
}

#[test]
fn edit_of_the_expiry_brings_no_credential_back() {
    let (tracker, clock) = in_memory();
    let old = opaque(&tracker, "laptop");
    let new = rotate(&tracker, &old, Rotation::until_first_use());
    assert!(accepted(&tracker, &new));
    let update = TokenUpdate::new().expires_at(Some(clock.now() + 100 * MINUTE));
    tracker.tokens().update(old.token.id, update).unwrap();
    assert!(is_retired(&tracker, &old) && accepted(&tracker, &new));
}

#[test]
fn revoked_is_told_before_replaced_and_replaced_before_expired_and_suspended() {
    let (tracker, clock) = in_memory();
    let old = tracker.tokens().issue(NewToken::opaque("alice", "x").expires_in(MINUTE)).unwrap();
    let new = rotate(&tracker, &old, Rotation::within(Duration::ZERO));
    tracker.tokens().suspend(old.token.id).unwrap();
    assert_eq!(denied(&tracker, &old.secret).reason(), DenialReason::CredentialRetired);
    clock.advance(MINUTE);
    assert_eq!(denied(&tracker, &old.secret).reason(), DenialReason::CredentialRetired);
    assert_eq!(denied(&tracker, &new.secret).reason(), DenialReason::Expired);
    tracker.tokens().mark_expired().unwrap();
    assert_eq!(denied(&tracker, &old.secret).reason(), DenialReason::CredentialRetired);
    tracker.tokens().revoke(old.token.id, "").unwrap();
    for issued in [&old, &new] {
        assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Revoked);
    }
}

#[test]
fn streams_and_introspection_follow_a_credential_to_its_end() {
    let (tracker, clock) = in_memory();
    let old = opaque(&tracker, "stream");
    let stream = access(&tracker, &old);
    let holds = |access: &token_tracker::Access| tracker.still_holds(access.identity()).unwrap();
    let is_active = |issued: &Issued| tracker.introspect(issued.secret.expose()).unwrap().active;
    rotate(&tracker, &old, Rotation::within(MINUTE));
    let outgoing = access(&tracker, &old);
    assert!(holds(&stream) && holds(&outgoing) && is_active(&old));
    let ends_at = (clock.now() + MINUTE).unix_timestamp();
    assert_eq!(tracker.introspect(old.secret.expose()).unwrap().exp, Some(ends_at));
    let new = rotate(&tracker, &old, Rotation::within(2 * MINUTE));
    clock.advance(MINUTE);
    assert!(holds(&stream) && holds(&outgoing) && is_active(&old), "by the new terms");
    clock.advance(MINUTE);
    assert!(!holds(&stream) && !holds(&outgoing) && !is_active(&old));
    let new = access(&tracker, &new);
    assert!(holds(&new));
    tracker
        .tokens()
        .rotate(new.identity().credential_id(), Rotation::within(Duration::ZERO))
        .unwrap();
    assert!(!holds(&new));
}

#[test]
fn cached_outgoing_credential_ends_at_its_deadline_for_a_stream_too() {
    let (tracker, clock) = in_memory();
    let old = opaque(&tracker, "stream");
    rotate(&tracker, &old, Rotation::within(MINUTE));
    let outgoing = access(&tracker, &old);
    clock.advance(MINUTE - Duration::from_micros(1));
    assert!(tracker.still_holds(outgoing.identity()).unwrap());
    clock.advance(Duration::from_micros(1));
    assert!(!tracker.still_holds(outgoing.identity()).unwrap(), "from memory");
}

#[test]
fn first_use_that_cannot_be_stored_is_allowed_and_the_old_secret_lives_on() {
    let database = Database::new();
    let (tracker, _clock) = impatient(&database);
    let old = opaque(&tracker, "laptop");
    let new = rotate(&tracker, &old, Rotation::until_first_use());
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..3 {
        assert!(accepted(&tracker, &new) && accepted(&tracker, &old));
    }
    other.execute_batch("ROLLBACK").unwrap();
    assert!(accepted(&tracker, &old), "no use was stored");
    // A checkpoint may hold the lock for longer than an impatient tracker waits.
    eventually("a use is stored", || accepted(&tracker, &new) && !accepted(&tracker, &old));
    assert!(is_retired(&tracker, &old));
}

#[test]
fn first_use_waits_for_a_slow_storage_for_a_moment_only() {
    let database = Database::new();
    let tracker = builder().0.busy_timeout(Duration::from_secs(10)).open(database.path()).unwrap();
    let old = opaque(&tracker, "laptop");
    let new = rotate(&tracker, &old, Rotation::until_first_use());
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let watch = SystemClock::new();
    for _ in 0..100 {
        assert!(accepted(&tracker, &new), "the wait counts from the first of them");
    }
    let took = watch.monotonic();
    assert!(took < Duration::from_secs(2), "{took:?}");
    other.execute_batch("ROLLBACK").unwrap();
    eventually("the use is stored", || !accepted(&tracker, &old));
    assert!(is_retired(&tracker, &old));
}

#[test]
fn first_use_after_the_tracker_is_closed_is_allowed_and_nobody_waits() {
    let database = Database::new();
    let tracker = database.open();
    let old = opaque(&tracker, "laptop");
    let new = rotate(&tracker, &old, Rotation::until_first_use());
    tracker.close().unwrap();
    assert!(accepted(&tracker, &new) && accepted(&tracker, &old));
}

#[test]
fn rotation_that_cannot_be_stored_changes_nothing_and_is_repeated() {
    let database = Database::new();
    let (tracker, _clock) = impatient(&database);
    let old = opaque(&tracker, "laptop");
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = failure(&tracker, old.token.credential_id, Rotation::within(Duration::ZERO));
    assert_eq!(busy.kind(), ErrorKind::Busy);
    assert!(accepted(&tracker, &old));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(states(&tracker, &old), [CredentialState::Current]);
    let mut stored = None;
    eventually("the rotation is stored", || {
        let named = old.token.credential_id;
        stored = tracker.tokens().rotate(named, Rotation::within(Duration::ZERO)).ok();
        stored.is_some()
    });
    assert!(accepted(&tracker, &stored.unwrap()) && is_retired(&tracker, &old));
}

#[test]
fn first_use_by_many_threads_is_stored_once_and_each_of_them_finds_the_old_secret_dead() {
    let database = Database::new();
    let tracker = database.open();
    for round in 0..20 {
        let old = opaque(&tracker, &format!("token {round}"));
        let new = rotate(&tracker, &old, Rotation::until_first_use());
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    assert!(accepted(&tracker, &new));
                    assert!(is_retired(&tracker, &old), "the new one was used before");
                });
            }
        });
        let acts = AuditFilter::new().token(old.token.id).act(Act::Retire);
        assert_eq!(tracker.tokens().audit(&acts).unwrap().entries.len(), 1);
    }
}

#[test]
fn book_says_who_rotated_and_that_the_first_use_ended_the_old_secret() {
    let (tracker, _clock) = in_memory();
    let old = opaque(&tracker, "laptop");
    let named = old.token.credential_id;
    let tokens = tracker.tokens().acting_as("carol").because("yearly");
    let new = tokens.rotate(named, Rotation::until_first_use()).unwrap();
    let used = number(&tracker, &new);
    let page = tracker.tokens().audit(&AuditFilter::new().token(old.token.id)).unwrap();
    let told: Vec<_> = page
        .entries
        .iter()
        .map(|entry| (entry.act, entry.actor.as_deref(), entry.reason.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            (Act::Retire, None, None),
            (Act::Rotate, Some("carol"), Some("yearly")),
            (Act::Issue, None, None)
        ]
    );
    let detail = |at: usize| page.entries[at].detail.clone().unwrap();
    assert_eq!(detail(0), format!(r#"{{"credential":{named},"for":{used}}}"#));
    assert_eq!(
        detail(1),
        format!(r#"{{"credential":{used},"ends_at":null,"ends_on_use":true,"replaces":{named}}}"#)
    );
}

#[test]
fn other_trackers_on_the_file_follow_a_rotation_within_a_quarter_of_a_second() {
    let database = Database::new();
    let open = || TokenTracker::builder().jwt_key(key()).open(database.path()).unwrap();
    let (one, two) = (open(), open());
    for old in [jwt(&one, "jwt"), opaque(&one, "opaque")] {
        eventually("cached by the other", || {
            accepted(&two, &old)
                && two.authenticate_cached(&AuthRequest::from(&old.secret)).is_some()
        });
        let new = rotate(&one, &old, Rotation::until_first_use());
        assert!(accepted(&two, &old));
        assert!(accepted(&two, &new), "the other stores the first use");
        assert!(is_retired(&two, &old));
        std::thread::sleep(Duration::from_millis(250));
        assert!(is_retired(&one, &old), "accepted 250 ms after the new one was used elsewhere");
        assert!(accepted(&one, &new));

        let leaked = number(&two, &new);
        eventually("cached by the other", || {
            accepted(&two, &new)
                && two.authenticate_cached(&AuthRequest::from(&new.secret)).is_some()
        });
        one.tokens().rotate(leaked, Rotation::within(Duration::ZERO)).unwrap();
        std::thread::sleep(Duration::from_millis(250));
        assert!(is_retired(&two, &new), "accepted 250 ms after it was ended elsewhere");
    }
}

#[test]
fn rotation_outlives_its_tracker() {
    let database = Database::new();
    let tracker = database.open();
    let (one, two) = (jwt(&tracker, "one"), opaque(&tracker, "two"));
    let new_one = rotate(&tracker, &one, Rotation::until_first_use());
    let new_two = rotate(&tracker, &two, Rotation::until_first_use());
    assert!(accepted(&tracker, &new_one));
    drop(tracker);
    let tracker = database.open();
    assert!(is_retired(&tracker, &one) && accepted(&tracker, &new_one));
    assert!(accepted(&tracker, &two), "its new one was not used yet");
    assert!(accepted(&tracker, &new_two) && is_retired(&tracker, &two));
    assert!(tracker.verify().unwrap().problems.is_empty());
}

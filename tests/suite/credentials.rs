//! Three kinds of credential, one way through: what each must be, and what it is told to be.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use token_tracker::{
    ApiTokenMark, AuthRequest, Clock, DenialReason, ErrorKind, JwtIssuer, NewToken, TokenKind,
    TokenTracker, TokenUpdate,
};

use crate::support::{accepted, access, builder, denied, in_memory, jwt, key, opaque};

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn issued_jwt_says_what_the_catalogue_says() {
    let (builder, clock) = builder();
    let issuer = JwtIssuer::named("https://api.example.com").audience("items").key(key());
    drop(builder);
    let tracker =
        TokenTracker::builder().jwt_issuer(issuer).clock(clock.clone()).in_memory().unwrap();
    clock.advance(Duration::from_millis(700));
    let new = NewToken::jwt("alice", "nightly").expires_in(Duration::from_secs(3_600));
    let issued = tracker.tokens().issue(new).unwrap();
    let claims = claims(issued.secret.expose());
    let expires_at = issued.token.expires_at.unwrap();
    assert_eq!(claims["exp"], expires_at.unix_timestamp());
    assert_eq!(expires_at.nanosecond(), 0, "equal to the second and in what follows it");
    assert_eq!(claims["iss"], "https://api.example.com");
    assert_eq!(claims["aud"], "items");
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["token_use"], "api");
    assert_eq!(claims["iat"], clock.now().unix_timestamp());
    let jti = claims["jti"].as_str().unwrap();
    assert_eq!((jti.len(), &jti[14..15]), (36, "7"), "a UUIDv7");
    assert!(tracker.authenticate(AuthRequest::from(&issued.secret).audience("items")).is_ok());
    let other = AuthRequest::from(&issued.secret).audience("other");
    assert_eq!(denied(&tracker, other).reason(), DenialReason::WrongAudience);
}

#[test]
fn token_is_good_to_its_last_microsecond_and_refused_at_its_expiry() {
    let (tracker, clock) = in_memory();
    for kind in [NewToken::jwt, NewToken::opaque] {
        let new = kind("alice".to_owned(), format!("until {}", clock.now()));
        let issued = tracker.tokens().issue(new.expires_in(Duration::from_secs(10))).unwrap();
        clock.advance(Duration::from_secs(10) - Duration::from_micros(1));
        assert!(accepted(&tracker, &issued));
        clock.advance(Duration::from_micros(1));
        assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Expired);
    }
}

#[test]
fn edited_expiry_ends_a_token_and_brings_it_back() {
    let (tracker, clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    assert!(accepted(&tracker, &issued));
    let ends = clock.now() + Duration::from_secs(5);
    let update = |at| TokenUpdate::new().expires_at(at);
    tracker.tokens().update(issued.token.id, update(Some(ends))).unwrap();
    assert!(accepted(&tracker, &issued));
    clock.advance(Duration::from_secs(5));
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Expired);
    assert_eq!(tracker.tokens().mark_expired().unwrap(), 1);
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::Expired);
    tracker.tokens().update(issued.token.id, update(None)).unwrap();
    assert!(accepted(&tracker, &issued));
}

#[test]
fn legacy_jwt_is_known_by_its_jti_once_it_is_registered() {
    let (tracker, _clock) = in_memory();
    let elsewhere = in_memory().0;
    let legacy = elsewhere.tokens().issue(NewToken::legacy_jwt("bob", "old export")).unwrap();
    let claims = claims(legacy.secret.expose());
    assert!(claims.get("token_use").is_none());
    assert_eq!(denied(&tracker, &legacy.secret).reason(), DenialReason::UnknownToken);

    let jti = claims["jti"].as_str().unwrap();
    let new = || NewToken::legacy_jwt("bob", "old export");
    let token = tracker.tokens().register(new(), None, jti).unwrap();
    let access = access(&tracker, &legacy);
    assert_eq!(access.identity().token_id(), token.id);
    assert_eq!(access.identity().kind(), TokenKind::LegacyJwt);
    tracker.tokens().revoke(token.id, "").unwrap();
    assert_eq!(denied(&tracker, &legacy.secret).reason(), DenialReason::Revoked);

    let again = tracker.tokens().register(new(), None, jti).unwrap_err();
    assert_eq!((again.kind(), again.field()), (ErrorKind::AlreadyExists, Some("jti")));
    let foreign = tracker.tokens().register(new(), Some("nobody"), "x").unwrap_err();
    assert_eq!(foreign.field(), Some("issuer"));
}

#[test]
fn mark_is_configurable_and_tells_the_kind() {
    let (builder, _clock) = builder();
    drop(builder);
    let issuer =
        JwtIssuer::unnamed().key(key()).marks([ApiTokenMark::new(["ext", "use"], "machine")]);
    let tracker = TokenTracker::builder().jwt_issuer(issuer).in_memory().unwrap();
    let issued = jwt(&tracker, "nightly");
    assert_eq!(claims(issued.secret.expose())["ext"]["use"], "machine");
    assert_eq!(access(&tracker, &issued).identity().kind(), TokenKind::Jwt);
}

#[test]
fn without_a_key_jwts_are_neither_issued_nor_accepted() {
    let tracker = TokenTracker::builder().in_memory().unwrap();
    let error = tracker.tokens().issue(NewToken::jwt("alice", "x")).unwrap_err();
    assert_eq!(error.field(), Some("kind"));
    let issued = jwt(&in_memory().0, "nightly");
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::WrongIssuer);
}

#[test]
fn opaque_token_is_refused_offline_when_its_checksum_is_wrong() {
    let (builder, _clock) = builder();
    let tracker = builder.opaque_prefix("acme_live_").in_memory().unwrap();
    let issued = opaque(&tracker, "laptop");
    let token = issued.secret.expose();
    assert!(token.starts_with("acme_live_"));
    let changed =
        format!("{}{}", &token[..token.len() - 1], if token.ends_with('a') { 'b' } else { 'a' });
    let answer = tracker.authenticate_cached(&AuthRequest::new(changed.as_str()));
    assert!(answer.is_some_and(|answer| answer.is_err()), "answered without a look-up");
    assert!(tracker.authenticate_cached(&AuthRequest::new(token)).is_none(), "needs a look-up");
}

#[test]
fn hit_is_answered_from_memory_alone() {
    let (tracker, _clock) = in_memory();
    for issued in [jwt(&tracker, "jwt"), opaque(&tracker, "opaque")] {
        let request = AuthRequest::from(&issued.secret);
        assert!(tracker.authenticate_cached(&request).is_none());
        assert!(accepted(&tracker, &issued));
        assert!(tracker.authenticate_cached(&request).is_some_and(|answer| answer.is_ok()));
    }
}

#[test]
fn token_that_would_be_too_long_to_be_accepted_is_not_issued() {
    let (builder, _clock) = builder();
    let tracker = builder.max_token_length(256).in_memory().unwrap();
    let error = tracker.tokens().issue(NewToken::jwt("a".repeat(300), "x")).unwrap_err();
    assert_eq!(error.field(), Some("max_token_length"));
}

#[test]
fn mark_that_would_overwrite_a_registered_claim_is_refused() {
    for claim in ["exp", "jti", "sub"] {
        let issuer = JwtIssuer::unnamed().key(key()).marks([ApiTokenMark::new([claim], "x")]);
        let error = TokenTracker::builder().jwt_issuer(issuer).in_memory().unwrap_err();
        assert_eq!(error.field(), Some("marks"));
    }
}

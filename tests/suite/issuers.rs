//! Issuers beside our own: none of their tokens is let in, let through or taken in but as configured, and no
//! key outlives its time.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use token_tracker::{
    Algorithm, AuthRequest, Builder, Clock, DenialReason, JwtIssuer, JwtKey, KeySet, ManualClock,
    NewToken, Outside, TokenFilter, TokenKind, TokenTracker, Usage,
};

use crate::support::{Database, access, denied, key, records};

const OUTSIDE: &str = "https://id.example.com";
const SECRET: [u8; 32] = [9; 32];

fn outside_key() -> JwtKey {
    JwtKey::hmac(Algorithm::Hs256, &SECRET).unwrap()
}

fn outside_issuer(rule: Outside) -> JwtIssuer {
    JwtIssuer::named(OUTSIDE).key(outside_key()).outside(rule)
}

fn builder(issuer: JwtIssuer) -> (Builder, ManualClock) {
    let clock = ManualClock::default();
    let ours = JwtIssuer::named("ours").key(key());
    (TokenTracker::builder().jwt_issuer(ours).jwt_issuer(issuer).clock(clock.clone()), clock)
}

fn tracker(issuer: JwtIssuer) -> (TokenTracker, ManualClock) {
    let (builder, clock) = builder(issuer);
    (builder.in_memory().unwrap(), clock)
}

/// A token as the outside issuer signs it, made with HMAC by hand so that any claims can be said.
fn signed(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(hmac_sha256(&SECRET, message.as_bytes())))
}

/// RFC 2104 with SHA-256.
fn hmac_sha256(secret: &[u8; 32], message: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(secret).for_each(|(pad, secret)| *pad ^= secret);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

fn claims(jti: &str, clock: &ManualClock) -> Value {
    let expires_at = clock.now().unix_timestamp() + 3_600;
    json!({"iss": OUTSIDE, "sub": "bob", "jti": jti, "exp": expires_at, "scope": "items:read a"})
}

#[test]
fn token_of_an_outside_issuer_is_refused_unless_said() {
    let (tracker, clock) = tracker(outside_issuer(Outside::default()));
    let token = signed(&claims("1", &clock));
    assert_eq!(denied(&tracker, &token).reason(), DenialReason::UnknownToken);
    let mut marked = claims("1", &clock);
    marked["token_use"] = "api".into();
    assert_eq!(denied(&tracker, signed(&marked)).reason(), DenialReason::UnknownToken);
    let new = NewToken::legacy_jwt("bob", "registered");
    tracker.tokens().register(new, Some(OUTSIDE), "1").unwrap();
    let access = tracker.authenticate(signed(&marked)).unwrap();
    assert_eq!(access.identity().kind(), TokenKind::LegacyJwt, "their marks do not count");
}

#[test]
fn passed_token_is_let_through_without_a_trace() {
    let (tracker, clock) = tracker(outside_issuer(Outside::Pass));
    let token = signed(&claims("1", &clock));
    let passed = tracker.authenticate(AuthRequest::from(&token).scope("items:read")).unwrap();
    let identity = passed.identity().clone();
    assert_eq!((identity.owner(), identity.kind()), ("bob", TokenKind::Outside));
    assert!(!identity.is_tracked() && passed.is_settled());
    assert!(tracker.stats().token(identity.token_id()).summary().is_err());
    tracker.record(Usage::of(passed).status(200));
    let scope = denied(&tracker, AuthRequest::from(&token).scope("admin"));
    assert_eq!((scope.reason(), scope.identity()), (DenialReason::MissingScope, None));
    tracker.flush().unwrap();
    assert_eq!((tracker.health().accepted, tracker.health().cached_tokens), (0, 0));

    clock.advance(Duration::from_secs(3_600 + 30));
    assert_eq!(denied(&tracker, &token).reason(), DenialReason::Expired);
    let mut endless = claims("2", &clock);
    endless.as_object_mut().unwrap().remove("exp");
    assert_eq!(denied(&tracker, signed(&endless)).reason(), DenialReason::MissingClaim);
}

#[test]
fn revocation_is_looked_at_before_a_token_is_passed() {
    let (tracker, clock) = tracker(outside_issuer(Outside::Pass));
    let token = signed(&claims("1", &clock));
    assert!(tracker.authenticate(&token).is_ok());
    let new = NewToken::legacy_jwt("bob", "to be revoked");
    let registered = tracker.tokens().register(new, Some(OUTSIDE), "1").unwrap();
    tracker.tokens().revoke(registered.id, "stolen").unwrap();
    assert_eq!(denied(&tracker, &token).reason(), DenialReason::Revoked);
}

#[test]
fn adopted_token_is_tracked_from_its_first_sight_and_can_be_revoked() {
    let (tracker, clock) = tracker(outside_issuer(Outside::Adopt { most: 2 }));
    let token = signed(&claims("1", &clock));
    let first = tracker.authenticate(&token).unwrap();
    let id = first.identity().token_id();
    tracker.record(Usage::of(first).status(200));
    drop(tracker.authenticate(&token).unwrap());
    assert_eq!(records(&tracker, id).len(), 2);
    let adopted = tracker.tokens().get(id).unwrap();
    assert_eq!((adopted.owner.as_str(), adopted.name.as_str()), ("bob", "adopted 1"));
    assert_eq!(adopted.scopes, ["items:read", "a"]);
    assert_eq!(adopted.expires_at.unwrap(), clock.now() + Duration::from_secs(3_630));
    tracker.tokens().revoke(id, "").unwrap();
    assert_eq!(denied(&tracker, &token).reason(), DenialReason::Revoked);
}

#[test]
fn adoption_is_bounded_and_needs_to_know_whom_and_how_long() {
    let (tracker, clock) = tracker(outside_issuer(Outside::Adopt { most: 2 }));
    for jti in ["1", "2", "1"] {
        assert!(tracker.authenticate(signed(&claims(jti, &clock))).is_ok());
    }
    let third = signed(&claims("3", &clock));
    assert_eq!(denied(&tracker, &third).reason(), DenialReason::UnknownToken);
    for missing in ["jti", "exp", "sub"] {
        let mut claims = claims("4", &clock);
        claims.as_object_mut().unwrap().remove(missing);
        assert_eq!(denied(&tracker, signed(&claims)).reason(), DenialReason::MissingClaim);
    }
    let mut odd = claims("5", &clock);
    odd["sub"] = "x".repeat(400).into();
    assert!(tracker.authenticate(signed(&odd)).is_err());
    assert_eq!(tracker.tokens().count(&TokenFilter::new()).unwrap(), 2);
    clock.advance(Duration::from_secs(4_000));
    assert!(tracker.authenticate(signed(&claims("3", &clock))).is_ok(), "the first two are dead");
}

#[test]
fn token_that_there_is_no_room_for_is_refused_without_the_writer() {
    let database = Database::new();
    let (builder, clock) = builder(outside_issuer(Outside::Adopt { most: 1 }));
    let builder = builder.busy_timeout(Duration::from_millis(20));
    let tracker = builder.open(database.path()).unwrap();
    let first = signed(&claims("1", &clock));
    assert!(tracker.authenticate(&first).is_ok());
    let other = database.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let second = signed(&claims("2", &clock));
    assert_eq!(denied(&tracker, &second).reason(), DenialReason::UnknownToken);
    assert!(tracker.authenticate(&first).is_ok());
}

#[test]
fn burst_of_first_sights_adopts_once() {
    let (tracker, clock) = tracker(outside_issuer(Outside::Adopt { most: 10 }));
    let token = signed(&claims("1", &clock));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(tracker.authenticate(&token).is_ok()));
        }
    });
    assert_eq!(tracker.tokens().count(&TokenFilter::new()).unwrap(), 1);
}

#[test]
fn claims_that_were_configured_are_required() {
    let reason = |issuer: JwtIssuer, change: fn(&mut Value)| {
        let (tracker, clock) = tracker(issuer.outside(Outside::Pass));
        let mut claims = claims("1", &clock);
        claims["iat"] = clock.now().unix_timestamp().into();
        change(&mut claims);
        tracker
            .authenticate(signed(&claims))
            .err()
            .map(|_| ())
            .map(|()| denied(&tracker, signed(&claims)).reason())
    };
    let issuer = || outside_issuer(Outside::Pass);
    let hour = Duration::from_secs(3_600);
    assert_eq!(reason(issuer().require_subject("bob"), |_| {}), None);
    assert_eq!(reason(issuer().require_subject("eve"), |_| {}), Some(DenialReason::WrongSubject));
    assert_eq!(reason(issuer().require_claims(["x"]), |c| c["x"] = 1.into()), None);
    assert_eq!(reason(issuer().require_claims(["x"]), |_| {}), Some(DenialReason::MissingClaim));
    assert_eq!(reason(issuer().max_lifetime(hour), |_| {}), None);
    let too_long = reason(issuer().max_lifetime(hour - Duration::from_secs(1)), |_| {});
    assert_eq!(too_long, Some(DenialReason::LifetimeTooLong));
    let undated =
        reason(issuer().max_lifetime(hour), |c| drop(c.as_object_mut().unwrap().remove("iat")));
    assert_eq!(undated, Some(DenialReason::MissingClaim));
    let no_expiry: fn(&mut Value) = |c| drop(c.as_object_mut().unwrap().remove("exp"));
    assert_eq!(reason(issuer(), no_expiry), Some(DenialReason::MissingClaim));
    assert_eq!(reason(issuer().require_claims([""; 0]), no_expiry), None);
}

#[test]
fn access_token_profile_is_that_of_rfc_9068() {
    let profile = || JwtIssuer::named("ours").audience("api").key(key()).access_token_profile();
    let tracker = TokenTracker::builder().jwt_issuer(profile()).in_memory().unwrap();
    let new = NewToken::jwt("alice", "nightly").expires_in(Duration::from_secs(60));
    let issued = tracker.tokens().issue(new).unwrap();
    drop(access(&tracker, &issued));
    let header = issued.secret.expose().split('.').next().unwrap().to_owned();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    assert_eq!(header["typ"], "at+jwt");
    let unnamed = JwtIssuer::unnamed().key(key()).access_token_profile();
    let error = TokenTracker::builder().jwt_issuer(unnamed).in_memory().unwrap_err();
    assert_eq!(error.field(), Some("jwt_issuer"));
}

#[test]
fn replaced_key_verifies_for_the_overlap_and_not_after_it() {
    let (tracker, clock) = tracker(outside_issuer(Outside::Refuse));
    let issued = crate::support::jwt(&tracker, "nightly");
    drop(access(&tracker, &issued));
    let next = JwtKey::hmac(Algorithm::Hs256, &[3; 32]).unwrap();
    let day = Duration::from_secs(86_400);
    tracker.replace_keys("ours", next.clone().into(), day).unwrap();
    let by_next = crate::support::jwt(&tracker, "by the next key");
    drop((access(&tracker, &issued), access(&tracker, &issued)));
    clock.advance(day);
    assert_eq!(denied(&tracker, &issued.secret).reason(), DenialReason::SignatureInvalid);
    drop(access(&tracker, &by_next));

    tracker.replace_keys("ours", key().into(), Duration::ZERO).unwrap();
    assert_eq!(denied(&tracker, &by_next.secret).reason(), DenialReason::SignatureInvalid);
    drop(access(&tracker, &issued));
    let error = |name: &str, keys: KeySet, overlap| {
        tracker.replace_keys(name, keys, overlap).unwrap_err().field()
    };
    assert_eq!(error("nobody", next.clone().into(), day), Some("issuer"));
    assert_eq!(error("ours", KeySet::new(), day), Some("keys"));
    assert_eq!(error("ours", next.into(), 400 * day), Some("overlap"));
}

#[test]
fn key_sets_that_invite_confusion_are_refused() {
    let allowed = [Algorithm::Hs256, Algorithm::EdDsa];
    let set = |keys: &str| KeySet::from_jwk_set(&format!(r#"{{"keys":[{keys}]}}"#), &allowed);
    let oct = |kid: &str| {
        let k = URL_SAFE_NO_PAD.encode([5; 32]);
        format!(r#"{{"kty":"oct","alg":"HS256","kid":"{kid}","k":"{k}"}}"#)
    };
    let okp = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let unknown = r#"{"kty":"PQC","alg":"ML-DSA-44"},{"kty":"RSA","use":"enc"}"#;
    assert!(
        set(&format!("{unknown},{}", oct("a"))).is_ok(),
        "what is not understood is passed over"
    );
    assert!(set(&format!("{},{}", oct("a"), oct("b"))).is_ok());
    for wrong in [
        format!("{},{okp}", oct("a")),
        format!("{},{}", oct("a"), oct("a")),
        unknown.to_owned(),
        String::new(),
        "1".to_owned(),
        vec![oct("a"); 10_000].join(","),
    ] {
        assert!(set(&wrong).is_err());
    }
    for wrong in ["", "[]", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        assert!(KeySet::from_jwk_set(wrong, &allowed).is_err());
    }
}

#[test]
fn introspection_tells_by_rfc_7662_without_counting_as_a_use() {
    let (tracker, clock) = tracker(outside_issuer(Outside::Pass));
    let new =
        NewToken::jwt("alice", "nightly").scopes(["a", "b"]).expires_in(Duration::from_secs(60));
    let issued = tracker.tokens().issue(new).unwrap();
    let tell = |token: &str| serde_json::to_value(tracker.introspect(token).unwrap()).unwrap();
    let active = tell(issued.secret.expose());
    assert_eq!(
        active,
        json!({"active": true, "scope": "a b", "sub": "alice", "token_type": "Bearer",
            "exp": clock.now().unix_timestamp() + 60, "token_id": issued.token.id})
    );
    let passed = tell(&signed(&claims("1", &clock)));
    assert_eq!((&passed["active"], &passed["sub"]), (&json!(true), &json!("bob")));
    tracker.tokens().suspend(issued.token.id).unwrap();
    let inactive = json!({"active": false});
    for token in [issued.secret.expose(), "", "made-up", "a.b.c"] {
        assert_eq!(tell(token), inactive);
    }
    assert_eq!(records(&tracker, issued.token.id), []);
    let health = tracker.health();
    assert_eq!((health.last_used_writes, health.strangers, health.accepted), (0, 0, 0));
}

#[test]
fn dates_count_to_the_microsecond_and_leeway_is_what_was_said() {
    let issuer = outside_issuer(Outside::Pass).leeway(Duration::from_secs(2));
    let (tracker, clock) = tracker(issuer);
    let now = clock.now().unix_timestamp();
    let mut dated = claims("1", &clock);
    dated["nbf"] = json!(now + 10);
    dated["exp"] = json!((now + 20) as f64 + 0.5);
    let token = signed(&dated);
    let advance = |clock: &ManualClock, micros: u64| clock.advance(Duration::from_micros(micros));
    assert_eq!(denied(&tracker, &token).reason(), DenialReason::NotYetValid);
    advance(&clock, 7_999_999);
    assert_eq!(denied(&tracker, &token).reason(), DenialReason::NotYetValid);
    advance(&clock, 1);
    assert!(tracker.authenticate(&token).is_ok(), "valid from `nbf` on, less the leeway");
    advance(&clock, 14_499_999);
    assert!(tracker.authenticate(&token).is_ok(), "until just before `exp`, plus the leeway");
    advance(&clock, 1);
    assert_eq!(denied(&tracker, &token).reason(), DenialReason::Expired);
}

#[test]
fn adopted_token_of_an_erased_owner_is_not_adopted_again() {
    let (tracker, clock) = tracker(outside_issuer(Outside::Adopt { most: 10 }));
    let token = signed(&claims("1", &clock));
    let id = tracker.authenticate(&token).unwrap().identity().token_id();
    assert_eq!(tracker.tokens().erase_owner("bob").unwrap().tokens, [id]);
    assert_eq!(denied(&tracker, &token).reason(), DenialReason::Revoked);
    assert_eq!(tracker.tokens().count(&TokenFilter::new()).unwrap(), 1);
    let mut nobody = claims("2", &clock);
    nobody["sub"] = "<erased>".into();
    assert_eq!(denied(&tracker, signed(&nobody)).reason(), DenialReason::UnknownToken);
}

//! A loaded key put to use: tokens that name every algorithm, signed well and badly. A key that loads and
//! then panics, or verifies what its numbers do not, is worse than one that is refused.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use token_tracker::{Algorithm, JwtIssuer, JwtKey, KeySet, ManualClock, NewToken, TokenTracker};

use crate::base64url;
use crate::bench::{Answer, START, instant};
use crate::jwk::{ALGORITHMS, Key, Material, is_named};
use crate::keys::{KeyName, RSA_TOKENS, SECRET, hmac_sha256, hmac_sha384, hmac_sha512, p384_sign};
use crate::render::quoted;

/// What a header may say beside the names of algorithms.
const OTHER_NAMES: [&str; 4] = ["Ed25519", "none", "hs256", ""];

const PAYLOAD: &[u8] = br#"{"jti":"jti-1"}"#;

/// Asserts that a tracker with these keys accepts what the reference verifies and nothing else.
///
/// # Panics
/// Where it does not.
pub fn run(keys: KeySet, reference: &[Key]) {
    TRACKER.replace_keys("", keys, Duration::ZERO).expect("the keys are good");
    let names = ALGORITHMS.iter().map(|algorithm| algorithm.as_str()).chain(OTHER_NAMES);
    let kids = reference.iter().map(|key| key.kid.as_deref()).chain([None, Some("other")]);
    let kids: BTreeSet<Option<&str>> = kids.collect();
    for name in names {
        let is_meant = reference.iter().any(|key| is_named(key.algorithm, name));
        for kid in kids.iter().filter(|kid| is_meant || kid.is_none()) {
            try_signatures(reference, name, *kid);
        }
    }
    for (name, token) in RSA_TOKENS {
        check(reference, (name, None), token);
    }
}

/// One tracker for all trials: opening one costs as much as a hundred verdicts. So a token that the keys
/// before verified, and that may be cached, is refused with the next ones.
static TRACKER: LazyLock<TokenTracker> = LazyLock::new(|| {
    let issuer =
        JwtIssuer::unnamed().key(JwtKey::hmac(Algorithm::Hs256, &SECRET).expect("long enough"));
    let builder =
        TokenTracker::builder().jwt_issuer(issuer).clock(ManualClock::new(instant(START)));
    let builder = builder.without_usage_recording().without_last_used();
    let tracker = builder.in_memory().expect("the configuration is valid");
    let new = NewToken::legacy_jwt("alice", "jti-1");
    tracker.tokens().register(new, None, "jti-1").expect("the `jti` is new");
    tracker
});

fn try_signatures(reference: &[Key], name: &str, kid: Option<&str>) {
    let named = kid.map(|kid| format!(",\"kid\":{}", quoted(kid))).unwrap_or_default();
    let header = format!("{{\"alg\":{}{named}}}", quoted(name));
    let message =
        format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(PAYLOAD));
    for signature in signatures(name, message.as_bytes(), reference) {
        let token = format!("{message}.{}", base64url::encode(&signature));
        check(reference, (name, kid), &token);
    }
}

fn check(reference: &[Key], named: (&str, Option<&str>), token: &str) {
    let (message, signature) = token.rsplit_once('.').expect("a token has dots");
    let signature = base64url::decode(signature).expect("it was encoded here");
    let (name, kid) = named;
    let verifies = |key: &Key| {
        let is_meant = kid.is_none() || key.kid.is_none() || key.kid.as_deref() == kid;
        is_meant
            && is_named(key.algorithm, name)
            && key.material.verifies(key.algorithm, message.as_bytes(), &signature)
    };
    let expected = reference.iter().any(verifies);
    let accepted = matches!(Answer::of(TRACKER.authenticate(token)), Answer::Accepted(_));
    assert_eq!(accepted, expected, "by {reference:?}: {token}");
}

/// Signatures that a forger would try, and good ones where the key is one that can be signed with.
fn signatures(name: &str, message: &[u8], reference: &[Key]) -> Vec<Vec<u8>> {
    let mut signatures: Vec<Vec<u8>> = [0, 64, 256].map(|length| vec![0; length]).to_vec();
    let is_meant = |key: &&Key| is_named(key.algorithm, name);
    match reference.iter().find(is_meant).map(|key| key.algorithm) {
        Some(Algorithm::EdDsa) => signatures.push(KeyName::EdDsa.sign(message)),
        Some(Algorithm::Es256) => signatures.push(KeyName::Es256.sign(message)),
        Some(Algorithm::Es384) => signatures.push(p384_sign(message)),
        _ => {}
    }
    let mac = match name {
        "HS256" => hmac_sha256,
        "HS384" => hmac_sha384,
        "HS512" => hmac_sha512,
        _ => return signatures,
    };
    signatures.extend(reference.iter().map(|key| mac(as_secret(&key.material), message)));
    signatures
}

/// A public number taken for a secret is the oldest forgery (RFC 8725 §2.1).
fn as_secret(material: &Material) -> &[u8] {
    match material {
        Material::EcPoint(bytes) | Material::EdPoint(bytes) | Material::Secret(bytes) => bytes,
        Material::Rsa { modulus, .. } => modulus,
    }
}

use serde_json::json;

use super::*;
use crate::clock::{Clock, ManualClock};

const SECRET: [u8; 32] = [7; 32];
const NOW: Timestamp = Timestamp::from_seconds(1_767_225_600);

macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/", $name, ".pem"))
    };
}

fn hmac() -> JwtKey {
    JwtKey::hmac(Algorithm::Hs256, &SECRET).unwrap()
}

fn issuers(issuer: JwtIssuer) -> Issuers {
    Issuers::new(vec![issuer]).unwrap()
}

fn new_claims(token_id: &str) -> NewClaims<'_> {
    let now = Timestamp::from(ManualClock::default().now());
    let expires_at = Some(now.saturating_add(std::time::Duration::from_secs(60)));
    NewClaims { subject: "alice", token_id, issued_at: now, expires_at, marked: true }
}

/// A token with any header and payload, signed as the header says with the key given.
fn signed(key: &JwtKey, header: &str, payload: &str) -> String {
    let message = format!(
        "{}.{}",
        base64url::encode(header.as_bytes()),
        base64url::encode(payload.as_bytes())
    );
    let signature = base64url::encode(&key.sign(message.as_bytes()).unwrap());
    format!("{message}.{signature}")
}

/// The same, with HMAC and any secret, one that no key of ours would have.
fn signed_with(secret: &[u8], header: &str, payload: &str) -> String {
    let encoded = [header, payload].map(|part| base64url::encode(part.as_bytes())).join(".");
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let signer =
        (provider::PROVIDER.signer_factory)(&jsonwebtoken::Algorithm::HS256, &key).unwrap();
    format!("{encoded}.{}", base64url::encode(&signer.sign(encoded.as_bytes())))
}

/// The bytes in a PEM text.
fn der_of(pem: &[u8]) -> Vec<u8> {
    let lines = std::str::from_utf8(pem).unwrap().lines();
    let text: String = lines.filter(|line| !line.starts_with("-----")).collect();
    ::base64::Engine::decode(&::base64::engine::general_purpose::STANDARD, text).unwrap()
}

fn signed_hs256(payload: &Value) -> String {
    signed(&hmac(), r#"{"alg":"HS256"}"#, &payload.to_string())
}

fn terms_of(issuer: JwtIssuer, payload: &Value) -> Terms {
    issuers(issuer).verify(&signed_hs256(payload), NOW).unwrap().terms
}

fn plain() -> JwtIssuer {
    JwtIssuer::unnamed().key(hmac())
}

#[test]
fn every_algorithm_verifies_what_its_private_key_signs_with_its_public_key_too() {
    let pairs: [(Algorithm, &[u8], &[u8]); 7] = [
        (Algorithm::Rs256, pem!("rsa.private"), pem!("rsa.public")),
        (Algorithm::Rs512, pem!("rsa.private"), pem!("rsa.public")),
        (Algorithm::Ps256, pem!("rsa.private"), pem!("rsa.public")),
        (Algorithm::Ps384, pem!("rsa.private"), pem!("rsa.public")),
        (Algorithm::Es256, pem!("p256.private"), pem!("p256.public")),
        (Algorithm::Es384, pem!("p384.private"), pem!("p384.public")),
        (Algorithm::EdDsa, pem!("ed25519.private"), pem!("ed25519.public")),
    ];
    for (algorithm, private, public) in pairs {
        let signing =
            issuers(JwtIssuer::unnamed().key(JwtKey::private_pem(algorithm, private).unwrap()));
        let verifying =
            issuers(JwtIssuer::unnamed().key(JwtKey::public_pem(algorithm, public).unwrap()));
        let token = signing.sign(&new_claims("id")).unwrap();
        for issuers in [&signing, &verifying] {
            assert_eq!(
                issuers.verify(token.expose(), NOW).unwrap().token_id.as_deref(),
                Some("id"),
                "{algorithm:?}"
            );
        }
        let mut forged = token.expose().to_owned();
        forged.replace_range(forged.len() - 20..forged.len() - 16, "AAAA");
        assert_eq!(verifying.verify(&forged, NOW).unwrap_err(), DenialReason::SignatureInvalid);
        assert!(verifying.sign(&new_claims("id")).is_err(), "a public key signs nothing");
    }
}

#[test]
fn keys_of_the_wrong_kind_or_size_are_refused_when_they_are_loaded() {
    let wrong: [(Algorithm, &[u8]); 8] = [
        (Algorithm::Rs256, pem!("rsa-1024.private")),
        (Algorithm::Rs256, pem!("p256.private")),
        (Algorithm::Es256, pem!("p384.private")),
        (Algorithm::Es384, pem!("p256.private")),
        (Algorithm::EdDsa, pem!("p256.private")),
        (Algorithm::Hs256, pem!("rsa.private")),
        (Algorithm::Rs256, pem!("rsa.public")),
        (Algorithm::Rs256, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
    ];
    for (algorithm, pem) in wrong {
        assert!(JwtKey::private_pem(algorithm, pem).is_err(), "{algorithm:?}");
    }
    let wrong: [(Algorithm, &[u8]); 4] = [
        (Algorithm::Rs256, pem!("rsa.private")),
        (Algorithm::Es256, pem!("p384.public")),
        (Algorithm::EdDsa, pem!("rsa.public")),
        (Algorithm::Hs256, pem!("rsa.public")),
    ];
    for (algorithm, pem) in wrong {
        assert!(JwtKey::public_pem(algorithm, pem).is_err(), "{algorithm:?}");
    }
    let two = [&pem!("rsa.public")[..], &pem!("rsa.public")[..]].concat();
    assert_eq!(JwtKey::public_pem(Algorithm::Rs256, &two).unwrap_err().field(), Some("key"));
    for (algorithm, length) in
        [(Algorithm::Hs256, 31), (Algorithm::Hs384, 47), (Algorithm::Hs512, 63)]
    {
        assert!(JwtKey::hmac(algorithm, &vec![1; length]).is_err());
        assert!(JwtKey::hmac(algorithm, &vec![1; length + 1]).is_ok());
    }
    assert!(JwtKey::hmac(Algorithm::Es256, &[1; 64]).is_err());
}

#[test]
fn keys_load_from_der_as_from_pem() {
    let private = JwtKey::private_der(Algorithm::Es256, &der_of(pem!("p256.private"))).unwrap();
    let public = JwtKey::public_der(Algorithm::Es256, &der_of(pem!("p256.public"))).unwrap();
    assert!(public.verifies(b"message", &private.sign(b"message").unwrap()));
}

#[test]
fn the_key_fixes_the_algorithm() {
    let rsa = pem!("rsa.public");
    let verifying =
        issuers(JwtIssuer::unnamed().key(JwtKey::public_pem(Algorithm::Rs256, rsa).unwrap()));
    let payload = json!({ "jti": "id" }).to_string();
    for secret in [rsa.to_vec(), rsa.trim_ascii().to_vec(), der_of(rsa), der_of(rsa)[24..].to_vec()]
    {
        let token = signed_with(&secret, r#"{"alg":"HS256"}"#, &payload);
        assert_eq!(verifying.verify(&token, NOW).unwrap_err(), DenialReason::UnknownKey);
        let token = signed_with(&secret, r#"{"alg":"RS256"}"#, &payload);
        assert_eq!(verifying.verify(&token, NOW).unwrap_err(), DenialReason::SignatureInvalid);
    }
    for alg in ["none", "None", "NONE", "nOnE", "RS257", "rs256", ""] {
        let header = base64url::encode(json!({ "alg": alg }).to_string().as_bytes());
        let token = format!("{header}.{}.", base64url::encode(payload.as_bytes()));
        assert_eq!(verifying.verify(&token, NOW).unwrap_err(), DenialReason::UnknownKey, "{alg}");
    }
    let pss = JwtKey::private_pem(Algorithm::Ps256, pem!("rsa.private")).unwrap();
    let token = signed(&pss, r#"{"alg":"RS256"}"#, &payload);
    assert_eq!(verifying.verify(&token, NOW).unwrap_err(), DenialReason::SignatureInvalid);
}

#[test]
fn a_named_key_is_used_for_tokens_that_name_it() {
    let other = JwtKey::hmac(Algorithm::Hs256, &[8; 32]).unwrap();
    let two = issuers(JwtIssuer::unnamed().key(hmac().kid("a")).key(other.clone().kid("b")));
    let payload = json!({ "jti": "id" }).to_string();
    let verdict = |key: &JwtKey, kid: Value| {
        let header = json!({ "alg": "HS256", "kid": kid }).to_string();
        two.verify(&signed(key, &header, &payload), NOW).map(|jwt| jwt.token_id.unwrap())
    };
    assert_eq!(verdict(&other, json!("b")), Ok("id".to_owned()));
    assert_eq!(verdict(&other, json!("a")), Err(DenialReason::SignatureInvalid));
    assert_eq!(verdict(&other, json!("c")), Err(DenialReason::UnknownKey));
    assert_eq!(verdict(&other, json!(1)), Err(DenialReason::Malformed));
    let unnamed = signed(&other, r#"{"alg":"HS256"}"#, &payload);
    assert!(two.verify(&unnamed, NOW).is_ok(), "a token that names no key is tried with all");
}

#[test]
fn a_key_of_one_issuer_never_validates_a_token_of_another() {
    let theirs = JwtKey::hmac(Algorithm::Hs256, &[8; 32]).unwrap();
    let both = Issuers::new(vec![
        JwtIssuer::named("ours").key(hmac()),
        JwtIssuer::named("theirs").key(theirs.clone()),
    ])
    .unwrap();
    let verdict = |key: &JwtKey, claims: Value| {
        both.verify(&signed(key, r#"{"alg":"HS256"}"#, &claims.to_string()), NOW)
            .map(|jwt| jwt.issuer)
    };
    assert_eq!(verdict(&theirs, json!({"iss": "theirs", "jti": "1"})), Ok("theirs".to_owned()));
    let forged = verdict(&theirs, json!({"iss": "ours", "jti": "1"}));
    assert_eq!(forged, Err(DenialReason::SignatureInvalid));
    for iss in [json!("nobody"), json!(["ours"]), json!(null), json!("ours ")] {
        let verdict = verdict(&hmac(), json!({ "iss": iss, "jti": "1" }));
        assert_eq!(verdict, Err(DenialReason::WrongIssuer));
    }
}

#[test]
fn what_is_not_a_compact_jws_of_json_objects_is_malformed() {
    let good = signed_hs256(&json!({ "jti": "id" }));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let issuers = issuers(plain());
    let mut wrong: Vec<String> =
        ["", ".", "..", "...", "a.b.c", "e30.e30.e30.e30"].into_iter().map(str::to_owned).collect();
    wrong.push(format!("{good}."));
    wrong.push(format!("{good}="));
    wrong.push(format!("{good}\n"));
    wrong.push(message.to_owned());
    for (header, payload) in [
        (r#"{"alg":"HS256","alg":"HS256"}"#, r#"{"jti":"id"}"#),
        (r#"{"alg":"HS256","crit":["exp"]}"#, r#"{"jti":"id"}"#),
        (r#"{"alg":"HS256","b64":false}"#, r#"{"jti":"id"}"#),
        (r#"{"alg":256}"#, r#"{"jti":"id"}"#),
        ("{}", r#"{"jti":"id"}"#),
        (r#"["HS256"]"#, r#"{"jti":"id"}"#),
        (r#"{"alg":"HS256"}"#, r#"{"jti":"id","jti":"other"}"#),
        (r#"{"alg":"HS256"}"#, r#""id""#),
        (r#"{"alg":"HS256"}"#, r#"{"jti":"id","exp":1e400}"#),
        (r#"{"alg":"HS256"}"#, ""),
    ] {
        wrong.push(signed(&hmac(), header, payload));
    }
    for wrong in wrong {
        assert_eq!(issuers.verify(&wrong, NOW).unwrap_err(), DenialReason::Malformed, "{wrong}");
    }
    assert_eq!(
        issuers.verify(&format!("{message}."), NOW).unwrap_err(),
        DenialReason::SignatureInvalid
    );
    assert!(issuers.verify(&format!("{message}.{signature}"), NOW).is_ok());
}

#[test]
fn dates_are_read_as_they_are() {
    let exp = |exp: Value| terms_of(plain(), &json!({ "jti": "id", "exp": exp })).expires_at;
    let leeway = JwtIssuer::DEFAULT_LEEWAY;
    let at = |micros: i64| Some(Timestamp::from_micros(micros).saturating_add(leeway));
    assert_eq!(exp(json!(1_000)), at(1_000_000_000));
    assert_eq!(exp(json!(1_000.5)), at(1_000_500_000));
    assert_eq!(exp(json!(-1)), at(-1_000_000));
    assert_eq!(exp(json!(1e300)), at(i64::MAX));
    assert_eq!(exp(json!(-1e300)), at(i64::MIN));
    assert_eq!(exp(json!(u64::MAX)), at(i64::MAX));
    assert_eq!(exp(json!(i64::MIN)), at(i64::MIN));
}

#[test]
fn claims_of_the_wrong_type_are_refused_as_such() {
    for (name, value) in [
        ("exp", json!("1000")),
        ("exp", json!(null)),
        ("nbf", json!(true)),
        ("iat", json!([1])),
        ("sub", json!(1)),
        ("iss", json!(["a"])),
        ("aud", json!(1)),
        ("aud", json!(["a", 1])),
    ] {
        let terms = terms_of(plain(), &json!({ "jti": "id", name: value }));
        assert_eq!(terms.failure, Some(DenialReason::MalformedClaim), "{name} {value}");
    }
    let no_id = issuers(plain()).verify(&signed_hs256(&json!({ "jti": 5 })), NOW);
    assert_eq!(no_id.unwrap().token_id, None);
}

#[test]
fn one_audience_of_several_is_enough_and_none_is_not() {
    let failure =
        |claims: Value| terms_of(plain().audience("api").audience("web"), &claims).failure;
    assert_eq!(failure(json!({ "jti": "id", "aud": "web" })), None);
    assert_eq!(failure(json!({ "jti": "id", "aud": ["x", "api"] })), None);
    assert_eq!(failure(json!({ "jti": "id", "aud": "API" })), Some(DenialReason::WrongAudience));
    assert_eq!(failure(json!({ "jti": "id", "aud": [] })), Some(DenialReason::MissingClaim));
    assert_eq!(failure(json!({ "jti": "id" })), Some(DenialReason::MissingClaim));
}

#[test]
fn a_required_type_is_compared_as_a_media_type() {
    let issuers = issuers(plain().require_type("at+jwt"));
    let failure = |header: &str| {
        issuers.verify(&signed(&hmac(), header, r#"{"jti":"id"}"#), NOW).unwrap().terms.failure
    };
    assert_eq!(failure(r#"{"alg":"HS256","typ":"at+jwt"}"#), None);
    assert_eq!(failure(r#"{"alg":"HS256","typ":"application/AT+JWT"}"#), None);
    assert_eq!(failure(r#"{"alg":"HS256","typ":"JWT"}"#), Some(DenialReason::WrongType));
    assert_eq!(failure(r#"{"alg":"HS256"}"#), Some(DenialReason::WrongType));
}

#[test]
fn the_mark_is_found_where_it_is_configured_to_be() {
    let marked = |issuer: JwtIssuer, claims: Value| terms_of(issuer, &claims).marked;
    assert!(marked(plain(), json!({ "jti": "id", "token_use": "api" })));
    assert!(marked(plain(), json!({ "jti": "id", "user": { "auth_provider": "api_token" } })));
    assert!(!marked(plain(), json!({ "jti": "id", "token_use": "access" })));
    assert!(!marked(plain(), json!({ "jti": "id", "user": "api_token" })));
    let custom = plain().marks([ApiTokenMark::new(["x", "y", "kind"], "machine")]);
    assert!(marked(custom.clone(), json!({ "jti": "id", "x": { "y": { "kind": "machine" } } })));
    assert!(!marked(custom.clone(), json!({ "jti": "id", "token_use": "api" })));
    let issuers = issuers(custom);
    let token = issuers.sign(&new_claims("id")).unwrap();
    assert!(issuers.verify(token.expose(), NOW).unwrap().terms.marked, "issued with its own mark");
}

#[test]
fn issuers_that_cannot_be_told_apart_are_refused() {
    let error = |list: Vec<JwtIssuer>| Issuers::new(list).unwrap_err().field();
    let named = |name: &str| JwtIssuer::named(name).key(hmac());
    assert_eq!(error(vec![named("a"), named("a")]), Some("jwt_issuer"));
    assert_eq!(error(vec![named("a"), plain()]), Some("jwt_issuer"));
    assert_eq!(error(vec![JwtIssuer::named("a")]), Some("keys"));
    assert_eq!(error(vec![plain().leeway(std::time::Duration::from_secs(301))]), Some("leeway"));
    let twice = plain().key(hmac().kid("x")).key(hmac().kid("x"));
    assert_eq!(error(vec![twice]), Some("kid"));
}

#[test]
fn der_of_any_depth_is_refused_and_not_followed() {
    let mut der = vec![0x05, 0x00];
    for _ in 0..2_000 {
        let length = der.len();
        der.splice(0..0, [0x30, 0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8]);
    }
    assert!(JwtKey::public_der(Algorithm::Es256, &der).is_err());
    assert!(JwtKey::private_der(Algorithm::Rs256, &der).is_err());
}

#[test]
fn elliptic_keys_of_another_curve_and_points_of_small_order_are_refused() {
    let spki = |prefix: &[u8], point: &[u8]| [prefix, point].concat();
    // secp256k1: the lengths of P-256 do not make it one.
    let prefix = [
        0x30, 0x56, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
        0x2b, 0x81, 0x04, 0x00, 0x0a, 0x03, 0x42, 0x00, 0x04,
    ];
    assert!(JwtKey::public_der(Algorithm::Es256, &spki(&prefix, &[0x11; 64])).is_err());
    let identity =
        r#"{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
    assert!(JwtKey::from_jwk(identity, &[Algorithm::EdDsa]).is_err());
}

#[test]
fn public_key_is_not_taken_for_a_secret() {
    assert!(JwtKey::hmac(Algorithm::Hs256, pem!("rsa.public")).is_err());
}

#[test]
fn jwk_is_for_what_it_says_alone() {
    let all = [
        Algorithm::Hs256,
        Algorithm::Hs512,
        Algorithm::Rs256,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];
    let k = base64url::encode(&[9; 32]);
    let oct =
        |members: &str| JwtKey::from_jwk(&format!(r#"{{"kty":"oct","k":"{k}"{members}}}"#), &all);
    let key = oct(r#","alg":"HS256","kid":"a","use":"sig","key_ops":["verify"]"#).unwrap();
    assert_eq!(
        (key.algorithm(), key.kid_str(), key.can_sign()),
        (Algorithm::Hs256, Some("a"), false)
    );
    assert!(oct(r#","alg":"HS256","key_ops":["sign","verify"]"#).unwrap().can_sign());
    for wrong in [
        "",
        r#","alg":"HS512""#,
        r#","alg":"RS256""#,
        r#","alg":"none""#,
        r#","alg":"HS256","use":"enc""#,
        r#","alg":"HS256","key_ops":["sign"]"#,
        r#","alg":"HS256","key_ops":["verify","verify"]"#,
        r#","alg":"HS256","key_ops":"verify""#,
        r#","alg":"HS256","kid":1"#,
        r#","alg":"HS256","alg":"HS256""#,
    ] {
        assert!(oct(wrong).is_err(), "{wrong}");
    }
    let alone = format!(r#"{{"kty":"oct","k":"{k}"}}"#);
    assert!(JwtKey::from_jwk(&alone, &[Algorithm::Hs256, Algorithm::Rs256]).is_ok(), "one fits");
    let half = r#"{"kty":"EC","crv":"P-256","alg":"ES256","x":"AAAA","y":"AAAA"}"#;
    assert!(JwtKey::from_jwk(half, &all).is_err());
}

#[test]
fn keys_in_or_behind_a_header_are_never_looked_at() {
    let attacker = JwtKey::hmac(Algorithm::Hs256, &[66; 32]).unwrap();
    let issuers = issuers(plain());
    let jwk = json!({ "kty": "oct", "alg": "HS256", "k": base64url::encode(&[66; 32]) });
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://attacker.example/keys")),
        ("x5u", json!("https://attacker.example/chain")),
        ("x5c", json!(["MIIB"])),
        ("kid", json!("../../../dev/null")),
    ] {
        let header = json!({ "alg": "HS256", name: value }).to_string();
        let token = signed(&attacker, &header, r#"{"jti":"id"}"#);
        assert_eq!(issuers.verify(&token, NOW).unwrap_err(), DenialReason::SignatureInvalid);
        let ours = signed(&hmac(), &header, r#"{"jti":"id"}"#);
        assert!(issuers.verify(&ours, NOW).is_ok(), "{name} is no reason to refuse either");
    }
}

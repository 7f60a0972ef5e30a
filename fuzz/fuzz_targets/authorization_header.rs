//! Any list of `Authorization` fields: accepted only where a reading by the RFCs finds the one good token,
//! else refused for the reason that it gives, with a challenge that parses. A difference is a second
//! credential that slips through, or a header that a client can write into.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use token_tracker::{AuthError, AuthRequest, DenialReason};
use token_tracker_fuzz::bench::{Answer, Bench, SECRET, START};
use token_tracker_fuzz::keys::KeyName;
use token_tracker_fuzz::{bearer, challenge, render};

/// A tracker that knows the good token and has no other use.
static BENCH: LazyLock<Bench> = LazyLock::new(|| Bench::new(SECRET));

static GOOD: LazyLock<String> =
    LazyLock::new(|| render::signed(KeyName::Hs256, br#"{"alg":"HS256"}"#, br#"{"jti":"jti-1"}"#));

/// Begins a field; not a byte that any token or text has.
const FIELD: u8 = 0xff;

/// Stands for the good token, which no mutation would keep whole.
const GOOD_TOKEN: u8 = 0x01;

// A scope that is asked for, empty for none, then the fields.
fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == FIELD);
    let scope = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let fields: Vec<Vec<u8>> = parts.map(field).collect();
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    let request = AuthRequest::from_authorization(fields.iter().copied());
    let answer = Answer::of(BENCH.tracker.authenticate(request.clone()));
    assert_eq!(answer, expected(&fields), "{:?}", shown(&fields));
    check_challenge(request.clone());
    if !scope.is_empty() {
        check_challenge(request.scope(scope.as_str()));
    }
});

fn field(bytes: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = bytes.split(|byte| *byte == GOOD_TOKEN).collect();
    parts.join(GOOD.as_bytes())
}

fn shown(fields: &[&[u8]]) -> Vec<String> {
    fields.iter().map(|field| field.escape_ascii().to_string()).collect()
}

/// What the fields are to be answered with: a token that they hold, like that token alone.
fn expected(fields: &[&[u8]]) -> Answer {
    match bearer::token(fields) {
        Ok(token) if token == *GOOD => Answer::Accepted("jti-1".to_owned()),
        Ok(token) => BENCH.compare(token, START),
        Err(reason) => Answer::Denied(reason),
    }
}

/// A scope is shown in the challenge only where it is what the token lacks (RFC 6750 §3.1).
fn check_challenge(request: AuthRequest<'_>) {
    let Err(AuthError::Denied(denied)) = BENCH.tracker.authenticate(request) else { return };
    let text = denied.www_authenticate();
    challenge::check(&text);
    let shows_scope = text.contains("scope=\"");
    assert!(!shows_scope || denied.reason() == DenialReason::MissingScope, "{text}");
}

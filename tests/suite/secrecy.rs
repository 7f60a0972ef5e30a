//! No secret in the file, beside it, or in anything that can be printed.

use token_tracker::{Algorithm, AuthRequest, JwtKey, TokenTracker, Usage};

use crate::support::{Database, access, denied, jwt, opaque};

const KEY: &[u8; 32] = b"a-signing-secret-easy-to-search.";

#[test]
fn secrets_are_neither_stored_nor_shown() {
    let database = Database::new();
    let key = JwtKey::hmac(Algorithm::Hs256, KEY).unwrap();
    let shown_key = format!("{key:?}");
    let builder = TokenTracker::builder().jwt_key(key);
    let shown_builder = format!("{builder:?}");
    let tracker = builder.open(database.path()).unwrap();
    let tokens = [jwt(&tracker, "jwt"), opaque(&tracker, "opaque")];
    let mut shown = vec![shown_key, shown_builder];
    for issued in &tokens {
        let access = access(&tracker, issued);
        shown.push(format!("{issued:?} {access:?} {:?}", AuthRequest::from(&issued.secret)));
        tracker.record(Usage::of(access).route("GET", "/").status(200));
        let denied = denied(&tracker, AuthRequest::from(&issued.secret).scope("admin"));
        shown.push(format!("{denied:?} {denied} {}", denied.www_authenticate()));
        let forged = format!("{}x", issued.secret.expose());
        shown.push(format!("{:?}", tracker.authenticate(&forged)));
    }
    tracker.flush().unwrap();
    shown.push(format!("{tracker:?}"));
    let mut bytes = shown.concat().into_bytes();
    for file in std::fs::read_dir(database.directory()).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(contains(b"alice@example.com"), "the search finds what is there");
    assert!(!contains(KEY));
    for issued in &tokens {
        let token = issued.secret.expose();
        assert!(!contains(token.as_bytes()));
        let half = &token[token.len() / 2..];
        assert!(!contains(half.as_bytes()), "not even half of it");
    }
}

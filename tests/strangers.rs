//! A flood of strangers leaves memory and disk as they were. In a process of its own, so that what it measures
//! is its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use token_tracker::{Algorithm, Builder, JwtKey, NewToken, Secret, TokenTracker};

fn builder() -> Builder {
    TokenTracker::builder().jwt_key(JwtKey::hmac(Algorithm::Hs256, &[7; 32]).unwrap())
}

fn issue(tracker: &TokenTracker) -> Secret {
    tracker.tokens().issue(NewToken::jwt("alice", "nightly")).unwrap().secret
}

/// A million in a release build, where it takes seconds.
const STRANGERS: usize = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };

/// The resident memory of this process, in KiB.
#[cfg(target_os = "linux")]
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn forged_tokens_unknown_keys_and_unknown_ids_leave_memory_and_file_flat() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let tracker = builder().open(&path).unwrap();
    let known = issue(&tracker);
    let unknown = issue(&builder().in_memory().unwrap());
    let (message, signature) = known.expose().rsplit_once('.').unwrap();
    let (_, payload) = message.split_once('.').unwrap();
    let stranger = |number: usize| match number % 3 {
        0 => format!("{message}.{number:0>43}"),
        1 => {
            let header = format!(r#"{{"alg":"HS512","kid":"{number}"}}"#);
            let header =
                base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, header);
            format!("{header}.{payload}.{signature}")
        }
        _ => unknown.expose().to_owned(),
    };
    let meet = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            assert!(tracker.authenticate(stranger(number)).is_err());
        }
    };
    meet(0..1_000);
    tracker.flush().unwrap();
    let size = || std::fs::metadata(&path).unwrap().len();
    let before = (resident(), size());
    meet(1_000..STRANGERS);
    tracker.flush().unwrap();
    let grown = resident() - before.0;
    assert!(grown < 8 << 10, "{grown} KiB more");
    assert_eq!(size(), before.1);
    assert_eq!(tracker.health().strangers, STRANGERS as u64);
    assert_eq!(tracker.health().cached_tokens, 0);
}

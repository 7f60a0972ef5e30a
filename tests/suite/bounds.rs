//! Strangers cost nothing that lasts: no memory, no disk, no rows.

use token_tracker::{AuthRequest, DenialReason, NewToken};

use crate::support::{Database, builder, denied, in_memory, jwt, opaque};

#[test]
fn strangers_leave_cache_and_file_as_they_were() {
    let database = Database::new();
    let tracker = database.open();
    let issued = opaque(&tracker, "laptop");
    let elsewhere = in_memory().0;
    let (unknown_jwt, unknown_opaque) = (jwt(&elsewhere, "jwt"), opaque(&elsewhere, "opaque"));
    let known = issued.secret.expose();
    tracker.flush().unwrap();
    let size = || std::fs::metadata(database.path()).unwrap().len();
    let before = (size(), database.number("SELECT total_changes()"));
    for number in 0..5_000 {
        let forged = format!("{known}{number}");
        assert_eq!(denied(&tracker, &forged).reason(), DenialReason::Malformed);
        let unknown = if number % 2 == 0 { &unknown_jwt } else { &unknown_opaque };
        assert_eq!(denied(&tracker, &unknown.secret).reason(), DenialReason::UnknownToken);
    }
    tracker.flush().unwrap();
    let health = tracker.health();
    assert_eq!((health.strangers, health.cached_tokens, health.accepted), (10_000, 0, 0));
    assert_eq!((size(), database.number("SELECT total_changes()")), before);
    assert_eq!(database.number("SELECT count(*) FROM usage_log"), 0);
}

#[test]
fn cache_holds_no_more_than_it_may() {
    let (builder, _clock) = builder();
    let tracker = builder.cache_capacity(64).in_memory().unwrap();
    for number in 0..500 {
        let issued = opaque(&tracker, &format!("token {number}"));
        assert!(tracker.authenticate(&issued.secret).is_ok());
    }
    assert!(tracker.health().cached_tokens <= 64);
}

#[test]
fn megabytes_of_everything_are_taken_calmly() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let huge = "x".repeat(1 << 20);
    let request = AuthRequest::from(&issued.secret)
        .method(huge.as_str())
        .route(huge.as_str())
        .path(huge.as_str())
        .query(Some(&huge))
        .scope(huge.as_str())
        .user_agent(&huge);
    drop(denied(&tracker, request));
    tracker.flush().unwrap();
    let record = tracker.stats().all().recent(1).unwrap().remove(0);
    assert_eq!((record.route.len(), record.method.as_str()), (256, "<other>"));
    let new = NewToken::opaque(huge.as_str(), "x");
    assert_eq!(tracker.tokens().issue(new).unwrap_err().field(), Some("owner"));
}

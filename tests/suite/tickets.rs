//! "Last used: never, usage: 0" comes from a path that bypasses the recording. Every way a request can end
//! leaves exactly one record.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use token_tracker::{
    Access, AuthRequest, DenialReason, NewToken, Outcome, PathFilter, TokenTracker, Usage,
};

use crate::support::{
    OWNER, accepted, access, assert_balanced, builder, denied, in_memory, jwt, opaque, records,
};

/// What one request leaves behind.
fn ended(end: impl FnOnce(&TokenTracker, Access)) -> (u16, Outcome, u64) {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let request = AuthRequest::from(&issued.secret).method("GET").route("/items/{id}");
    end(&tracker, tracker.authenticate(request).unwrap());
    let records = records(&tracker, issued.token.id);
    assert_eq!(records.len(), 1, "recorded exactly once: {records:?}");
    assert_eq!((records[0].method.as_str(), records[0].route.as_str()), ("GET", "/items/{id}"));
    (records[0].status, records[0].outcome, records[0].response_bytes)
}

#[test]
fn whatever_ends_a_request_it_is_recorded_once() {
    let status = |status: u16| {
        move |tracker: &TokenTracker, access: Access| {
            tracker.record(Usage::of(access).status(status));
        }
    };
    assert_eq!(ended(status(200)), (200, Outcome::Success, 0));
    assert_eq!(ended(status(400)), (400, Outcome::ClientError, 0));
    assert_eq!(ended(status(404)), (404, Outcome::ClientError, 0));
    assert_eq!(ended(status(503)), (503, Outcome::ServerError, 0));
    assert_eq!(ended(status(0)), (100, Outcome::Success, 0), "kept within 100 to 999");
    let without_status = |tracker: &TokenTracker, access| drop(tracker.record(Usage::of(access)));
    assert_eq!(ended(without_status), (499, Outcome::Unfinished, 0));
    assert_eq!(ended(|_, access| drop(access)), (499, Outcome::Unfinished, 0));
    assert_eq!(ended(|_, access| drop(Usage::of(access))), (499, Outcome::Unfinished, 0));
}

#[test]
fn streamed_response_settles_as_soon_as_nothing_more_can_come() {
    let end_seen = ended(|_, mut access| {
        access.begin(200, None);
        access.sent(3);
        access.sent(4);
        access.finish();
    });
    assert_eq!(end_seen, (200, Outcome::Success, 7));
    let length_reached = ended(|_, mut access| {
        access.begin(200, Some(7));
        access.sent(7);
        assert!(access.is_settled());
    });
    assert_eq!(length_reached, (200, Outcome::Success, 7));
    let left_half_way = ended(|_, mut access| {
        access.begin(200, Some(7));
        access.sent(6);
    });
    assert_eq!(left_half_way, (200, Outcome::Unfinished, 6));
    let failed = ended(|_, mut access| {
        access.begin(200, None);
        access.sent(3);
        access.fail();
    });
    assert_eq!(failed, (200, Outcome::ServerError, 3));
    let cut_short = ended(|_, mut access| {
        access.begin(200, Some(7));
        access.sent(6);
        access.finish();
    });
    assert_eq!(cut_short, (200, Outcome::ServerError, 6));
    let informed_first = ended(|_, mut access| {
        access.begin(103, None);
        access.begin(200, None);
        access.finish();
    });
    assert_eq!(informed_first, (200, Outcome::Success, 0));
    assert_eq!(ended(|_, mut access| access.begin(101, None)), (101, Outcome::Success, 0));
    assert_eq!(ended(|_, mut access| access.fail()), (500, Outcome::ServerError, 0));
    for (status, outcome) in
        [(204, Outcome::Success), (304, Outcome::Success), (500, Outcome::ServerError)]
    {
        let bodiless = ended(|_, mut access| access.begin(status, (status == 500).then_some(0)));
        assert_eq!(bodiless, (status, outcome, 0));
    }
}

#[test]
fn answer_to_a_head_request_is_complete_at_its_head() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let request = AuthRequest::from(&issued.secret).method("HEAD");
    tracker.authenticate(request).unwrap().begin(200, Some(5_000));
    let records = records(&tracker, issued.token.id);
    assert_eq!((records[0].outcome, records[0].response_bytes), (Outcome::Success, 0));
}

#[test]
fn settling_twice_is_once() {
    let twice = ended(|_, mut access| {
        access.begin(200, None);
        access.finish();
        access.fail();
        access.finish();
        access.sent(10);
    });
    assert_eq!(twice, (200, Outcome::Success, 0));
    let settled_then_recorded = ended(|tracker, mut access| {
        access.begin(204, None);
        assert!(tracker.record(Usage::of(access).status(500)).is_accepted());
    });
    assert_eq!(settled_then_recorded, (204, Outcome::Success, 0));
}

#[test]
fn panic_is_recorded_as_a_server_error() {
    let panicked = ended(|_, access| {
        let handler = AssertUnwindSafe(move || {
            let _access = access;
            std::panic::resume_unwind(Box::new("handler"));
        });
        assert!(std::panic::catch_unwind(handler).is_err());
    });
    assert_eq!(panicked, (500, Outcome::ServerError, 0));
}

#[test]
fn dropped_denial_is_recorded_with_its_reason_and_suggested_status() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let request = || AuthRequest::from(&issued.secret).scope("admin").method("GET").route("/admin");
    drop(denied(&tracker, request()));
    tracker.record(Usage::of(denied(&tracker, request())).status(404).route("DELETE", "/hidden"));
    let records = records(&tracker, issued.token.id);
    let shown: Vec<_> = records
        .iter()
        .map(|record| {
            (record.status, record.outcome, record.method.as_str(), record.route.as_str())
        })
        .collect();
    let reason = Outcome::Denied(DenialReason::MissingScope);
    assert_eq!(shown, [(404, reason, "DELETE", "/hidden"), (403, reason, "GET", "/admin")]);
}

#[test]
fn every_kind_of_credential_is_tracked_alike() {
    let (tracker, _clock) = in_memory();
    let legacy = tracker.tokens().issue(NewToken::legacy_jwt(OWNER, "legacy")).unwrap();
    for issued in [jwt(&tracker, "jwt"), opaque(&tracker, "opaque"), legacy] {
        let access = access(&tracker, &issued);
        assert_eq!(access.identity().kind(), issued.token.kind);
        tracker.record(Usage::of(access).status(400));
        assert_eq!(records(&tracker, issued.token.id).len(), 1);
        let token = tracker.tokens().get(issued.token.id).unwrap();
        assert!(token.last_used.at().is_some(), "a request that ends in 400 is a use");
    }
}

#[test]
fn duration_runs_on_the_monotonic_clock_to_the_settlement() {
    let (tracker, clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let mut access = access(&tracker, &issued);
    access.begin(200, None);
    clock.advance(Duration::from_micros(2_500));
    clock.set_wall(token_tracker::Clock::now(&clock) - Duration::from_secs(3_600));
    access.finish();
    assert_eq!(records(&tracker, issued.token.id)[0].duration, Duration::from_micros(2_500));
}

#[test]
fn path_filter_suppresses_the_record_and_counts_it_but_not_the_authentication() {
    let (builder, _clock) = builder();
    let tracker = builder.path_filter(PathFilter::none().prefix("/quiet")).in_memory().unwrap();
    let issued = opaque(&tracker, "laptop");
    let request = |path| AuthRequest::from(&issued.secret).path(path);
    drop(tracker.authenticate(request("/quiet/place")).unwrap());
    drop(tracker.authenticate(request("/quietly")).unwrap());
    assert!(tracker.authenticate(AuthRequest::new("forged").path("/quiet")).is_err());
    assert_eq!(records(&tracker, issued.token.id).len(), 1);
    assert_eq!((tracker.health().filtered, tracker.health().accepted), (1, 1));
    tracker.tokens().revoke(issued.token.id, "").unwrap();
    assert_eq!(denied(&tracker, request("/quiet/place")).reason(), DenialReason::Revoked);
}

#[test]
fn switched_off_recording_leaves_inert_tickets_and_last_use_goes_on() {
    let (builder, _clock) = builder();
    let tracker = builder.without_usage_recording().in_memory().unwrap();
    let issued = opaque(&tracker, "laptop");
    let access = access(&tracker, &issued);
    assert!(access.is_settled());
    assert!(tracker.record(Usage::of(access).status(200)).wait().is_ok());
    assert_eq!(records(&tracker, issued.token.id), []);
    assert_eq!(tracker.health().accepted, 0);
    assert!(tracker.tokens().get(issued.token.id).unwrap().last_used.at().is_some());
}

#[test]
fn settlement_after_the_end_is_a_counted_drop() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let (late, later) = (access(&tracker, &issued), access(&tracker, &issued));
    tracker.close().unwrap();
    assert!(!tracker.record(Usage::of(late).status(200)).is_accepted());
    assert_eq!((tracker.health().accepted, tracker.health().dropped), (1, 1));
    assert_balanced(&tracker);
    drop(tracker);
    drop(later);
}

#[test]
fn long_texts_are_cut_at_a_character_and_recorded() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let long = "é".repeat(500_000);
    let request = AuthRequest::from(&issued.secret)
        .method(long.as_str())
        .route(long.as_str())
        .user_agent(&long);
    drop(tracker.authenticate(request).unwrap());
    let broken = AuthRequest::from(&issued.secret).user_agent(b"agent \xff\xfe\0 1.0");
    drop(tracker.authenticate(broken).unwrap());
    let records = records(&tracker, issued.token.id);
    assert_eq!(records[1].route, "é".repeat(128));
    assert_eq!(records[1].method, "<other>");
    assert_eq!(records[1].user_agent.as_deref(), Some("é".repeat(128).as_str()));
    assert_eq!(records[0].user_agent.as_deref(), Some("agent \u{fffd}\u{fffd}\0 1.0"));
    assert!(accepted(&tracker, &issued));
}

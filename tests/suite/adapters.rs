//! What two adapters would both need is here, so that none of them gets it wrong on its own: which header fields are
//! read, what a response's head and trailers say of its end, and what a refused client is told.

use std::net::IpAddr;

use token_tracker::{
    Access, Answer, AuthError, AuthRequest, DenialReason, NewToken, Outcome, Quota, TokenTracker,
};

use crate::support::{denied, in_memory, opaque, records};

fn bearer(secret: &token_tracker::Secret) -> String {
    format!("Bearer {}", secret.expose())
}

#[test]
fn credential_and_agent_are_found_among_header_fields_of_any_case_and_order() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let bearer = bearer(&issued.secret);
    for fields in [
        [("AUTHORIZATION", bearer.as_str()), ("User-Agent", "curl/8.5"), ("user-agent", "other")],
        [("user-agent", "curl/8.5"), ("x-authorization", "Bearer x"), ("authorization", &bearer)],
        [("accept", "*/*"), ("USER-AGENT", "curl/8.5"), ("Authorization", &bearer)],
    ] {
        let request = AuthRequest::from_headers(fields).method("GET").route("/items/{id}");
        drop(tracker.authenticate(request).unwrap());
    }
    let records = records(&tracker, issued.token.id);
    let agents: Vec<_> = records.iter().map(|record| record.user_agent.as_deref()).collect();
    assert_eq!(agents, [Some("curl/8.5"); 3]);
}

#[test]
fn every_credential_field_counts_wherever_it_stands() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let bearer = bearer(&issued.secret);
    let reason = |fields: &[(&'static str, &str)]| {
        let fields = fields.iter().copied();
        denied(&tracker, AuthRequest::from_headers(fields)).reason()
    };
    let field = ("authorization", bearer.as_str());
    assert_eq!(reason(&[("accept", "*/*")]), DenialReason::CredentialMissing);
    assert_eq!(reason(&[field, ("accept", "*/*"), field]), DenialReason::CredentialRepeated);
    let basic = ("Authorization", "Basic YTpi");
    assert_eq!(reason(&[basic, field, field]), DenialReason::CredentialRepeated);
    assert_eq!(reason(&[basic]), DenialReason::CredentialMissing);
    assert_eq!(records(&tracker, issued.token.id), []);
}

#[test]
fn nothing_said_of_route_address_and_scope_is_nothing_known() {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    let request =
        AuthRequest::from(&issued.secret).route(None).client_address(None::<IpAddr>).scope(None);
    drop(tracker.authenticate(request).unwrap());
    let record = records(&tracker, issued.token.id).remove(0);
    assert_eq!((record.route.as_str(), record.client_address), ("<unmatched>", None));
}

/// What a request with this route leaves behind.
fn ended(route: Option<&str>, end: impl FnOnce(Access)) -> (u16, Outcome, u64) {
    let (tracker, _clock) = in_memory();
    let issued = opaque(&tracker, "laptop");
    end(tracker.authenticate(AuthRequest::from(&issued.secret).route(route)).unwrap());
    let records = records(&tracker, issued.token.id);
    assert_eq!(records.len(), 1, "recorded exactly once: {records:?}");
    (records[0].status, records[0].outcome, records[0].response_bytes)
}

const NO_FIELDS: [(&str, &str); 0] = [];

#[test]
fn declared_length_is_read_from_the_head_before_the_body_is_asked() {
    let by_field = ended(Some("/"), |mut access| {
        access.begin_with(200, [("Content-Length", "7")], None);
        access.sent(7);
        assert!(access.is_settled());
    });
    assert_eq!(by_field, (200, Outcome::Success, 7));
    let by_body = ended(Some("/"), |mut access| {
        access.begin_with(200, NO_FIELDS, Some(3));
        access.sent(3);
        assert!(access.is_settled());
    });
    assert_eq!(by_body, (200, Outcome::Success, 3));
    let field_first = ended(Some("/"), |mut access| {
        access.begin_with(200, [("content-length", "7")], Some(3));
        access.sent(3);
        assert!(!access.is_settled());
    });
    assert_eq!(field_first, (200, Outcome::Unfinished, 3));
    let nonsense = ended(Some("/"), |mut access| {
        access.begin_with(200, [("content-length", "seven")], None);
        access.sent(7);
        access.finish();
    });
    assert_eq!(nonsense, (200, Outcome::Success, 7));
}

const GRPC: [(&str, &str); 1] = [("content-type", "application/grpc+proto")];

/// A call that sends five bytes and then these trailers.
fn call(route: Option<&str>, trailers: &'static [(&'static str, &'static str)]) -> (u16, Outcome) {
    let (status, outcome, bytes) = ended(route, |mut access| {
        access.begin_with(200, GRPC, None);
        access.sent(5);
        assert!(!access.is_settled(), "the status comes after the last byte");
        access.trailers(trailers.iter().copied());
        assert!(access.is_settled());
    });
    assert_eq!(bytes, 5);
    (status, outcome)
}

#[test]
fn grpc_call_is_recorded_by_the_status_of_its_trailers() {
    let method = Some("/demo.v1.Demo/Get");
    for (code, status, outcome) in [
        ("0", 200, Outcome::Success),
        ("1", 499, Outcome::ClientError),
        ("2", 500, Outcome::ServerError),
        ("3", 400, Outcome::ClientError),
        ("4", 504, Outcome::ServerError),
        ("5", 404, Outcome::ClientError),
        ("7", 403, Outcome::ClientError),
        ("8", 429, Outcome::ClientError),
        ("12", 501, Outcome::ServerError),
        ("13", 500, Outcome::ServerError),
        ("14", 503, Outcome::ServerError),
        ("16", 401, Outcome::ClientError),
        ("17", 500, Outcome::ServerError),
        ("-1", 500, Outcome::ServerError),
        ("", 500, Outcome::ServerError),
    ] {
        let trailers = [("x-more", "1"), ("Grpc-Status", code)];
        let seen = call(method, Box::leak(Box::new(trailers)));
        assert_eq!(seen, (status, outcome), "grpc-status {code:?}");
    }
    assert_eq!(call(None, &[("grpc-status", "12")]), (404, Outcome::ClientError), "no such method");
}

#[test]
fn grpc_call_that_ends_without_a_status_has_failed() {
    let trailers_without = call(Some("/demo.v1.Demo/Get"), &[("x-more", "1")]);
    assert_eq!(trailers_without, (200, Outcome::ServerError));
    let no_trailers = ended(Some("/demo.v1.Demo/Get"), |mut access| {
        access.begin_with(200, GRPC, Some(0));
        assert!(!access.is_settled(), "trailers may follow a body of nothing");
        access.finish();
    });
    assert_eq!(no_trailers, (200, Outcome::ServerError, 0));
    let left = ended(Some("/demo.v1.Demo/Get"), |mut access| {
        access.begin_with(200, GRPC, None);
        access.sent(5);
    });
    assert_eq!(left, (200, Outcome::Unfinished, 5));
}

#[test]
fn grpc_status_in_the_head_settles_there() {
    for fields in [
        [("grpc-status", "5"), ("content-type", "application/grpc")],
        [("content-type", "application/grpc"), ("grpc-status", "5")],
    ] {
        let head_alone = ended(Some("/demo.v1.Demo/Get"), |mut access| {
            access.begin_with(200, fields, Some(0));
            assert!(access.is_settled());
        });
        assert_eq!(head_alone, (404, Outcome::ClientError, 0));
    }
}

#[test]
fn trailers_of_plain_http_end_the_body_with_the_status_of_its_head() {
    let ended = ended(Some("/stream"), |mut access| {
        access.begin_with(206, [("content-type", "application/grpcx")], None);
        access.sent(5);
        access.trailers([("chunks", "1")]);
    });
    assert_eq!(ended, (206, Outcome::Success, 5));
}

fn refusal<'a>(tracker: &TokenTracker, request: impl Into<AuthRequest<'a>>) -> AuthError {
    tracker.authenticate(request).map(drop).unwrap_err()
}

#[test]
fn answer_to_a_refusal_is_whole() {
    let (tracker, _clock) = in_memory();
    let once = NewToken::opaque("alice@example.com", "once").quota(Quota::new().per_day(1));
    let issued = tracker.tokens().issue(once).unwrap();
    drop(tracker.authenticate(&issued.secret).unwrap());

    let missing = refusal(&tracker, AuthRequest::from_headers(NO_FIELDS)).answer();
    assert_eq!(missing.status, 401);
    assert_eq!(missing.headers, [("www-authenticate", "Bearer".to_owned())]);

    let over = refusal(&tracker, &issued.secret);
    let wait = over.retry_after().unwrap().as_secs().to_string();
    let answer = over.answer();
    assert_eq!(answer.status, 429);
    assert_eq!(answer.headers, [("retry-after", wait.clone())]);

    let grpc = over.answer_to([("Content-Type", "application/grpc")]);
    assert_eq!(grpc.status, 200);
    let expected = [
        ("retry-after", wait.as_str()),
        ("content-type", "application/grpc"),
        ("grpc-status", "8"),
        ("grpc-message", "the token has used up its quota"),
    ];
    assert_eq!(fields(&grpc), expected);
}

fn fields(answer: &Answer) -> Vec<(&str, &str)> {
    answer.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn only_grpc_is_answered_as_grpc() {
    let (tracker, _clock) = in_memory();
    let refusal = refusal(&tracker, "made-up");
    for content_type in ["application/grpc", "application/grpc+proto", "Application/gRPC; a=b"] {
        assert_eq!(refusal.answer_to([("content-type", content_type)]).status, 200);
    }
    for content_type in ["application/grpc-web", "application/json", "", "application/grp"] {
        assert_eq!(refusal.answer_to([("content-type", content_type)]), refusal.answer());
    }
}

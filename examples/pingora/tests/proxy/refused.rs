//! A refused request that reaches the upstream has done its work.

use std::thread;
use std::time::{Duration, Instant};

use token_tracker::{DenialReason, NewToken, Outcome, Quota};

use crate::client::{get, request};
use crate::stage::Stage;
use crate::{CLIENT_ERROR, SUCCESS};

#[test]
fn token_that_is_dead_or_narrowed_is_denied_under_its_id_and_the_upstream_hears_nothing() {
    let stage = Stage::start();
    let new = |name: &str| NewToken::opaque("judge@example.com", name);
    let (revoked, suspended) = (stage.issue(new("revoked")), stage.issue(new("suspended")));
    stage.tracker.tokens().revoke(revoked.0, "for the test").unwrap();
    stage.tracker.tokens().suspend(suspended.0).unwrap();
    let expired = stage
        .issue(NewToken::jwt("judge@example.com", "expired").expires_in(Duration::from_secs(1)));
    let started = Instant::now();
    while stage.tracker.introspect(&expired.1).unwrap().active {
        assert!(started.elapsed() < Duration::from_secs(10), "it does not expire");
        thread::sleep(Duration::from_millis(20));
    }
    let elsewhere = stage.issue(new("elsewhere").networks(["192.0.2.0/24".parse().unwrap()]));
    let cases = [
        (revoked, 401, DenialReason::Revoked),
        (suspended, 401, DenialReason::Suspended),
        (expired, 401, DenialReason::Expired),
        (elsewhere, 403, DenialReason::WrongAddress),
    ];
    // The connection is kept after each refusal.
    let mut connection = stage.connect();
    for ((id, token), status, reason) in cases {
        for count in 1..=2 {
            let answer = connection.exchange(&get("/hello/x", &token, &[]));
            assert_eq!((answer.status, answer.body.len()), (status, 0), "{reason:?}: {answer:?}");
            let challenge = answer.field("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer error="), "{challenge}");
            let records = stage.records(id, count);
            assert_eq!(
                records.iter().map(|record| u64::from(record.weight)).sum::<u64>(),
                count as u64
            );
            let last = records.last().unwrap();
            assert_eq!((last.status, last.outcome), (status, Outcome::Denied(reason)));
            assert_eq!(last.route, "/hello/{name}");
        }
    }
    assert_eq!(stage.upstream.heads(), [""; 0]);
}

#[test]
fn token_over_its_quota_is_told_when_to_come_again() {
    let mut stage = Stage::start();
    let here = ["127.0.0.0/8".parse().unwrap()];
    let new = NewToken::opaque("judge@example.com", "one a day").quota(Quota::new().per_day(1));
    let (id, token) = stage.issue(new.networks(here));
    assert_eq!(stage.get("/hello/x", &token).status, 200);
    let answer = stage.get("/hello/x", &token);
    assert_eq!((answer.status, answer.field("www-authenticate")), (429, None), "{answer:?}");
    let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    assert_eq!(stage.upstream.heads().len(), 1);
    let denied = Outcome::Denied(DenialReason::QuotaExceeded);
    let hello = "/hello/{name}";
    stage.expect(id, &[("GET", hello, 200, SUCCESS), ("GET", hello, 429, denied)]);
}

#[test]
fn strangers_and_doubtful_requests_are_refused_without_a_record_and_the_upstream_hears_nothing() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    let twice = format!("Authorization: Bearer {token}");
    let plain = "GET /hello/x HTTP/1.1\r\nHost: example.com\r\n";
    let cases = [
        (get("/hello/x", &token, &[&twice]), 400),
        (get("/hello/x?access_token=abc", &token, &[]), 400),
        (get("/hello/x", "not-a-token", &[]), 401),
        (get("/hello/x", &format!("{token}x"), &[]), 401),
        (format!("{plain}\r\n"), 401),
        (format!("{plain}Authorization: Basic YTpi\r\n\r\n"), 401),
        (format!("{plain}X-Token-Owner: judge@example.com\r\nx-token-id: {id}\r\n\r\n"), 401),
    ];
    let mut connection = stage.connect();
    for (request, status) in cases {
        let answer = connection.exchange(&request);
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{request}: {answer:?}");
        assert!(answer.field("www-authenticate").unwrap().starts_with("Bearer"), "{answer:?}");
    }
    let body = "x".repeat(100_000);
    let length = format!("Content-Length: {}", body.len());
    let answer = stage.exchange(&(request("POST", "/items", "not-a-token", &[&length]) + &body));
    assert_eq!(answer.status, 401);
    assert_eq!(stage.upstream.heads(), [""; 0]);
    stage.expect(id, &[]);
}

#[test]
fn health_is_the_proxys_own_for_anybody_and_never_recorded() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    let mut connection = stage.connect();
    assert_eq!(connection.exchange("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    assert_eq!(connection.exchange("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    assert_eq!(connection.exchange(&get("/healthz", &token, &[])).status, 200);
    assert_eq!(connection.exchange(&get("/healthz", "not-a-token", &[])).status, 200);
    assert_eq!(stage.upstream.heads(), [""; 0]);
    stage.expect(id, &[]);
}

#[test]
fn request_that_pingora_refuses_is_the_clients_error_recorded_once() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    let answer = stage.exchange(&get("/hello/x", &token, &["Connection: host"]));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(stage.upstream.heads(), [""; 0]);
    stage.expect(id, &[("GET", "/hello/{name}", 400, CLIENT_ERROR)]);
}

//! Many requests share a connection in HTTP/2: what becomes of one must be told of it alone, and of each when the
//! connection is lost.

use std::time::{Duration, Instant};

use serde_json::json;

use super::refusals::challenge;
use crate::client::{Request, Response};
use crate::http2::{Http2, Stream};
use crate::suite::Stack;
use crate::wait;
use crate::watch::Watch;

/// More than servers allow at once (hyper: 200).
const AT_ONCE: usize = 300;

/// Of each of two kinds.
const IN_FLIGHT: usize = 10;

const RECORDS_BOUND: Duration = Duration::from_secs(10);

/// Each request of a connection is recorded once, as it is answered, while the connection stays open.
pub fn http2_requests_are_recorded_once_as_answered(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    let http2 = Http2::connect(service.address);
    for (method, target, route, status, outcome) in [
        ("GET", "/hello/x", "/hello/{name}", 200, "success"),
        ("GET", "/items/7?secret=1", "/items/{id}", 200, "success"),
        ("GET", "/items/1001", "/items/{id}", 404, "client_error"),
        ("GET", "/empty", "/empty", 204, "success"),
        ("GET", "/fail", "/fail", 500, "server_error"),
        ("GET", "/nowhere", "<unmatched>", 404, "client_error"),
        ("GET", "/stream?n=3&every_ms=5", "/stream", 200, "success"),
        ("GET", "/stream-known?n=3&every_ms=5", "/stream-known", 200, "success"),
        ("HEAD", "/hello/x", "/hello/{name}", 200, "success"),
        ("HEAD", "/stream?n=40&every_ms=100", "/stream", 200, "success"),
    ] {
        let response = http2.exchange(&watch.sign(Request::new(method, target)));
        assert_eq!(response.status(), status, "{method} {target}: {response}");
        let record = watch.expect((method, route, status, outcome));
        assert_eq!(record.response_bytes, response.length(), "{method} {target}: {response}");
    }
    let item = watch.sign(Request::post("/items").json(&json!({ "name": "x" })));
    let response = http2.exchange(&item).expect_status(201);
    let record = watch.expect(("POST", "/items", 201, "success"));
    assert_eq!(record.response_bytes, response.length());

    let response = http2.exchange(&watch.sign(Request::get("/stream-fail"))).expect_status(200);
    assert!(!response.is_complete, "it ends as if all had come: {response}");
    watch.expect(("GET", "/stream-fail", 200, "server_error"));
    watch.expect_nothing_more();
}

/// A refusal has its challenge, and is recorded only under a token that it proves.
pub fn http2_refusal_has_its_challenge(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    let http2 = Http2::connect(service.address);
    let open = http2.exchange(&Request::get("/hello/x")).expect_status(401);
    assert!(!challenge(&open).contains("error="), "{open}");
    let forged = http2.exchange(&Request::get("/hello/x").bearer("tt_forged")).expect_status(401);
    assert!(challenge(&forged).contains(r#"error="invalid_token""#), "{forged}");
    let twice = watch.sign(watch.sign(Request::get("/hello/x")));
    let twice = http2.exchange(&twice);
    assert!(matches!(twice.status(), 400 | 401), "{twice}");
    let without = http2.exchange(&watch.sign(Request::get("/admin/tokens"))).expect_status(403);
    assert!(challenge(&without).contains(r#"error="insufficient_scope""#), "{without}");
    watch.expect(("GET", "/admin/tokens", 403, "denied"));
    service.revoke(&watch.token_id).expect_status(204);
    let revoked = http2.exchange(&watch.sign(Request::get("/hello/x"))).expect_status(401);
    assert!(challenge(&revoked).contains(r#"error="invalid_token""#), "{revoked}");
    watch.expect(("GET", "/hello/{name}", 401, "denied"));
    assert!(watch.take().is_empty());
}

/// A stream that the client resets in its middle is unfinished, and the others of its connection go on.
pub fn http2_stream_reset_in_its_middle_is_unfinished(stack: &Stack) {
    let service = stack.start();
    let (mut watch, mut other) = (Watch::new(&service, "jwt"), Watch::new(&service, "opaque"));
    let http2 = Http2::connect(service.address);
    let going_on = http2.open(&other.sign(Request::get("/stream?n=20&every_ms=50")));
    for (target, route) in [
        ("/stream?n=50&every_ms=100", "/stream"),
        ("/stream-known?n=50&every_ms=100", "/stream-known"),
    ] {
        let mut stream = http2.open(&watch.sign(Request::get(target)));
        assert_eq!(stream.receive_head().status, 200);
        assert!(!stream.receive_part().is_empty());
        stream.reset();
        let record = watch.expect(("GET", route, 200, "unfinished"));
        assert_ne!(record.response_bytes, 0, "{record:?}");
        assert!(record.duration_us < 4_000_000, "not settled by the reset: {record:?}");
    }
    expect_gone_on(going_on, &mut other);
    watch.expect_nothing_more();
    other.expect_nothing_more();
    service.assert_accounts_balance();
}

/// A stream that the client resets before its head is 499 and unfinished, and the others of its connection go on.
pub fn http2_stream_reset_before_its_head_is_unfinished(stack: &Stack) {
    let service = stack.start();
    let (mut watch, mut other) = (Watch::new(&service, "opaque"), Watch::new(&service, "jwt"));
    let http2 = Http2::connect(service.address);
    let going_on = http2.open(&other.sign(Request::get("/stream?n=20&every_ms=50")));
    let stream = http2.open(&watch.sign(Request::get("/slow?ms=6000")));
    // Long enough for the request to have reached the handler.
    std::thread::sleep(Duration::from_millis(300));
    stream.reset();
    let record = watch.expect(("GET", "/slow", 499, "unfinished"));
    assert_eq!(record.response_bytes, 0, "{record:?}");
    assert!(record.duration_us < 5_000_000, "not settled by the reset: {record:?}");
    expect_gone_on(going_on, &mut other);
    watch.expect_nothing_more();
    other.expect_nothing_more();
}

/// More requests at once on one connection than the server takes: each waits for its turn, and is recorded once.
pub fn http2_streams_at_once_are_recorded_one_each(stack: &Stack) {
    let service = stack.start();
    let issued = service.issue("jwt", "many at once");
    let http2 = Http2::connect(service.address);
    let request = Request::get("/slow?ms=200").bearer(&issued.token);
    let sent = Instant::now();
    let responses = http2.exchange_all(vec![request; AT_ONCE]);
    assert!(sent.elapsed() < Duration::from_secs(15), "one by one: {:?}", sent.elapsed());
    let statuses: Vec<_> = responses.iter().map(Response::status).collect();
    assert_eq!(statuses, [200; AT_ONCE]);
    let records = wait::until("each is recorded", RECORDS_BOUND, || {
        let records = service.recent(&issued.token_id);
        if records.len() < AT_ONCE {
            Err(format!("{} records", records.len()))
        } else {
            Ok(records)
        }
    });
    assert_eq!(records.len(), AT_ONCE);
    for record in &records {
        assert_eq!(record.shape(), ("GET", "/slow", 200, "success"), "{record:?}");
    }
    service.assert_accounts_balance();
}

/// A connection that is lost leaves each of its streams unfinished: those with a head as 200, the others as 499.
pub fn http2_connection_that_is_dropped_leaves_each_stream_unfinished(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    let http2 = Http2::connect(service.address);
    let open = |target: &str| http2.open(&watch.sign(Request::get(target)));
    let waiting: Vec<_> = (0..IN_FLIGHT).map(|_| open("/slow?ms=8000")).collect();
    let mut coming: Vec<_> = (0..IN_FLIGHT).map(|_| open("/stream?n=80&every_ms=100")).collect();
    for stream in &mut coming {
        assert_eq!(stream.receive_head().status, 200);
        assert!(!stream.receive_part().is_empty());
    }
    // Before the streams: none of them is reset.
    drop(http2);
    drop((waiting, coming));
    let records = wait::until("each is recorded", RECORDS_BOUND, || {
        let records = service.recent(&watch.token_id);
        if records.len() < 2 * IN_FLIGHT { Err(format!("{records:?}")) } else { Ok(records) }
    });
    let count = |shape| records.iter().filter(|record| record.shape() == shape).count();
    let counts =
        [count(("GET", "/slow", 499, "unfinished")), count(("GET", "/stream", 200, "unfinished"))];
    assert_eq!(counts, [IN_FLIGHT; 2], "{records:?}");
    assert_eq!(watch.take().len(), 2 * IN_FLIGHT);
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}

/// Whoever takes trailers gets one behind a stream, which counts its chunks; the record is settled there.
pub fn http2_stream_is_recorded_at_its_trailers(stack: &Stack) {
    let service = stack.start();
    let http2 = Http2::connect(service.address);
    let takes_trailers = |request: Request| request.header("TE", "trailers");
    judge_trailers(Watch::new(&service, "jwt"), takes_trailers, |request| http2.exchange(request));
    service.assert_accounts_balance();
}

/// The same behind the last chunk of HTTP/1.1, where the head says so.
pub fn chunked_stream_is_recorded_at_its_trailers(stack: &Stack) {
    let service = stack.start();
    let mut connection = service.client().connect();
    let takes_trailers =
        |request: Request| request.header("TE", "trailers").header("Connection", "TE");
    judge_trailers(Watch::new(&service, "opaque"), takes_trailers, |request| {
        let response = connection.exchange(request);
        let declared = response.head.header("trailer").unwrap_or_default();
        let is_declared = declared.eq_ignore_ascii_case("chunks");
        assert!(response.trailers.is_empty() || is_declared, "{response}");
        response
    });
    service.assert_accounts_balance();
}

fn judge_trailers(
    mut watch: Watch<'_>,
    takes_trailers: impl Fn(Request) -> Request,
    mut exchange: impl FnMut(&Request) -> Response,
) {
    for count in [3, 1] {
        let request = watch.sign(Request::get(format!("/stream?n={count}&every_ms=5")));
        let without = exchange(&request).expect_status(200);
        assert!(without.is_complete, "{without}");
        assert_eq!(without.trailers, [], "nobody said that he takes trailers");
        watch.expect(("GET", "/stream", 200, "success"));

        let response = exchange(&takes_trailers(request)).expect_status(200);
        assert!(response.is_complete, "{response}");
        assert_eq!(response.body, without.body);
        assert_eq!(response.trailers, [("chunks".to_owned(), count.to_string())]);
        // The connection stays open: the record must not wait for its end.
        let record = watch.expect(("GET", "/stream", 200, "success"));
        assert_eq!(record.response_bytes, response.length(), "{record:?}");
    }
    watch.expect_nothing_more();
}

/// What was opened first has come whole, and is recorded as that.
#[track_caller]
fn expect_gone_on(stream: Stream, watch: &mut Watch<'_>) {
    let response = stream.receive().expect_status(200);
    assert!(response.is_complete, "{response}");
    let record = watch.expect(("GET", "/stream", 200, "success"));
    assert_eq!(record.response_bytes, response.length(), "{record:?}");
}

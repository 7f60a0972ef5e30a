//! A request that is recorded twice, never, or as what it was not, makes all sums wrong.

use std::thread;
use std::time::Duration;

use crate::client::{get, request};
use crate::stage::{Shape, Stage};
use crate::{CLIENT_ERROR, SERVER_ERROR, SUCCESS, UNFINISHED};

#[test]
fn what_ends_well_is_recorded_once_with_its_status_and_bytes() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    let exchanges: [(&str, &str, Shape, u64); 10] = [
        ("GET", "/hello/x", ("GET", "/hello/{name}", 200, SUCCESS), 6),
        ("HEAD", "/hello/x", ("HEAD", "/hello/{name}", 200, SUCCESS), 0),
        ("GET", "/stream?n=3&every_ms=50", ("GET", "/stream", 200, SUCCESS), 18),
        ("HEAD", "/stream", ("HEAD", "/stream", 200, SUCCESS), 0),
        ("GET", "/stream-known?n=3&every_ms=50", ("GET", "/stream-known", 200, SUCCESS), 18),
        ("GET", "/empty", ("GET", "/empty", 204, SUCCESS), 0),
        ("GET", "/slow?ms=150", ("GET", "/slow", 200, SUCCESS), 5),
        ("GET", "/fail", ("GET", "/fail", 500, SERVER_ERROR), 7),
        ("GET", "/nowhere", ("GET", "<unmatched>", 404, CLIENT_ERROR), 13),
        ("DELETE", "/hello/x", ("DELETE", "<unmatched>", 200, SUCCESS), 6),
    ];
    // All on one connection, which is kept from each to the next.
    let mut connection = stage.connect();
    for (method, target, (.., status, _), bytes) in exchanges {
        let answer = connection.exchange(&request(method, target, &token, &[]));
        assert_eq!((answer.status, answer.is_complete), (status, true), "{target}: {answer:?}");
        assert_eq!(u64::try_from(answer.body.len()), Ok(bytes), "{target}: {answer:?}");
    }
    let records = stage.expect(id, &exchanges.map(|(_, _, shape, _)| shape));
    let found: Vec<_> = records.iter().map(|record| record.response_bytes).collect();
    assert_eq!(found, exchanges.map(|(.., bytes)| bytes));
    for (record, millis) in [(2, 150), (4, 150), (6, 150)].map(|(at, ms)| (&records[at], ms)) {
        assert!(record.duration >= Duration::from_millis(millis), "before its end: {record:?}");
    }
    for record in &records {
        assert_eq!(record.user_agent.as_deref(), Some("test/1"));
        let address = record.client_address.as_ref().map(ToString::to_string);
        assert!(address.is_some_and(|address| address.starts_with("127.0.0")), "{record:?}");
    }
}

#[test]
fn body_of_a_request_reaches_the_upstream_whole() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    let body = "x".repeat(300_000);
    let length = format!("Content-Length: {}", body.len());
    let answer = stage.exchange(&(request("POST", "/items", &token, &[&length]) + &body));
    assert_eq!((answer.status, answer.text() == body), (201, true));
    let records = stage.expect(id, &[("POST", "/items", 201, SUCCESS)]);
    assert_eq!(records[0].response_bytes, 300_000);
}

#[test]
fn requests_sent_at_once_on_one_connection_are_answered_and_recorded_one_by_one() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    let mut connection = stage.connect();
    let requests: String =
        ["/slow?ms=100", "/hello/x", "/empty"].map(|target| get(target, &token, &[])).concat();
    connection.send(requests);
    let statuses: Vec<_> = (0..3).map(|_| connection.answer("GET").unwrap().status).collect();
    assert_eq!(statuses, [200, 200, 204]);
    stage.expect(
        id,
        &[
            ("GET", "/slow", 200, SUCCESS),
            ("GET", "/hello/{name}", 200, SUCCESS),
            ("GET", "/empty", 204, SUCCESS),
        ],
    );
}

#[test]
fn body_that_the_upstream_cuts_short_is_a_server_error_and_the_client_can_tell() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    for target in ["/stream-fail?n=3&every_ms=20", "/known-fail?n=3&every_ms=20"] {
        let answer = stage.get(target, &token);
        assert_eq!((answer.status, answer.is_complete), (200, false), "{target}: {answer:?}");
    }
    let records = stage.expect(
        id,
        &[("GET", "/stream-fail", 200, SERVER_ERROR), ("GET", "<unmatched>", 200, SERVER_ERROR)],
    );
    assert_eq!((records[0].response_bytes, records[1].response_bytes), (18, 12));
}

#[test]
fn upstream_that_hangs_up_or_is_not_there_is_a_server_error_recorded_once() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    let answer = stage.get("/hang-up", &token);
    assert_eq!((answer.status, answer.is_complete), (502, true), "{answer:?}");
    stage.expect(id, &[("GET", "<unmatched>", 502, SERVER_ERROR)]);

    let mut stage = Stage::start_before_nobody();
    let (id, token) = stage.token();
    for method in ["GET", "POST", "HEAD"] {
        let answer = stage.exchange(&request(method, "/items", &token, &[]));
        assert_eq!((answer.status, answer.is_complete), (502, true), "{answer:?}");
    }
    let records = stage.expect(
        id,
        &[
            ("GET", "<unmatched>", 502, SERVER_ERROR),
            ("POST", "/items", 502, SERVER_ERROR),
            ("HEAD", "<unmatched>", 502, SERVER_ERROR),
        ],
    );
    assert!(records.iter().all(|record| record.response_bytes == 0));
}

#[test]
fn client_that_leaves_in_the_middle_is_unfinished_with_what_was_sent() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    for target in ["/stream?n=100&every_ms=100", "/stream-known?n=100&every_ms=100"] {
        let mut connection = stage.connect();
        connection.send(get(target, &token, &[]));
        assert!(connection.head().unwrap().starts_with("HTTP/1.1 200 "));
        connection.bytes(6);
    }
    let records = stage.expect(
        id,
        &[("GET", "/stream", 200, UNFINISHED), ("GET", "/stream-known", 200, UNFINISHED)],
    );
    for record in records {
        assert!((6..300).contains(&record.response_bytes), "{record:?}");
        assert!(record.duration < Duration::from_secs(5), "{record:?}");
    }
}

#[test]
fn client_that_leaves_before_the_head_or_within_its_own_body_is_unfinished() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    let mut connection = stage.connect();
    connection.send(get("/slow?ms=8000", &token, &[]));
    stage.wait_for_heads(1);
    drop(connection);
    stage.records(id, 1);
    let mut connection = stage.connect();
    connection.send(request("POST", "/items", &token, &["Content-Length: 100"]) + "too little");
    // Else it leaves before it has come.
    thread::sleep(Duration::from_millis(300));
    drop(connection);
    let records =
        stage.expect(id, &[("GET", "/slow", 499, UNFINISHED), ("POST", "/items", 499, UNFINISHED)]);
    for record in records {
        assert_eq!(record.response_bytes, 0, "{record:?}");
        assert!(record.duration < Duration::from_secs(5), "{record:?}");
    }
}

#[test]
fn tunnel_is_refused_without_a_record_and_an_upgrade_is_recorded_at_its_head() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    let connect = format!(
        "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    assert_eq!(stage.exchange(&connect).status, 405);
    assert_eq!(stage.upstream.heads(), [""; 0]);
    let mut connection = stage.connect();
    let fields = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    connection.send(get("/talk", &token, &fields));
    assert_eq!(connection.answer("GET").unwrap().status, 101);
    // Recorded already, though both still talk.
    stage.records(id, 1);
    connection.send("hello");
    assert_eq!(connection.bytes(5), b"hello");
    drop(connection);
    let records = stage.expect(id, &[("GET", "<unmatched>", 101, SUCCESS)]);
    assert_eq!(records[0].response_bytes, 0);
}

//! A record that is settled at the head, or only when a connection ends, tells nothing of what the client got.

use std::time::Duration;

use crate::client::{Reply, Request};
use crate::exceptions::Exception;
use crate::suite::Stack;
use crate::watch::Watch;

/// HEAD is recorded once, as HEAD, without bytes, and at once even where the body would take seconds.
pub fn head_request_is_settled_at_its_head(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    for (target, route) in [
        ("/hello/x", "/hello/{name}"),
        ("/stream?n=40&every_ms=100", "/stream"),
        ("/stream-known?n=40&every_ms=100", "/stream-known"),
    ] {
        let mut connection = service.client().connect();
        let response = connection.exchange(&watch.sign(Request::head(target)));
        assert_eq!(response.status(), 200, "{response}");
        let record = watch.expect(("HEAD", route, 200, "success"));
        assert_eq!(record.response_bytes, 0, "{record:?}");
        assert!(record.duration_us < 3_000_000, "not settled at its head: {record:?}");
    }
    watch.expect_nothing_more();
}

/// A stream counts all its bytes and lasts to its last one.
pub fn stream_is_recorded_to_its_last_byte(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    let response = watch.send(Request::get("/stream?n=5&every_ms=20")).expect_status(200);
    assert!(response.is_complete && !response.body.is_empty(), "{response}");
    assert_eq!(response.head.header("content-length"), None, "{response}");
    let record = watch.expect(("GET", "/stream", 200, "success"));
    assert_eq!(record.response_bytes, response.length(), "{record:?}");
    assert!(record.duration_us >= 64_000, "settled before its end: {record:?}");
    watch.expect_nothing_more();
}

/// A stream of known length is settled at its last byte, though the connection stays open.
pub fn stream_of_known_length_is_settled_at_its_last_byte(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    let mut connection = service.client().connect();
    let request = watch.sign(Request::get("/stream-known?n=5&every_ms=20"));
    let response = connection.exchange(&request).expect_status(200);
    let declared = response.head.header("content-length").map(str::to_owned);
    assert_eq!(declared, Some(response.length().to_string()), "{response}");
    assert!(response.is_complete && !response.body.is_empty(), "{response}");
    let record = watch.expect(("GET", "/stream-known", 200, "success"));
    assert_eq!(record.response_bytes, response.length(), "{record:?}");
    assert!(record.duration_us >= 64_000, "settled before its end: {record:?}");
    drop(connection);
    watch.expect_nothing_more();
}

/// A body that fails after its 200 is the server's error, and the client can tell that it is cut short.
pub fn body_that_fails_is_a_server_error(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    let response = watch.send(Request::get("/stream-fail")).expect_status(200);
    assert!(!response.is_complete, "it ends as if all had come: {response}");
    let record = watch.expect(("GET", "/stream-fail", 200, "server_error"));
    assert!(record.response_bytes >= response.length(), "{record:?} of {response}");
    watch.expect_nothing_more();
}

/// What a client leaves in its middle is unfinished, with the status that was sent.
pub fn client_that_leaves_in_the_middle_of_a_stream_is_unfinished(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    for (target, route) in [
        ("/stream?n=50&every_ms=100", "/stream"),
        ("/stream-known?n=50&every_ms=100", "/stream-known"),
    ] {
        let mut connection = service.client().connect();
        connection.send(&watch.sign(Request::get(target)));
        assert_eq!(connection.receive_head().status, 200);
        connection.receive_bytes(4);
        drop(connection);
        let record = watch.next();
        let outcome = match record.outcome.as_str() {
            "success" if stack.has(Exception::DisconnectsMayGoUnseen) => "success",
            _ => "unfinished",
        };
        assert_eq!(record.shape(), ("GET", route, 200, outcome), "{record:?}");
        assert_ne!(record.response_bytes, 0, "{record:?}");
        assert_ne!(record.duration_us, 0, "{record:?}");
    }
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}

/// What a client leaves before the head is 499 and unfinished.
pub fn client_that_leaves_before_the_head_is_unfinished(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    let mut connection = service.client().connect();
    connection.send(&watch.sign(Request::get("/slow?ms=1500")));
    // Long enough for the request to have reached the handler.
    std::thread::sleep(Duration::from_millis(300));
    drop(connection);
    if stack.has(Exception::HandlersRunOn) {
        let record = watch.expect(("GET", "/slow", 200, "success"));
        assert!(record.duration_us >= 1_400_000, "{record:?}");
    } else {
        let record = watch.expect(("GET", "/slow", 499, "unfinished"));
        assert_eq!(record.response_bytes, 0, "{record:?}");
    }
    watch.expect_nothing_more();
}

/// A panic is answered with 500 or a closed connection, recorded once, and hurts nobody else.
pub fn panic_is_a_server_error_and_the_service_goes_on(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    for _ in 0..3 {
        let request = watch.sign(Request::get("/panic"));
        match service.client().attempt(&request) {
            Reply::Answered(response) => assert_eq!(response.status(), 500, "{response}"),
            Reply::Closed => {}
        }
        watch.expect(("GET", "/panic", 500, "server_error"));
        watch.get("/hello/after", "/hello/{name}", 200, "success");
    }
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}

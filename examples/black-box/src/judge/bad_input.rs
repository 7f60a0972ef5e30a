//! Bytes from the open network must never become a server error, a crash, or a hole in the accounts.

use crate::client::{AGENT, Reply, Request, Response};
use crate::service::Service;
use crate::suite::Stack;
use crate::watch::Watch;

/// Requests beyond any size are refused or cut off.
pub fn oversized_request_is_refused(stack: &Stack) {
    let service = stack.start();
    let token = &service.jwt;
    let path = format!("/{}", "a".repeat(1_000_000));
    expect_refusal(&service, "1 MB path", &Request::get(path).bearer(token));
    for (what, length) in [("16 kB token", 16_000), ("100 kB token", 100_000)] {
        let request = Request::get("/hello/x").bearer(&"a".repeat(length));
        expect_refusal(&service, what, &request);
        let request = Request::get("/hello/x").bearer(&format!("{token}{}", "a".repeat(length)));
        expect_refusal(&service, what, &request);
        let request = Request::get("/hello/x").bearer(&".".repeat(length));
        expect_refusal(&service, what, &request);
    }
    let request = Request::get("/hello/x").bearer(token).header("User-Agent", "b".repeat(500_000));
    expect_no_server_error(&service, "500 kB user agent", &request);
    expect_well(&service);
}

/// Header values that are no text are refused, or do no harm where they are not needed.
pub fn header_that_is_no_text_does_no_harm(stack: &Stack) {
    let service = stack.start();
    let token = service.jwt.as_bytes();
    let mut watch = Watch::printed(&service, &service.jwt);
    let mut accepted = 0;
    for bad in [&b"\x00"[..], b"\x01\x02", b"\x7f", b"\xff\xfe", b"\xc3\x28", b"\xf0\x9f\x92"] {
        for value in
            [[b"Bearer ", bad].concat(), [b"Bearer ", token, bad].concat(), [bad, token].concat()]
        {
            let request = Request::get("/hello/x").header("Authorization", value);
            expect_refusal(&service, &format!("{bad:?} in the token"), &request);
        }
        let agent = [b"agent/", bad].concat();
        let request = watch.sign(Request::get("/hello/x").header("User-Agent", agent));
        let what = format!("{bad:?} in the user agent");
        if let Some(response) = expect_no_server_error(&service, &what, &request)
            && response.status() == 200
        {
            accepted += 1;
            let record = watch.next();
            assert_eq!(record.shape(), ("GET", "/hello/{name}", 200, "success"), "{what}");
        }
    }
    let records = service.recent(&watch.token_id);
    let answered = records.iter().filter(|record| record.status == 200).count();
    assert_eq!(answered, accepted + 1, "{records:?}");
    expect_well(&service);
}

/// What is no request at all is refused or cut off.
pub fn garbage_instead_of_a_request_is_refused(stack: &Stack) {
    let service = stack.start();
    for bytes in [
        &b"GARBAGE\r\n\r\n"[..],
        b"\x00\x01\x02\x03\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\nHost: x\r\n\r\n",
        b"GET /hello/x HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET /hello/x HTTP/1.1\r\nHost: x\r\n: no name\r\n\r\n",
        b"POST /items HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /items HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ] {
        let what = String::from_utf8_lossy(bytes).into_owned();
        if let Reply::Answered(response) = service.client().attempt_bytes(bytes) {
            assert!((400..500).contains(&response.status()), "{what:?}: {response}");
        }
    }
    expect_well(&service);
}

/// Paths that decode to what is no text, or to control characters, are no server error.
pub fn odd_path_is_no_server_error(stack: &Stack) {
    let service = stack.start();
    for path in [
        "/hello/%00",
        "/hello/%ff%fe",
        "/hello/%",
        "/hello/%zz",
        "/hello/..%2F..%2Fetc",
        "/items/%00",
        "/items/-1",
        "/items/99999999999999999999999",
        "/items/%F0%9F%92",
        "//hello//x",
        "/hello/x?%00=%ff&&&===",
        "/stream?n=-1&every_ms=abc",
        "/stream?n=99999999999999999999",
        "/slow?ms=-1",
        "/usage/recent?limit=%00",
        "*",
    ] {
        let request = Request::get(path).bearer(&service.opaque);
        expect_no_server_error(&service, path, &request);
    }
    expect_well(&service);
}

/// A user agent of 2 kB is served and recorded, shortened or not.
pub fn long_user_agent_is_recorded(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    let agent = format!("long/1.0 ({})", "abcdefghij".repeat(200));
    let request = Request::get("/hello/x").header("User-Agent", agent.as_str());
    watch.send(request).expect_status(200);
    let record = watch.next();
    assert_eq!(record.shape(), ("GET", "/hello/{name}", 200, "success"), "{record:?}");
    let recorded = record.user_agent.as_deref().unwrap_or_default();
    assert_eq!(recorded.get(..64), agent.get(..64), "{record:?}");
    assert!(recorded.len() <= agent.len() + 3, "{record:?}");
    watch.expect_nothing_more();
}

/// A request that names no user agent is served and recorded.
pub fn request_without_a_user_agent_is_recorded(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    let head = format!("Host: x\r\nAuthorization: Bearer {}\r\n", watch.token);
    let request = format!("GET /hello/x HTTP/1.1\r\n{head}\r\n");
    let Reply::Answered(response) = service.client().attempt_bytes(request.as_bytes()) else {
        panic!("a good request is not answered");
    };
    response.expect_status(200);
    let record = watch.next();
    assert_eq!(record.shape(), ("GET", "/hello/{name}", 200, "success"), "{record:?}");
    assert_eq!(record.user_agent.unwrap_or_default(), "");
    watch.expect_nothing_more();
}

/// A 4xx answer or a closed connection, and nothing else.
#[track_caller]
fn expect_refusal(service: &Service, what: &str, request: &Request) {
    if let Reply::Answered(response) = service.client().attempt(request) {
        assert!((400..500).contains(&response.status()), "{what}: {response}");
    }
}

/// Any answer but a 5xx, or a closed connection, which is `None`.
#[track_caller]
fn expect_no_server_error(service: &Service, what: &str, request: &Request) -> Option<Response> {
    match service.client().attempt(request) {
        Reply::Closed => None,
        Reply::Answered(response) => {
            assert!((200..500).contains(&response.status()), "{what}: {response}");
            Some(response)
        }
    }
}

/// Others are still served and recorded, and nothing was lost.
#[track_caller]
fn expect_well(service: &Service) {
    let mut watch = Watch::new(service, "opaque");
    let record = watch.get("/hello/after", "/hello/{name}", 200, "success");
    assert_eq!(record.user_agent.as_deref(), Some(AGENT));
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}

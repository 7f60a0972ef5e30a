//! Two readings of where one request ends and the next begins let a stranger put words into another client's mouth.

use crate::api::Record;
use crate::client::{Client, Reply};
use crate::exceptions::Exception;
use crate::suite::Stack;
use crate::watch::Watch;

/// What must never be taken for a request where it lies within, or behind, one that is broken.
fn smuggled(watch: &Watch<'_>) -> String {
    format!("GET /me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", watch.token)
}

/// The start of the head of a request with a body.
fn post(watch: &Watch<'_>, fields: &str) -> String {
    let token = &watch.token;
    format!("POST /items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{fields}\r\n\r\n")
}

/// Bytes beyond the declared length are another request, and a bad one: the first is answered and recorded once.
pub fn body_longer_than_declared_is_one_request(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    for more in ["more than that\r\n\r\n", "\"\r\n\r\n", "\0\u{1}\r\n\r\n"] {
        let bytes = post(&watch, "Content-Length: 2") + "{}" + more;
        let mut connection = service.client().connect();
        connection.write(bytes.as_bytes()).expect("a few bytes are taken");
        match connection.reply() {
            Reply::Answered(first) => assert_eq!(first.status(), 201, "{more:?}: {first}"),
            Reply::Closed if stack.has(Exception::GarbageMayHideAnswers) => {
                let record = watch.next();
                assert_eq!(record.shape(), ("POST", "/items", 499, "unfinished"), "{more:?}");
                continue;
            }
            Reply::Closed => panic!("a whole request is not answered: {more:?}"),
        }
        if let Reply::Answered(second) = connection.reply() {
            assert!((400..500).contains(&second.status()), "{more:?}: {second}");
        }
        let record = watch.next();
        assert_eq!(record.shape(), ("POST", "/items", 201, "success"), "{more:?}: {record:?}");
    }
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}

/// A client that declares more than it sends is recorded once, however it leaves, and never as a success.
pub fn body_shorter_than_declared_is_no_success(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    let parts = [
        post(&watch, "Content-Length: 100") + "{}",
        post(&watch, "Content-Length: 100"),
        post(&watch, "Transfer-Encoding: chunked") + "2\r\n{}\r\n",
        post(&watch, "Transfer-Encoding: chunked") + "40\r\n{}",
    ];
    for part in &parts {
        let mut connection = service.client().connect();
        connection.write(part.as_bytes()).expect("a few bytes are taken");
        connection.end_sending();
        if let Reply::Answered(response) = connection.reply() {
            let is_refused = (400..500).contains(&response.status());
            let is_loose = stack.has(Exception::BodiesAreReadLoosely);
            let is_expected = is_refused || is_loose || may_look_whole(stack, response.status());
            assert!(is_expected, "{part:?}: {response}");
        }
        if stack.has(Exception::BodiesAreReadLoosely) {
            watch.take();
            continue;
        }
        expect_left_in_the_middle(stack, &watch.next(), part);
    }
    for part in &parts {
        let mut connection = service.client().connect();
        connection.write(part.as_bytes()).expect("a few bytes are taken");
        drop(connection);
        if stack.has(Exception::BodiesAreReadLoosely) {
            watch.take();
            continue;
        }
        expect_left_in_the_middle(stack, &watch.next(), part);
    }
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}

/// What cannot be a chunk ends the request: refused or cut off, and nothing behind it is read as another.
pub fn body_in_garbled_chunks_is_refused(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    for size in ["zz", "-1", "+2", "0x2", "", "2 2", "FFFFFFFFFFFFFFFFF"] {
        let chunks = format!("{size}\r\n{{}}\r\n0\r\n\r\n");
        let client = service.client();
        expect_no_second_request(stack, &mut watch, client, "Transfer-Encoding: chunked", &chunks);
    }
    for chunks in ["2\r\n{}XX0\r\n\r\n", "2\r\n{}0\r\n\r\n", "1\r\n{}\r\n0\r\n\r\n"] {
        let client = service.client();
        expect_no_second_request(stack, &mut watch, client, "Transfer-Encoding: chunked", chunks);
    }
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}

/// Lengths that contradict each other are refused, or one is taken and the connection closed (RFC 9112 §6.3): what
/// one reading takes for the next request is never served.
pub fn request_of_two_lengths_smuggles_nothing(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    for (fields, body) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", chunks),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4", chunks),
        ("Content-Length: 12\r\nTransfer-Encoding: chunked", chunks),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked", chunks),
        ("Transfer-Encoding: xchunked", chunks),
        ("Transfer-Encoding: chunked, identity", chunks),
        ("Content-Length: 2\r\nTransfer-Encoding: xchunked", "{}"),
        ("Content-Length: 2\r\nContent-Length: 3", "{}"),
        ("Content-Length: 2, 3", "{}"),
        ("Content-Length: +2", "{}"),
        ("Content-Length: 0x2", "{}"),
        ("Content-Length: 18446744073709551618", "{}"),
    ] {
        expect_no_second_request(stack, &mut watch, service.client(), fields, body);
    }
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}

/// Sends a request with this framing and body, and another right behind it: the first gets one answer at most, and
/// then the connection is closed.
#[track_caller]
fn expect_no_second_request(
    stack: &Stack,
    watch: &mut Watch<'_>,
    client: Client,
    fields: &str,
    body: &str,
) {
    let shown: String = format!("{fields}: {body:?}").chars().take(200).collect();
    let bytes = post(watch, fields) + body + &smuggled(watch);
    let mut connection = client.connect();
    // A server may answer and close before it has read everything.
    let _ = connection.write(bytes.as_bytes());
    let both_lengths = fields.contains("Content-Length") && fields.ends_with("chunked")
        || fields.starts_with("Transfer-Encoding: chunked\r\n");
    let is_loose = stack.has(Exception::BodiesAreReadLoosely);
    let mut answered = None;
    if let Reply::Answered(response) = connection.reply() {
        let status = response.status();
        let is_refused = (400..500).contains(&status) || status == 501;
        let is_taken = (status == 201 && both_lengths) || may_look_whole(stack, status);
        assert!(is_refused || is_taken || is_loose, "{shown}: {response}");
        answered = Some(u64::from(status));
        if !is_loose && let Reply::Answered(second) = connection.reply() {
            panic!("a second request was read: {shown}: {second}");
        }
    }
    drop(connection);
    let records = watch.take();
    if is_loose {
        return;
    }
    match records.as_slice() {
        [] if answered != Some(201) => {}
        [one] if answered.is_none_or(|status| status == one.status) => {
            assert_eq!((one.method.as_str(), one.route.as_str()), ("POST", "/items"), "{shown}");
            let is_success = one.outcome == "success";
            let expected = answered == Some(201) || (is_success && may_look_whole(stack, 201));
            assert_eq!(is_success, expected, "{shown}: {one:?}");
        }
        records => panic!("{shown}, answered {answered:?}: {records:?}"),
    }
}

/// Whether this may be the answer to a request whose body is broken.
fn may_look_whole(stack: &Stack, status: u16) -> bool {
    status == 201 && stack.has(Exception::CutBodiesMayLookWhole)
}

/// It is the client's error, if the handler was told, else unfinished.
#[track_caller]
fn expect_left_in_the_middle(stack: &Stack, record: &Record, part: &str) {
    let expected = match record.outcome.as_str() {
        "success" if may_look_whole(stack, 201) => ("POST", "/items", 201, "success"),
        "unfinished" => ("POST", "/items", 499, "unfinished"),
        _ => ("POST", "/items", 400, "client_error"),
    };
    assert_eq!(record.shape(), expected, "{part:?}: {record:?}");
}

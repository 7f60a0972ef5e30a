//! A client that sends its head byte by byte costs nothing to send and would, unbounded, cost the service everything.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Connection, Reply, Request};
use crate::exceptions::Exception;
use crate::service::Service;
use crate::suite::Stack;
use crate::watch::Watch;

const SLOW: usize = 16;
const PAUSE: Duration = Duration::from_millis(200);

/// How long slow heads are sent beside other requests.
const BESIDE: Duration = Duration::from_secs(4);

/// How long another request may take meanwhile, on two busy cores.
const PROMPT: Duration = Duration::from_secs(2);

/// What the examples allow a head, and how much later the last of them may be cut off.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
const MARGIN: Duration = Duration::from_secs(4);

/// While slow heads come in, others are served as promptly as ever; what never was a request is not recorded.
pub fn slow_heads_hold_up_nobody(stack: &Stack) {
    let service = stack.start();
    let mut slow_token = Watch::new(&service, "opaque");
    let mut other = Watch::new(&service, "jwt");
    let mut slow = begin(&service, &slow_token.token);
    thread::scope(|scope| {
        let sending = scope.spawn(|| trickle(&mut slow, BESIDE));
        while !sending.is_finished() {
            let sent = Instant::now();
            other.send(Request::get("/hello/x")).expect_status(200);
            assert!(sent.elapsed() < PROMPT, "answered after {:?}", sent.elapsed());
            other.expect(("GET", "/hello/{name}", 200, "success"));
            thread::sleep(PAUSE);
        }
        assert_eq!(sending.join().expect("it only sends"), SLOW, "cut off within {BESIDE:?}");
    });
    slow_token.expect_nothing_more();
    drop(slow);
    slow_token.expect_nothing_more();
    service.assert_accounts_balance();
}

/// After the time that a head may take, slow ones are answered with 408 or cut off, and not recorded.
pub fn slow_heads_are_cut_off(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "jwt");
    let mut slow = begin(&service, &watch.token);
    let open = trickle(&mut slow, HEAD_LIMIT + MARGIN);
    if stack.has(Exception::HeadsMayBeSlow) {
        assert_eq!(open, SLOW, "not all are open after {:?}", HEAD_LIMIT + MARGIN);
        for connection in &mut slow {
            connection.write(b"\r\n\r\n").expect("it is open");
            let response = connection.receive(false).expect("a slow request is answered");
            response.expect_status(200);
        }
        let records = watch.take();
        assert_eq!(records.len(), SLOW, "{records:?}");
    } else {
        for connection in &mut slow {
            let _ = connection.write(b"\r\n\r\n");
            if let Reply::Answered(response) = connection.reply() {
                assert_eq!(response.status(), 408, "{response}");
            }
        }
    }
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}

/// A connection that says nothing, or hardly anything, is closed after the time that a head may take.
pub fn connections_that_hardly_begin_are_cut_off(stack: &Stack) {
    let service = stack.start();
    let mut watch = Watch::new(&service, "opaque");
    let request = watch.sign(Request::post("/items").json(&json!({}))).to_bytes();
    let begin = |sent: usize| {
        let mut connection = service.client().connect();
        connection.write(&request[..sent]).expect("a few bytes are taken");
        (connection, sent)
    };
    // Nothing, a `P` that could also begin the preface of HTTP/2, and parts of the first line and a field.
    let mut begun: Vec<_> = [0, 1, 10, 40].into_iter().map(begin).collect();
    let started = Instant::now();
    let mut open = begun.len();
    while open > 0 && started.elapsed() < HEAD_LIMIT + MARGIN {
        thread::sleep(PAUSE);
        open = begun.iter_mut().filter_map(|(one, _)| one.is_silent().then_some(())).count();
    }
    for (connection, sent) in &mut begun {
        let allowing =
            if *sent < 2 { Exception::SilenceMayLast } else { Exception::HeadsMayBeSlow };
        assert_eq!(connection.is_silent(), stack.has(allowing), "open after {sent} bytes");
        if stack.has(allowing) {
            connection.write(&request[*sent..]).expect("it is open");
            let response = connection.receive(false).expect("a slow request is answered");
            response.expect_status(201);
            watch.expect(("POST", "/items", 201, "success"));
        } else if let Reply::Answered(response) = connection.reply() {
            assert_eq!(response.status(), 408, "after {sent} bytes: {response}");
        }
    }
    watch.expect_nothing_more();
    service.assert_accounts_balance();
}

/// Connections on which a head begins, up to the middle of a field.
fn begin(service: &Service, token: &str) -> Vec<Connection> {
    let start = format!(
        "GET /hello/slow HTTP/1.1\r\nHost: x\r\nUser-Agent: slow\r\n\
         Authorization: Bearer {token}\r\nX-Slow: "
    );
    let begin = |_| {
        let mut connection = service.client().connect();
        connection.write(start.as_bytes()).expect("the start of a head is taken");
        connection
    };
    (0..SLOW).map(begin).collect()
}

/// Sends a byte on each, again and again for this long, or until all are closed; how many are still open.
fn trickle(slow: &mut [Connection], bound: Duration) -> usize {
    let started = Instant::now();
    loop {
        let open = slow.iter_mut().filter_map(|one| one.write(b"x").ok()).count();
        if open == 0 || started.elapsed() > bound {
            return open;
        }
        thread::sleep(PAUSE);
    }
}

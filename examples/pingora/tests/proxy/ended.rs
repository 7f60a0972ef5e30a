//! A proxy that ends badly loses what was in flight, and the records of it.

use std::time::Duration;
use std::time::Instant;

use crate::client::{Connection, get};
use crate::stage::{Stage, failed_start};
use crate::{SUCCESS, UNFINISHED};

#[test]
fn signal_to_end_lets_requests_in_flight_be_answered_and_recorded() {
    for signal in ["TERM", "INT"] {
        let mut stage = Stage::start();
        let (id, token) = stage.token();
        // Neither a kept connection nor half a head is waited for.
        let mut kept = stage.connect();
        assert_eq!(kept.exchange(&get("/hello/x", &token, &[])).status, 200);
        let mut half = stage.connect();
        half.send("GET /hello/x HTT");
        let mut slow = stage.connect();
        slow.send(get("/slow?ms=1500", &token, &[]));
        let mut stream = stage.connect();
        stream.send(get("/stream?n=15&every_ms=100", &token, &[]));
        assert!(stream.head().unwrap().starts_with("HTTP/1.1 200 "));
        stage.wait_for_heads(3);
        let started = Instant::now();
        stage.signal(signal);
        assert!(kept.is_closed() && half.is_closed());
        assert!(started.elapsed() < Duration::from_secs(1));
        let answer = slow.answer("GET").unwrap();
        assert_eq!(
            (answer.status, answer.is_complete, answer.text().as_str()),
            (200, true, "done\n")
        );
        assert_eq!(stage.wait().code(), Some(0), "after SIG{signal}");
        assert!(started.elapsed() < Duration::from_secs(5));
        let mut shapes: Vec<_> = stage
            .records(id, 3)
            .iter()
            .map(|record| {
                (record.route.clone(), record.status, record.outcome, record.response_bytes)
            })
            .collect();
        shapes.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(
            shapes,
            [
                ("/hello/{name}".to_owned(), 200, SUCCESS, 6),
                ("/slow".to_owned(), 200, SUCCESS, 5),
                ("/stream".to_owned(), 200, SUCCESS, 90)
            ]
        );
    }
}

#[test]
fn request_that_outlasts_the_drain_is_recorded_as_unfinished_with_what_was_sent() {
    let mut stage = Stage::start();
    let (id, token) = stage.token();
    let mut endless = stage.connect();
    endless.send(get("/stream?n=1000&every_ms=100", &token, &[]));
    assert!(endless.head().unwrap().starts_with("HTTP/1.1 200 "));
    let started = Instant::now();
    stage.signal("TERM");
    assert_eq!(stage.wait().code(), Some(0));
    assert!((9..14).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    let records = stage.records(id, 1);
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].status, records[0].outcome), (200, UNFINISHED));
    assert!(records[0].response_bytes >= 6 * 80, "{records:?}");
}

#[test]
fn client_that_says_nothing_or_stops_in_its_head_is_closed() {
    let stage = Stage::start();
    let started = Instant::now();
    let mut silent = stage.connect();
    let mut half = Connection::open(stage.address);
    half.send("GET /hello/x HTTP/1.1\r\nHost: exa");
    let mut kept = stage.connect();
    assert_eq!(kept.exchange("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    assert!(silent.is_closed() && half.is_closed() && kept.is_closed());
    assert!((9..14).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[test]
fn wrong_upstream_ends_the_start_with_a_message_before_the_database_is_touched() {
    for upstream in ["nowhere", "", "127.0.0.1:99999", "127.0.0.1:x", "http://127.0.0.1:80"] {
        let (message, has_database) = failed_start(upstream);
        assert!(message.starts_with("example-pingora: UPSTREAM: "), "{message}");
        assert!(!has_database, "{upstream}");
    }
}

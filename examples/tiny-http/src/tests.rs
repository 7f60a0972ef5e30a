//! What no route of the service shows of the middleware.

use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tiny_http::{Response, Server, StatusCode};
use token_tracker::{Issued, NewToken, Outcome, TokenTracker, UsageRecord};

use crate::middleware::{TrackLayer, target};

const BOUND: Duration = Duration::from_secs(10);

struct Fixture {
    tracker: TokenTracker,
    issued: Issued,
    server: Server,
}

impl Fixture {
    fn new() -> Self {
        let tracker = TokenTracker::builder().in_memory().unwrap();
        let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop")).unwrap();
        Self { tracker, issued, server: Server::http("127.0.0.1:0").unwrap() }
    }

    /// A request with the good token, sent.
    fn request(&self, method: &str, version: &str, fields: &str) -> TcpStream {
        let address: SocketAddr = self.server.server_addr().to_ip().unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let token = self.issued.secret.expose();
        let head = format!("{method} /items HTTP/{version}\r\nAuthorization: Bearer {token}\r\n");
        write!(stream, "{head}Connection: close\r\n{fields}\r\n").unwrap();
        stream
    }

    /// Answers one request with this body.
    fn answer(&self, body: impl Read, length: Option<usize>) -> io::Result<()> {
        let layer = TrackLayer { tracker: self.tracker.clone(), scope: None };
        let request = self.server.recv_timeout(BOUND).unwrap().unwrap();
        let response = Response::new(StatusCode(200), Vec::new(), body, length, None);
        layer.call(request, Some("/items"), |_, _| response)
    }

    fn record(&self) -> UsageRecord {
        self.tracker.flush().unwrap();
        let mut records = self.tracker.stats().token(self.issued.token.id).recent(2).unwrap();
        assert_eq!(records.len(), 1, "{records:?}");
        records.remove(0)
    }
}

/// The head and the body of all that comes until the connection is closed.
fn received(mut stream: TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let body = bytes.split_off(end + 4);
    (String::from_utf8(bytes).unwrap(), body)
}

#[test]
fn target_is_a_path_and_a_query_whatever_host_it_names() {
    for (url, path, query) in [
        ("/items/7", "/items/7", None),
        ("/items?a=b?c", "/items", Some("a=b?c")),
        ("http://host/items?next=http://other/", "/items", Some("next=http://other/")),
        ("http://host", "", None),
        ("http://host?a", "", Some("a")),
        ("/items?next=http://other/", "/items", Some("next=http://other/")),
        ("*", "*", None),
    ] {
        assert_eq!(target(url), (path, query), "{url}");
    }
}

#[test]
fn body_of_many_parts_is_sent_whole_and_counted() {
    let bytes = vec![7; 20_000];
    for length in [None, Some(20_000)] {
        let fixture = Fixture::new();
        let stream = fixture.request("GET", "1.1", "");
        fixture.answer(Cursor::new(&bytes), length).unwrap();
        let (head, body) = received(stream);
        let sevens = body.iter().filter(|byte| **byte == 7).count();
        assert_eq!(sevens, 20_000, "{head}");
        assert_eq!(head.contains("Content-Length: 20000"), length.is_some(), "{head}");
        assert_eq!(body.ends_with(b"\r\n0\r\n\r\n"), length.is_none());
        let record = fixture.record();
        assert_eq!((record.outcome, record.response_bytes), (Outcome::Success, 20_000));
    }
}

#[test]
fn client_of_http_1_0_gets_a_length_and_no_chunks() {
    let fixture = Fixture::new();
    let stream = fixture.request("GET", "1.0", "");
    fixture.answer(Cursor::new("twelve bytes"), None).unwrap();
    let (head, body) = received(stream);
    assert!(head.contains("Content-Length: 12"), "{head}");
    assert_eq!(body, b"twelve bytes");
    assert_eq!(fixture.record().outcome, Outcome::Success);
}

#[test]
fn part_is_sent_before_the_next_is_there() {
    let fixture = Fixture::new();
    let (more, parts) = mpsc::channel::<&[u8]>();
    let stream = fixture.request("GET", "1.1", "");
    thread::scope(|scope| {
        let (more, mut stream) = (more, stream);
        let answering = scope.spawn(|| fixture.answer(Parts(parts), None));
        more.send(b"first").unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"5\r\nfirst\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
        drop(more);
        answering.join().unwrap().unwrap();
    });
    assert_eq!(fixture.record().response_bytes, 5);
}

/// The parts as they are sent, and the end where nobody sends any more.
struct Parts(mpsc::Receiver<&'static [u8]>);

impl Read for Parts {
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        self.0.recv().map_or(Ok(0), |mut bytes| bytes.read(part))
    }
}

#[test]
fn interrupted_read_is_no_failure() {
    struct Interrupted(bool);
    impl Read for Interrupted {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            let first = std::mem::replace(&mut self.0, false);
            if first { Err(ErrorKind::Interrupted.into()) } else { Ok(0) }
        }
    }
    let fixture = Fixture::new();
    let stream = fixture.request("GET", "1.1", "");
    fixture.answer(Interrupted(true).chain(Cursor::new("whole")), None).unwrap();
    assert_eq!(received(stream).1, b"5\r\nwhole\r\n0\r\n\r\n");
    assert_eq!(fixture.record().outcome, Outcome::Success);
}

#[test]
fn no_more_is_sent_than_was_declared() {
    let fixture = Fixture::new();
    let stream = fixture.request("GET", "1.1", "");
    fixture.answer(Cursor::new("five and more"), Some(4)).unwrap();
    assert_eq!(received(stream).1, b"five");
    let record = fixture.record();
    assert_eq!((record.outcome, record.response_bytes), (Outcome::Success, 4));
}

#[test]
fn body_shorter_than_declared_is_a_server_error() {
    let fixture = Fixture::new();
    let stream = fixture.request("GET", "1.1", "");
    fixture.answer(Cursor::new("five"), Some(5)).unwrap();
    assert_eq!(received(stream).1, b"five");
    let record = fixture.record();
    assert_eq!((record.status, record.outcome), (200, Outcome::ServerError));
}

#[test]
fn client_that_waits_to_be_told_to_send_its_body_is_told() {
    let fixture = Fixture::new();
    let stream = fixture.request("POST", "1.1", "Expect: 100-continue\r\nContent-Length: 2000\r\n");
    let stream = thread::scope(|scope| {
        // Dropped where a read is in vain, which ends the other side, too.
        let mut stream = stream;
        let answering = scope.spawn(|| fixture.answer(Cursor::new("told"), Some(4)));
        let mut told = [0; 12];
        stream.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"HTTP/1.1 100");
        stream.write_all(&[b' '; 2_000]).unwrap();
        answering.join().unwrap().unwrap();
        stream
    });
    assert!(received(stream).1.ends_with(b"told"));
}

#[test]
fn head_gets_no_body() {
    let fixture = Fixture::new();
    let stream = fixture.request("HEAD", "1.1", "");
    fixture.answer(Cursor::new("five"), Some(4)).unwrap();
    let (head, body) = received(stream);
    assert!(head.contains("Content-Length: 4"), "{head}");
    assert_eq!(body, b"");
    let record = fixture.record();
    assert_eq!((record.outcome, record.response_bytes), (Outcome::Success, 0));
}

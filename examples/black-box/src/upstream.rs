//! A small HTTP/1.1 server to stand behind a proxy under judgement: some routes of the examples, no framework, no token.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{read_chunks, read_exactly, read_fields, read_line};

/// More at once are closed unanswered.
const CONNECTIONS: usize = 256;
const HEAD_LIMIT: u64 = 64 * 1024;
const MAX_CHUNKS: u64 = 10_000;
const MAX_WAIT_MS: u64 = 60_000;

/// How long a client may say or take nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// How soon something that waits notices that the server ends.
const STEP: Duration = Duration::from_millis(10);

/// A server on a free port of its own; it ends when dropped. It serves `/hello/{name}`, `/stream`, `/stream-known`,
/// `/stream-fail`, `/empty`, `/slow`, `/fail` and `POST /items` as the examples do, and `/headers`, which answers with the
/// fields of the request as pairs, names in lower case.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ending: AtomicBool,
    requests: AtomicUsize,
    connections: Mutex<Vec<Open>>,
}

/// A connection that may have ended by itself.
#[derive(Debug)]
struct Open {
    socket: TcpStream,
    thread: JoinHandle<()>,
}

impl Upstream {
    /// Starts one.
    ///
    /// # Panics
    /// Where there is no free port, or no thread can be started.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let accepting = thread::Builder::new()
            .name("upstream".to_owned())
            .spawn(move || of_thread.accept(&listener))
            .expect("a thread can be started");
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have reached it, whole heads alone.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // Whoever accepts sees the end with the next connection.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let connections = std::mem::take(&mut *self.shared.connections());
        for open in connections {
            // It fails only where the other side has closed.
            let _ = open.socket.shutdown(Shutdown::Both);
            let _ = open.thread.join();
        }
    }
}

impl Shared {
    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<Open>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for socket in listener.incoming() {
            if self.ending.load(Ordering::SeqCst) {
                return;
            }
            let Ok(socket) = socket else { continue };
            let mut connections = self.connections();
            connections.retain(|open| !open.thread.is_finished());
            if connections.len() < CONNECTIONS
                && let Ok(of_thread) = socket.try_clone()
            {
                let shared = Arc::clone(self);
                let serve = move || shared.serve(of_thread);
                let thread = thread::Builder::new().name("upstream-connection".to_owned());
                if let Ok(thread) = thread.spawn(serve) {
                    connections.push(Open { socket, thread });
                }
            }
        }
    }

    /// Answers one request after another until either side has enough.
    fn serve(&self, socket: TcpStream) {
        let _ = self.answer_all(&socket);
        // The clone that is kept for the end must not keep the connection.
        let _ = socket.shutdown(Shutdown::Both);
    }

    fn answer_all(&self, socket: &TcpStream) -> io::Result<()> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let mut source = BufReader::new(socket);
        loop {
            let Some(request) = Asked::read(&mut source)? else { return Ok(()) };
            self.requests.fetch_add(1, Ordering::SeqCst);
            self.answer(&request, &mut Reply { socket, request: &request })?;
            if request.closes() {
                return Ok(());
            }
        }
    }

    fn answer(&self, request: &Asked, reply: &mut Reply<'_>) -> io::Result<()> {
        match (request.method.as_str(), request.path()) {
            ("POST", "/items") => match serde_json::from_slice::<Value>(&request.body) {
                Ok(_) => reply.whole("201 Created", &json!({ "id": 1 }).to_string()),
                Err(error) => reply.whole("400 Bad Request", &error.to_string()),
            },
            ("GET" | "HEAD", path) => self.answer_get(path, request, reply),
            _ => reply.whole("404 Not Found", ""),
        }
    }

    fn answer_get(&self, path: &str, request: &Asked, reply: &mut Reply<'_>) -> io::Result<()> {
        let count = request.number("n", 5).min(MAX_CHUNKS);
        let pause = Duration::from_millis(request.number("every_ms", 100).min(MAX_WAIT_MS));
        match path {
            "/empty" => reply.head("204 No Content", ""),
            "/fail" => reply.whole("500 Internal Server Error", ""),
            "/headers" => reply.whole("200 OK", &json!(request.fields).to_string()),
            "/slow" => {
                let wait = request.number("ms", 2_000).min(MAX_WAIT_MS);
                self.pause(Duration::from_millis(wait))?;
                reply.whole("200 OK", "done\n")
            }
            "/stream" => {
                reply.head("200 OK", "Transfer-Encoding: chunked\r\n")?;
                self.chunks(reply, count, pause, |text| format!("{:x}\r\n{text}\r\n", text.len()))?;
                reply.body("0\r\n\r\n")
            }
            "/stream-fail" => {
                reply.head("200 OK", "Transfer-Encoding: chunked\r\n")?;
                let pause = Duration::from_millis(5);
                self.chunks(reply, 3, pause, |text| format!("{:x}\r\n{text}\r\n", text.len()))?;
                Err(io::Error::other("asked to fail"))
            }
            "/stream-known" => {
                let length: usize = (0..count).map(|number| chunk(number).len()).sum();
                reply.head("200 OK", &format!("Content-Length: {length}\r\n"))?;
                self.chunks(reply, count, pause, |text| text)
            }
            _ => match path.strip_prefix("/hello/") {
                Some(name) => reply.whole("200 OK", &format!("hello, {name}\n")),
                None => reply.whole("404 Not Found", ""),
            },
        }
    }

    /// A pause between one part and the next, each as `frame` has it.
    fn chunks(
        &self,
        reply: &mut Reply<'_>,
        count: u64,
        pause: Duration,
        frame: impl Fn(String) -> String,
    ) -> io::Result<()> {
        if reply.request.method == "HEAD" {
            return Ok(());
        }
        for number in 0..count {
            if number > 0 {
                self.pause(pause)?;
            }
            reply.body(&frame(chunk(number)))?;
        }
        Ok(())
    }

    /// Waits, and fails where the server ends meanwhile.
    fn pause(&self, wait: Duration) -> io::Result<()> {
        let started = Instant::now();
        loop {
            if self.ending.load(Ordering::SeqCst) {
                return Err(io::Error::other("the server ends"));
            }
            match wait.checked_sub(started.elapsed()) {
                Some(rest) if !rest.is_zero() => thread::sleep(rest.min(STEP)),
                _ => return Ok(()),
            }
        }
    }
}

fn chunk(number: u64) -> String {
    format!("chunk {number}\n")
}

/// A request that has come, with its body.
struct Asked {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    /// The next one; `None` where the client says no more.
    fn read(source: &mut impl BufRead) -> io::Result<Option<Self>> {
        if source.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut head = source.by_ref().take(HEAD_LIMIT);
        let line = read_line(&mut head)?;
        let mut words = line.split(' ');
        let (Some(method), Some(target), Some("HTTP/1.1")) =
            (words.next(), words.next(), words.next())
        else {
            return Err(io::Error::other("not a request"));
        };
        let fields = read_fields(&mut head)?;
        let mut asked =
            Self { method: method.to_owned(), target: target.to_owned(), fields, body: Vec::new() };
        let length = asked.field("content-length").map(|length| length.parse().map_err(invalid));
        match length {
            _ if asked.field("transfer-encoding").is_some() => {
                read_chunks(source, &mut asked.body)?;
            }
            Some(length) => read_exactly(source, length?, &mut asked.body)?,
            None => {}
        }
        Ok(Some(asked))
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields.find_map(|(own, value)| (own == name).then_some(value.as_str()))
    }

    fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A number of the query.
    fn number(&self, name: &str, default: u64) -> u64 {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.find_map(|(own, value)| (own == name).then_some(value));
        value.and_then(|value| value.parse().ok()).unwrap_or(default)
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Where the answer to a request goes.
struct Reply<'a> {
    socket: &'a TcpStream,
    request: &'a Asked,
}

impl Reply<'_> {
    fn head(&mut self, status: &str, fields: &str) -> io::Result<()> {
        let mut socket = self.socket;
        socket.write_all(format!("HTTP/1.1 {status}\r\n{fields}\r\n").as_bytes())
    }

    fn body(&mut self, part: &str) -> io::Result<()> {
        let mut socket = self.socket;
        match self.request.method.as_str() {
            "HEAD" => Ok(()),
            _ => socket.write_all(part.as_bytes()),
        }
    }

    fn whole(&mut self, status: &str, body: &str) -> io::Result<()> {
        self.head(status, &format!("Content-Length: {}\r\n", body.len()))?;
        self.body(body)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::{Client, Request};

    #[test]
    fn upstream_answers_one_request_after_another_on_a_connection() {
        let upstream = Upstream::start();
        let mut connection = Client::new(upstream.address()).connect();
        for (request, status, body) in [
            (Request::get("/hello/x?y"), 200, "hello, x\n"),
            (Request::head("/hello/x"), 200, ""),
            (Request::get("/empty"), 204, ""),
            (Request::get("/fail"), 500, ""),
            (Request::get("/slow?ms=5"), 200, "done\n"),
            (Request::get("/stream?n=2&every_ms=1"), 200, "chunk 0\nchunk 1\n"),
            (Request::head("/stream?n=2&every_ms=1"), 200, ""),
            (Request::get("/stream-known?n=2&every_ms=1"), 200, "chunk 0\nchunk 1\n"),
            (Request::post("/items").json(&json!({})), 201, "{\"id\":1}"),
            (Request::get("/nowhere"), 404, ""),
        ] {
            let response = connection.exchange(&request);
            assert!(response.is_complete, "{}: {response}", request.line());
            assert_eq!((response.status(), response.text().as_str()), (status, body));
        }
        let response = connection.exchange(&Request::get("/headers").header("X-One", "1"));
        let fields = response.json();
        assert_eq!(fields[2], json!(["x-one", "1"]), "{fields}");
        assert_eq!(upstream.requests(), 11);
    }

    #[test]
    fn upstream_cuts_a_stream_that_is_asked_to_fail() {
        let upstream = Upstream::start();
        let response = Client::new(upstream.address()).send(&Request::get("/stream-fail"));
        assert!(!response.is_complete, "{response}");
        assert_eq!(response.text(), "chunk 0\nchunk 1\nchunk 2\n");
    }

    #[test]
    fn upstream_takes_a_body_in_chunks() {
        let upstream = Upstream::start();
        let mut connection = Client::new(upstream.address()).connect();
        let chunked =
            b"POST /items HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        connection.write(chunked).unwrap();
        assert_eq!(connection.receive(false).unwrap().status(), 201);
    }

    /// A test that ends in the middle of a request must not hang.
    #[test]
    fn upstream_ends_at_once_whatever_is_going_on() {
        let upstream = Upstream::start();
        let client = Client::new(upstream.address());
        let mut open: Vec<_> = (0..3).map(|_| client.connect()).collect();
        open[0].send(&Request::get("/slow?ms=60000"));
        open[1].send(&Request::get("/stream?n=10000&every_ms=60000"));
        assert_eq!(open[1].receive_head().status, 200);
        crate::wait::until("both are there", PATIENCE, || match upstream.requests() {
            2 => Ok(()),
            few => Err(format!("{few} requests")),
        });
        let ending = Instant::now();
        drop(upstream);
        assert!(ending.elapsed() < Duration::from_secs(2), "{:?}", ending.elapsed());
    }
}

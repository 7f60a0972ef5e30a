//! A small HTTP/1.1 server on threads, to stand behind the proxy. It keeps every head that reaches it.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Longer heads and bodies are not read.
const LIMIT: u64 = 1024 * 1024;

/// No connection is waited for longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves until it is dropped; what is connected by then is served on.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    heads: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), state) = (stream, Arc::clone(&shared)) else { continue };
                // An end of the connection ends its thread, whoever made it.
                thread::spawn(move || serve(&stream, &state));
            }
        });
        Self { address, state }
    }

    /// The heads of all requests so far, each with its request line.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        // The listener wakes up, and is closed.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: &TcpStream, state: &State) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = read_head(&mut reader)?;
        let body = read_body(&mut reader, &mut head)?;
        state.heads.lock().unwrap().push(head.clone());
        answer(stream, &head, &body)?;
    }
}

fn answer(mut out: &TcpStream, head: &str, body: &[u8]) -> io::Result<()> {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let number = |name: &str, default: u64| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(own, _)| *own == name)
            .find_map(|(_, value)| value.parse().ok())
            .unwrap_or(default)
    };
    let (chunks, pause) = (number("n", 5), Duration::from_millis(number("every_ms", 100)));
    match path {
        "/stream" | "/stream-fail" if method == "GET" => {
            write!(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            for _ in 0..chunks {
                thread::sleep(pause);
                write!(out, "6\r\nchunk\n\r\n")?;
            }
            if path == "/stream-fail" {
                return hang_up(out);
            }
            write!(out, "0\r\n\r\n")
        }
        "/stream-known" | "/known-fail" if method == "GET" => {
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", chunks * 6)?;
            for _ in 0..chunks - u64::from(path == "/known-fail") {
                thread::sleep(pause);
                writeln!(out, "chunk")?;
            }
            if path == "/known-fail" { hang_up(out) } else { Ok(()) }
        }
        "/stream" | "/stream-known" => reply(out, method, "200 OK", &[b'.'; 30]),
        "/slow" => {
            thread::sleep(Duration::from_millis(number("ms", 2000)));
            reply(out, method, "200 OK", b"done\n")
        }
        "/hang-up" => hang_up(out),
        "/talk" => {
            write!(
                out,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            )?;
            let mut word = [0; 5];
            out.read_exact(&mut word)?;
            out.write_all(&word)?;
            // The client ends it.
            out.read_to_end(&mut Vec::new())?;
            hang_up(out)
        }
        "/empty" => write!(out, "HTTP/1.1 204 No Content\r\n\r\n"),
        "/fail" => reply(out, method, "500 Internal Server Error", b"failed\n"),
        "/headers" => reply(out, method, "200 OK", head.as_bytes()),
        "/items" if method == "POST" => reply(out, method, "201 Created", body),
        path if path.starts_with("/hello/") => reply(out, method, "200 OK", b"hello\n"),
        _ => reply(out, method, "404 Not Found", b"nothing here\n"),
    }
}

fn reply(mut out: &TcpStream, method: &str, status: &str, body: &[u8]) -> io::Result<()> {
    let mut answer =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    if method != "HEAD" {
        answer.extend_from_slice(body);
    }
    out.write_all(&answer)
}

fn hang_up(out: &TcpStream) -> io::Result<()> {
    out.shutdown(Shutdown::Both)?;
    Err(ErrorKind::ConnectionAborted.into())
}

/// A head as it came, without the empty line at its end.
fn read_head(reader: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    let mut reader = reader.take(LIMIT);
    loop {
        let before = head.len();
        match reader.read_line(&mut head)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ if head[before..].trim_end().is_empty() => return Ok(head.trim_end().to_owned()),
            _ => {}
        }
    }
}

/// A body by its length or in chunks. Fields that come after it are added to the head.
fn read_body(reader: &mut impl BufRead, head: &mut String) -> io::Result<Vec<u8>> {
    let fields = head.to_ascii_lowercase();
    let field = |name: &str| {
        let mut lines = fields.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(own, _)| *own == name).map(|(_, value)| value)
    };
    let mut body = Vec::new();
    if field("transfer-encoding") != Some("chunked") {
        let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        reader.take(length.min(LIMIT)).read_to_end(&mut body)?;
        return Ok(body);
    }
    loop {
        let mut size = String::new();
        reader.take(LIMIT).read_line(&mut size)?;
        let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        if size == 0 {
            head.push_str("\r\n");
            head.push_str(&read_head(reader)?);
            return Ok(body);
        }
        reader.take(size.min(LIMIT)).read_to_end(&mut body)?;
        reader.take(2).read_line(&mut String::new())?;
    }
}

//! An answer as it comes over the wire: by its length, in chunks, or until the connection closes.

use std::io::{self, BufRead, ErrorKind, Read};

use serde_json::Value;

/// Longer heads and bodies are not read: no answer of the service comes near.
const HEAD_LIMIT: u64 = 64 * 1024;
const BODY_LIMIT: u64 = 4 * 1024 * 1024;

/// Status and headers.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

/// A whole answer, or as much of it as came.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to the end that the head or its last chunk declares.
    pub(crate) is_complete: bool,
    /// The fields behind the body, names in lower case.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Head {
    /// The next final head; interim ones (1xx) are skipped.
    pub(crate) fn read(source: &mut impl BufRead) -> io::Result<Self> {
        let mut source = source.take(HEAD_LIMIT);
        loop {
            let head = Self::read_one(&mut source)?;
            if head.status >= 200 {
                return Ok(head);
            }
        }
    }

    fn read_one(source: &mut impl BufRead) -> io::Result<Self> {
        let start = read_line(source)?;
        let status = start
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5)?.parse().ok())
            .ok_or_else(|| invalid(&start))?;
        Ok(Self { status, headers: read_fields(source)? })
    }

    /// One that came otherwise.
    pub(crate) fn new(status: u16, headers: Vec<(String, String)>) -> Self {
        Self { status, headers }
    }

    /// The first header of this name, which is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find_map(|(own, value)| (own == name).then_some(value.as_str()))
    }

    fn framing(&self, to_head: bool) -> io::Result<Framing> {
        let coding = self.header("transfer-encoding").unwrap_or_default();
        Ok(match self.header("content-length") {
            _ if to_head || matches!(self.status, 204 | 304) => Framing::Length(0),
            _ if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
            Some(length) => Framing::Length(length.parse().map_err(|_| invalid(length))?),
            None => Framing::UntilClosed,
        })
    }
}

impl Response {
    /// Reads one answer; an error means that there was no head.
    pub(crate) fn read(source: &mut impl BufRead, to_head: bool) -> io::Result<Self> {
        let head = Head::read(source)?;
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        let ended = match head.framing(to_head)? {
            Framing::Chunked => read_chunks(source, &mut body).map(|read| trailers = read),
            Framing::Length(length) => read_exactly(source, length, &mut body),
            Framing::UntilClosed => source.take(BODY_LIMIT).read_to_end(&mut body).map(|_| ()),
        };
        match ended {
            Err(error) if is_timeout(&error) => Err(error),
            ended => Ok(Self { head, body, is_complete: ended.is_ok(), trailers }),
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    /// The length of the body that came.
    pub(crate) fn length(&self) -> u64 {
        u64::try_from(self.body.len()).expect("a length fits")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// Panics unless the status is this one.
    #[track_caller]
    pub(crate) fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status(), status, "the status of {self}");
        self
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text().chars().take(2_000).collect();
        write!(formatter, "{:?} {text:?}", self.head)
    }
}

enum Framing {
    Chunked,
    Length(u64),
    UntilClosed,
}

/// The body in chunks; its trailers.
fn read_chunks(source: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<Vec<(String, String)>> {
    loop {
        let line = read_line(&mut source.take(HEAD_LIMIT))?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| invalid(&line))?;
        if size == 0 {
            return read_fields(&mut source.take(HEAD_LIMIT));
        }
        read_exactly(source, size, body)?;
        let end = read_line(&mut source.take(2))?;
        if !end.is_empty() {
            return Err(invalid(&end));
        }
    }
}

/// Header fields or trailers, up to the empty line behind them; names in lower case.
fn read_fields(source: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = read_line(source)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// So many bytes of a body, or an error.
fn read_exactly(source: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let room = BODY_LIMIT.saturating_sub(u64::try_from(body.len()).expect("a length fits"));
    if length > room {
        return Err(invalid("a body that is too long"));
    }
    let read = source.take(length).read_to_end(body)?;
    if u64::try_from(read) == Ok(length) { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// One line, without its end.
fn read_line(source: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    source.read_until(b'\n', &mut line)?;
    let line = line.strip_suffix(b"\n").ok_or(io::Error::from(ErrorKind::UnexpectedEof))?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(String::from_utf8_lossy(line).into_owned())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not HTTP/1.1: {what:?}"))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::Response;

    fn read(wire: &str, to_head: bool) -> (u16, String, bool) {
        let response = Response::read(&mut wire.as_bytes(), to_head).unwrap();
        (response.status(), response.text(), response.is_complete)
    }

    #[test]
    fn body_ends_as_its_head_says() {
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef";
        assert_eq!(read(length, false), (200, "abc".to_owned(), true));
        assert_eq!(read(length, true), (200, String::new(), true));
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(read(chunks, false), (200, "abc0123456789".to_owned(), true));
        let closed = "HTTP/1.0 404 Not Found\r\n\r\ngone";
        assert_eq!(read(closed, false), (404, "gone".to_owned(), true));
        let empty = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(read(empty, false), (204, String::new(), true));
    }

    #[test]
    fn fields_behind_the_last_chunk_are_trailers() {
        let wire = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n\
            1\r\na\r\n0\r\nSum: 7\r\n\r\n";
        let response = Response::read(&mut wire.as_bytes(), false).unwrap();
        assert_eq!(response.trailers, [("sum".to_owned(), "7".to_owned())]);
        let cut = Response::read(&mut &wire.as_bytes()[..wire.len() - 2], false).unwrap();
        assert!(!cut.is_complete && cut.trailers.is_empty(), "{cut}");
    }

    #[test]
    fn body_that_stops_early_is_incomplete() {
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
        assert_eq!(read(length, false), (200, "abc".to_owned(), false));
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        assert_eq!(read(chunks, false), (200, "abc".to_owned(), false));
    }

    #[test]
    fn answer_without_a_head_is_an_error() {
        for wire in ["", "HTTP/1.1 200 OK\r\n", "nonsense\r\n\r\n", "HTTP/1.1 xyz\r\n\r\n"] {
            assert!(Response::read(&mut wire.as_bytes(), false).is_err(), "{wire}");
        }
    }
}

//! A client on a plain socket: what it sends is given byte by byte, and it can leave at any of them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(15);
const LIMIT: u64 = 4 * 1024 * 1024;

/// One connection; dropped, it is closed.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

/// An answer, or as much of it as came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to the end that its head or its last chunk declares.
    pub(crate) is_complete: bool,
}

impl Answer {
    /// The first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A `GET` with a bearer token, and these lines of fields.
pub(crate) fn get(target: &str, token: &str, fields: &[&str]) -> String {
    request("GET", target, token, fields)
}

/// The head of a request with a bearer token, and these lines of fields.
pub(crate) fn request(method: &str, target: &str, token: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test/1\r\n\
         Authorization: Bearer {token}\r\n{fields}\r\n"
    )
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn exchange(&mut self, request: &str) -> Answer {
        self.send(request);
        self.answer(request.split(' ').next().unwrap()).unwrap()
    }

    /// Reads a head, up to the empty line.
    pub(crate) fn head(&mut self) -> io::Result<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if (&mut self.stream).take(LIMIT).read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(head)
    }

    /// Reads so many bytes as they come.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads an answer; an error means that there was no head.
    pub(crate) fn answer(&mut self, method: &str) -> io::Result<Answer> {
        let head = self.head()?;
        let status = head[9..12].parse().map_err(io::Error::other)?;
        let mut answer = Answer { status, head, body: Vec::new(), is_complete: false };
        let length = answer.field("content-length").map(|length| length.parse::<u64>().unwrap());
        let is_chunked = answer.field("transfer-encoding") == Some("chunked");
        let ended = if method == "HEAD" || matches!(status, 101 | 204) {
            Ok(())
        } else if is_chunked {
            self.chunks(&mut answer.body)
        } else {
            self.part(length.expect("its length is declared"), &mut answer.body)
        };
        answer.is_complete = ended.is_ok();
        Ok(answer)
    }

    /// Whether the other side closes without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let mut line = String::new();
            (&mut self.stream).take(LIMIT).read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            self.part(size, body)?;
            self.part(2, &mut Vec::new())?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn part(&mut self, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
        let read = (&mut self.stream).take(length.min(LIMIT)).read_to_end(body)?;
        if u64::try_from(read) == Ok(length) {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

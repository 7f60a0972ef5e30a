//! A tiny HTTP/1.1 client on a plain socket, so that odd requests can be sent and the client can leave at any byte.

mod request;
mod response;

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) use request::{AGENT, Request};
pub(crate) use response::{Head, Response};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a connection a request.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    address: SocketAddr,
}

/// What came back for bytes that need not be a request.
pub(crate) enum Reply {
    Answered(Response),
    Closed,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// A connection that stays open until it is dropped.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Sends one request on a connection of its own; panics unless it is answered.
    pub(crate) fn send(&self, request: &Request) -> Response {
        self.connect().exchange(request)
    }

    /// Sends one request; a closed connection is an answer too, silence is not.
    pub(crate) fn attempt(&self, request: &Request) -> Reply {
        self.attempt_bytes(&request.to_bytes())
    }

    /// Sends any bytes; a closed connection is an answer too, silence is not.
    pub(crate) fn attempt_bytes(&self, bytes: &[u8]) -> Reply {
        let mut connection = self.connect();
        // A server may answer and close before it has read everything.
        let _ = connection.write(bytes);
        connection.reply()
    }
}

/// One connection; dropping it closes it, whatever is still on its way.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)
            .unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
        let set = stream
            .set_read_timeout(Some(TIMEOUT))
            .and_then(|()| stream.set_write_timeout(Some(TIMEOUT)))
            .and_then(|()| stream.set_nodelay(true));
        set.expect("an open socket takes time limits");
        Self { stream: BufReader::new(stream) }
    }

    /// Sends a request and reads the whole answer; panics where there is none.
    pub(crate) fn exchange(&mut self, request: &Request) -> Response {
        self.send(request);
        self.receive(request.is_head())
            .unwrap_or_else(|error| panic!("no answer to {}: {error}", request.line()))
    }

    /// Sends a request and reads nothing.
    pub(crate) fn send(&mut self, request: &Request) {
        self.write(&request.to_bytes())
            .unwrap_or_else(|error| panic!("{} cannot be sent: {error}", request.line()));
    }

    /// Reads the head of an answer only.
    pub(crate) fn receive_head(&mut self) -> Head {
        Head::read(&mut self.stream).unwrap_or_else(|error| panic!("no head: {error}"))
    }

    /// Reads at least this many bytes of a body as they come over the wire.
    pub(crate) fn receive_bytes(&mut self, at_least: usize) -> usize {
        let mut seen = 0;
        while seen < at_least {
            let more = match self.stream.fill_buf() {
                Ok(bytes) => bytes.len(),
                Err(error) => panic!("the body stopped after {seen} bytes: {error}"),
            };
            assert_ne!(more, 0, "the body ended after {seen} bytes");
            self.stream.consume(more);
            seen += more;
        }
        seen
    }

    /// Whether nothing has come that was not read.
    pub(crate) fn is_silent(&mut self) -> bool {
        let socket = self.stream.get_ref();
        socket.set_nonblocking(true).expect("an open socket takes its mode");
        let silent =
            matches!(self.stream.fill_buf(), Err(error) if error.kind() == ErrorKind::WouldBlock);
        let socket = self.stream.get_ref();
        socket.set_nonblocking(false).expect("an open socket takes its mode");
        silent
    }

    /// Reads a whole answer; `to_head` says that it has no body.
    pub(crate) fn receive(&mut self, to_head: bool) -> io::Result<Response> {
        Response::read(&mut self.stream, to_head)
    }

    /// The next answer; a closed connection is one too, silence is not.
    pub(crate) fn reply(&mut self) -> Reply {
        match self.receive(false) {
            Ok(response) => Reply::Answered(response),
            Err(error) if is_closed(&error) => Reply::Closed,
            Err(error) => panic!("neither answered nor closed: {error}"),
        }
    }

    /// Sends any bytes, which fails where the server has closed.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Says that nothing more will be sent; answers can still come.
    pub(crate) fn end_sending(&self) {
        // It fails only where the server has closed already.
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::UnexpectedEof
    )
}

//! Requests that tiny_http must not be left alone with.

use std::io::Write;

use tiny_http::{Request, Response};

/// The longest body that may be declared, in bytes.
const MOST: usize = 64 * 1024 * 1024;

const REFUSAL: &[u8] =
    b"HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Gives back what declares no huge body; what does is refused.
///
/// When a request is dropped, tiny_http 0.12 allocates as much as is left of the body that it declares, whether or not
/// it comes: a request of a stranger that declares more than there is memory would abort the process, and what was not
/// committed yet would be lost. So it is never dropped. It costs a thread and a connection, and these run out, too, but in good
/// order.
pub(crate) fn bearable(request: Request) -> Option<Request> {
    if request.body_length().is_none_or(|length| length <= MOST) {
        return Some(request);
    }
    // Nothing else gives both halves of the connection. Clients pass by what is not the final answer.
    let mut connection = request.upgrade("none", Response::empty(100));
    let _ = connection.write_all(REFUSAL).and_then(|()| connection.flush());
    std::mem::forget(connection);
    None
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;
    use std::time::Duration;

    use tiny_http::Server;

    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    #[test]
    fn what_declares_more_than_there_is_memory_is_refused() {
        let server = Server::http("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(server.server_addr().to_ip().unwrap()).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        write!(stream, "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", u64::MAX / 4).unwrap();
        let request = server.recv_timeout(BOUND).unwrap().unwrap();
        assert!(bearable(request).is_none());
        let mut answer = String::new();
        while !answer.ends_with("Content-Length: 0\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0].into());
        }
        let (interim, last) = answer.split_once("\r\n\r\n").unwrap();
        assert!(interim.starts_with("HTTP/1.1 100 "), "{answer}");
        assert!(last.starts_with("HTTP/1.1 413 "), "{answer}");
    }
}

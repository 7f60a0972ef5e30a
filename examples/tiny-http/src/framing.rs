//! Requests that tiny_http must not be left alone with, because of where they say that they end.

use std::io::Write;

use tiny_http::{Request, Response};

/// The longest body that may be declared, in bytes.
const MOST: usize = 64 * 1024 * 1024;

const REFUSAL: &str = "Connection: close\r\nContent-Length: 0\r\n\r\n";

/// Gives back what says clearly where it ends, and not too far from where it begins; what does not is refused.
///
/// When a request is dropped, tiny_http 0.12 allocates as much as is left of the body that it declares, whether or not
/// that comes: one request of a stranger would abort the process, and what is not committed yet would be lost. And it
/// takes every transfer coding for chunks, whatever length there is beside: what a proxy took for a body would be
/// another request. Such a request is never dropped, so that none is read behind it. That costs a thread and a
/// connection each, which run out, too, but in good order.
pub(crate) fn bearable(request: Request) -> Option<Request> {
    let status = match request.body_length() {
        Some(length) if length > MOST => "413 Payload Too Large",
        _ if is_ambiguous(&request) => "400 Bad Request",
        _ => return Some(request),
    };
    // Nothing else gives both halves of the connection. Clients pass by what is not the final answer.
    let mut connection = request.upgrade("none", Response::empty(100));
    let _ = write!(connection, "HTTP/1.1 {status}\r\n{REFUSAL}").and_then(|()| connection.flush());
    std::mem::forget(connection);
    None
}

/// Whether there is more than one reading of where the body ends (RFC 9112 §6.3).
fn is_ambiguous(request: &Request) -> bool {
    let values = |name| {
        let fields = request.headers().iter().filter(move |one| one.field.equiv(name));
        fields.map(|one| one.value.as_str())
    };
    let mut codings = values("Transfer-Encoding");
    let Some(coding) = codings.next() else { return false };
    !coding.eq_ignore_ascii_case("chunked")
        || codings.next().is_some()
        || values("Content-Length").next().is_some()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;
    use std::time::Duration;

    use tiny_http::Server;

    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    /// What becomes of a request with these fields: nothing, or the status that it is refused with.
    fn refusal(fields: &str) -> Option<u16> {
        let server = Server::http("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(server.server_addr().to_ip().unwrap()).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        write!(stream, "POST / HTTP/1.1\r\n{fields}\r\n\r\n{{}}GET / HTTP/1.1\r\n\r\n").unwrap();
        let request = server.recv_timeout(BOUND).unwrap().unwrap();
        if let Some(request) = bearable(request) {
            stream.shutdown(std::net::Shutdown::Both).unwrap();
            drop(request);
            return None;
        }
        let mut answer = String::new();
        while !answer.ends_with(REFUSAL) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0].into());
        }
        // Dropped, the next would wait for its turn to be answered, which never comes.
        let next = server.recv_timeout(Duration::from_millis(50)).unwrap().map(std::mem::forget);
        assert!(next.is_none(), "{fields}");
        let (interim, last) = answer.split_once("\r\n\r\n").unwrap();
        assert!(interim.starts_with("HTTP/1.1 100 "), "{answer}");
        last.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }

    #[test]
    fn body_of_more_than_there_is_memory_is_refused() {
        assert_eq!(refusal("Content-Length: 67108864"), None);
        assert_eq!(refusal("Content-Length: 67108865"), Some(413));
        assert_eq!(refusal("Content-Length: 4611686018427387904"), Some(413));
    }

    #[test]
    fn body_that_ends_at_two_places_is_refused_and_nothing_read_behind_it() {
        for fields in ["Host: x", "Content-Length: 2", "Transfer-Encoding: CHUNKED"] {
            assert_eq!(refusal(fields), None, "{fields}");
        }
        for fields in [
            "Content-Length: 2\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 2000",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
        ] {
            assert_eq!(refusal(fields), Some(400), "{fields}");
        }
    }
}

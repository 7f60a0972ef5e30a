//! The piece to copy: what authenticates every request of tiny_http and records how it ends.

use std::io::{self, ErrorKind, Read, Write};

use tiny_http::{HTTPVersion, Header, Method, Request, Response, StatusCode};
use token_tracker::{Access, Answer, AuthError, AuthRequest, Identity, TokenTracker};

/// Authenticates with this tracker. Handlers are given the caller, an `Identity`.
#[derive(Clone)]
pub(crate) struct TrackLayer {
    pub(crate) tracker: TokenTracker,
    /// The scope that every request needs.
    pub(crate) scope: Option<&'static str>,
}

impl TrackLayer {
    /// Answers a request of this route template. What the handler leaves of its body is skipped before the answer
    /// is sent.
    pub(crate) fn call<R: Read>(
        &self,
        mut request: Request,
        route: Option<&str>,
        handler: impl FnOnce(&mut Request, Identity) -> Response<R>,
    ) -> io::Result<()> {
        let mut access = match self.authenticate(&request, route) {
            Ok(access) => access,
            Err(refusal) => return request.respond(response(refusal.answer())),
        };
        // Where this panics, the access is dropped, and records it, and the request, which answers 500.
        let response = handler(&mut request, access.identity().clone());
        let length = response.data_length().map(|length| length as u64);
        access.begin_with(response.status_code().0, fields(response.headers()), length);
        send(request, response, access)
    }

    fn authenticate(&self, http: &Request, route: Option<&str>) -> Result<Access, AuthError> {
        let (path, query) = target(http.url());
        let request = AuthRequest::from_headers(fields(http.headers()))
            .method(http.method().as_str())
            .path(path)
            .query(query)
            .route(route)
            .client_address(http.remote_addr().map(|peer| peer.ip()))
            .scope(self.scope);
        self.tracker.authenticate(request)
    }
}

/// The path and the query of a request, which may name a host before them (RFC 9112 §3.2.2).
pub(crate) fn target(url: &str) -> (&str, Option<&str>) {
    let host = url.split_once("://").filter(|_| !url.starts_with('/')).map(|(_, rest)| rest);
    let url = host.map_or(url, |rest| &rest[rest.find(['/', '?']).unwrap_or(rest.len())..]);
    url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)))
}

fn fields(headers: &[Header]) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.iter().map(|one| (one.field.as_str().as_bytes(), one.value.as_bytes()))
}

fn response(answer: Answer) -> Response<io::Empty> {
    let field = |(name, value): (&str, String)| Header::from_bytes(name, value).ok();
    let headers = answer.headers.into_iter().filter_map(field).collect();
    Response::new(StatusCode(answer.status), headers, io::empty(), Some(0), None)
}

/// Sends each part of the body as it comes, and no end after one that failed. `Request::respond` keeps parts back until
/// it has 8 kB of them, and ends what failed as if it were complete.
fn send<R: Read>(mut request: Request, response: Response<R>, access: Access) -> io::Result<()> {
    let (status, length) = (response.status_code(), response.data_length());
    let headers = response.headers().to_vec();
    let most = length.map_or(u64::MAX, |length| length as u64);
    let body = TrackedBody { inner: response.into_reader().take(most), access };
    if *request.http_version() < (1, 1) {
        // HTTP/1.0 has no chunks: a body of unknown length is collected first.
        return request.respond(Response::new(status, headers, body, length, None));
    }
    let is_bodiless =
        *request.method() == Method::Head || matches!(status.0, 100..=199 | 204 | 304);
    // Tells a client that waits to be told so to send its body, which is skipped next.
    request.as_reader();
    let mut out = request.into_writer();
    Response::new(status, headers, io::empty(), length, None)
        .with_chunked_threshold(usize::MAX)
        .raw_print(&mut out, HTTPVersion(1, 1), &[], true, None)?;
    match length {
        _ if is_bodiless => {}
        Some(_) => send_parts(&mut out, body, |out, part| out.write_all(part))?,
        None => {
            let sent = send_parts(&mut out, body, |out, part| {
                write!(out, "{:x}\r\n", part.len())?;
                out.write_all(part)?;
                out.write_all(b"\r\n")
            });
            // The connection cannot be closed from here. What is no chunk, and nobody takes for the last one, tells the
            // client that the body is cut short.
            out.write_all(if sent.is_ok() { b"0\r\n\r\n" } else { b"failed\r\n" })?;
        }
    }
    out.flush()
}

fn send_parts<W: Write>(
    out: &mut W,
    mut body: impl Read,
    write: impl Fn(&mut W, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut part = [0; 8 * 1024];
    loop {
        match body.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(count) => write(out, &part[..count]).and_then(|()| out.flush())?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The body of a response that tells its access what becomes of it.
struct TrackedBody<R> {
    inner: R,
    access: Access,
}

impl<R: Read> Read for TrackedBody<R> {
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(part);
        match &count {
            Ok(0) => self.access.finish(),
            Ok(count) => self.access.sent(*count as u64),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.access.fail(),
        }
        count
    }
}

//! The piece to copy: a poem middleware that authenticates every request and records how it ends. It goes around each
//! endpoint, not around a `Route`: what poem matched is known only inside.

use std::io;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use poem::{Endpoint, Middleware, PathPattern, Request, Response, ResponseParts, Result};
use token_tracker::{Access, AuthError, AuthRequest, TokenTracker, TrackedBody};

/// Authenticates with this tracker. Handlers find the caller as `Data`, an `Identity`.
#[derive(Clone)]
pub(crate) struct Track {
    pub(crate) tracker: TokenTracker,
    /// The scope that every request needs.
    pub(crate) scope: Option<&'static str>,
}

impl<E: Endpoint> Middleware<E> for Track {
    type Output = Tracked<E>;

    fn transform(&self, inner: E) -> Tracked<E> {
        Tracked { inner, track: self.clone() }
    }
}

/// An endpoint behind the middleware.
pub(crate) struct Tracked<E> {
    inner: E,
    track: Track,
}

impl<E: Endpoint> Endpoint for Tracked<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let access = match self.track.authenticate(&request).await {
            Ok(access) => access,
            Err(refusal) => return Ok(response(refusal.answer_to(request.headers()).into())),
        };
        request.set_data(access.identity().clone());
        // Where the client leaves while this waits, the access is dropped, and records it.
        let answer = self.inner.get_response(request).await;
        Ok(response(access.track(answer.into())))
    }
}

impl Track {
    /// From memory where that will do, else on a thread that may block.
    async fn authenticate(&self, request: &Request) -> Result<Access, AuthError> {
        let route = route(request);
        let peer = request.remote_addr().as_socket_addr().map(|address| address.ip());
        let request = AuthRequest::from_headers(request.headers())
            .method(request.method().as_str())
            .path(request.original_uri().path())
            .query(request.uri().query())
            .route(route.as_deref())
            .client_address(peer)
            .scope(self.scope);
        if let Some(answer) = self.tracker.authenticate_cached(&request) {
            return answer;
        }
        let (tracker, request) = (self.tracker.clone(), request.into_owned());
        let answer = tokio::task::spawn_blocking(move || tracker.authenticate(request)).await;
        answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// The template that matched, `/items/:id` as `/items/{id}`. `/*` stands for what has no route.
fn route(request: &Request) -> Option<String> {
    let PathPattern(pattern) = request.data().filter(|PathPattern(pattern)| **pattern != *"/*")?;
    let segment = |segment: &str| match segment.split_once([':', '*']) {
        Some((start, name)) => format!("{start}{{{}}}", name.split('<').next().unwrap_or(name)),
        None => segment.to_owned(),
    };
    Some(pattern.split('/').map(segment).collect::<Vec<_>>().join("/"))
}

/// As poem has it. `Response::from` would lose the length of the body.
fn response(response: http::Response<TrackedBody<BoxBody<Bytes, io::Error>>>) -> Response {
    let (head, body) = response.into_parts();
    let parts = ResponseParts {
        status: head.status,
        version: head.version,
        headers: head.headers,
        extensions: head.extensions,
    };
    Response::from_parts(parts, BoxBody::new(body).into())
}

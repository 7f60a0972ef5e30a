//! The piece to copy: a tower layer that authenticates every request and records how it ends. Generic over
//! the service and its body; what only axum knows comes in as a function.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE};
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode, request};
use http_body::{Body, Frame, SizeHint};
use token_tracker::{Access, AuthError, AuthRequest, TokenTracker};
use tower_layer::Layer;
use tower_service::Service;

/// Authenticates with this tracker. Handlers find the caller as an extension, an `Identity`.
#[derive(Clone)]
pub(crate) struct TrackLayer {
    pub(crate) tracker: TokenTracker,
    /// The scope that every request needs.
    pub(crate) scope: Option<&'static str>,
    /// The route template and the client's address, as the framework knows them.
    pub(crate) describe: fn(&Extensions) -> (Option<&str>, Option<IpAddr>),
}

impl<S> Layer<S> for TrackLayer {
    type Service = Track<S>;

    fn layer(&self, inner: S) -> Track<S> {
        Track { inner, layer: self.clone() }
    }
}

/// A service behind the layer.
#[derive(Clone)]
pub(crate) struct Track<S> {
    inner: S,
    layer: TrackLayer,
}

impl<S, B, R> Service<Request<B>> for Track<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Body,
{
    type Response = Response<TrackedBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone is not ready yet; the one that was polled is.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let mut access = match layer.authenticate(&parts).await {
                Ok(access) => access,
                Err(refusal) => return Ok(refuse(&refusal)),
            };
            parts.extensions.insert(access.identity().clone());
            // Where the client leaves while this waits, the access is dropped, and records it.
            let response = inner.call(Request::from_parts(parts, body)).await;
            let (head, body) = response.inspect_err(|_| access.fail())?.into_parts();
            access.begin(head.status.as_u16(), declared_length(&head.headers, &body));
            if body.is_end_stream() {
                access.finish();
            }
            Ok(Response::from_parts(head, TrackedBody { inner: Some(body), access: Some(access) }))
        })
    }
}

impl TrackLayer {
    /// From memory where that will do, else on a thread that may block.
    async fn authenticate(&self, parts: &request::Parts) -> Result<Access, AuthError> {
        let request = self.describe(parts);
        if let Some(answer) = self.tracker.authenticate_cached(&request) {
            return answer;
        }
        let (tracker, request) = (self.tracker.clone(), request.into_owned());
        let answer = tokio::task::spawn_blocking(move || tracker.authenticate(request)).await;
        answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    fn describe<'a>(&self, parts: &'a request::Parts) -> AuthRequest<'a> {
        let mut request = AuthRequest::from_authorization(parts.headers.get_all(AUTHORIZATION))
            .query(parts.uri.query())
            .path(parts.uri.path())
            .method(parts.method.as_str());
        let (route, address) = (self.describe)(&parts.extensions);
        if let Some(route) = route {
            request = request.route(route);
        }
        if let Some(address) = address {
            request = request.client_address(address);
        }
        if let Some(agent) = parts.headers.get(USER_AGENT) {
            request = request.user_agent(agent);
        }
        if let Some(scope) = self.scope {
            request = request.scope(scope);
        }
        request
    }
}

fn refuse<R>(refusal: &AuthError) -> Response<TrackedBody<R>> {
    let mut response = Response::new(TrackedBody { inner: None, access: None });
    *response.status_mut() =
        StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let challenge = refusal.www_authenticate().map(HeaderValue::try_from);
    if let Some(Ok(challenge)) = challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(wait) = refusal.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
    }
    response
}

fn declared_length(headers: &HeaderMap, body: &impl Body) -> Option<u64> {
    let header = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    header.or(body.size_hint().exact())
}

pin_project_lite::pin_project! {
    /// A response's body that tells the ticket what becomes of it. Empty for a refusal.
    pub(crate) struct TrackedBody<R> {
        #[pin]
        inner: Option<R>,
        access: Option<Access>,
    }
}

impl<R: Body<Data = Bytes>> Body for TrackedBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let frame = ready!(inner.as_mut().poll_frame(context));
        if let Some(access) = this.access {
            match &frame {
                // Nothing can follow trailers, and servers ask for nothing more.
                Some(Ok(frame)) if frame.is_trailers() => access.finish(),
                Some(Ok(frame)) => {
                    access.sent(frame.data_ref().map_or(0, |data| data.len() as u64));
                }
                Some(Err(_)) => access.fail(),
                None => access.finish(),
            }
            // Servers do not ask again once a body says that it is at its end.
            if inner.is_end_stream() {
                access.finish();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

//! The piece to copy: a tower layer that authenticates every request and records how it ends. Generic over the service
//! and its body, for axum, tonic and all that is built of tower; what only the framework knows comes in as a function.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, request};
use http_body::Body;
use token_tracker::{Access, AuthError, AuthRequest, TokenTracker, TrackedBody, TrustedProxies};
use tower_layer::Layer;
use tower_service::Service;

/// Authenticates with this tracker. Handlers find the caller as an extension, an `Identity`.
#[derive(Clone)]
pub(crate) struct TrackLayer {
    pub(crate) tracker: TokenTracker,
    /// Whose word is taken for who the client is; nobody's by default.
    pub(crate) proxies: TrustedProxies,
    pub(crate) describe: fn(&request::Parts) -> Known<'_>,
}

/// What only the framework knows of a request.
pub(crate) struct Known<'a> {
    /// The route template, where one matched.
    pub(crate) route: Option<&'a str>,
    /// Who is at the other end of the connection.
    pub(crate) peer: Option<IpAddr>,
    /// The scope that the request needs.
    pub(crate) scope: Option<&'a str>,
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
                Err(refusal) => return Ok(refusal.response_to(&parts)),
            };
            parts.extensions.insert(access.identity().clone());
            // Where the client leaves while this waits, the access is dropped, and records it.
            match inner.call(Request::from_parts(parts, body)).await {
                Ok(response) => Ok(access.track(response)),
                Err(error) => {
                    access.fail();
                    Err(error)
                }
            }
        })
    }
}

impl TrackLayer {
    /// From memory where that will do, else on a thread that may block.
    async fn authenticate(&self, parts: &request::Parts) -> Result<Access, AuthError> {
        let Known { route, peer, scope } = (self.describe)(parts);
        let client = peer.and_then(|peer| self.proxies.client_address(peer, &parts.headers));
        let request =
            AuthRequest::from_parts(parts).route(route).client_address(client).scope(scope);
        if let Some(answer) = self.tracker.authenticate_cached(&request) {
            return answer;
        }
        let (tracker, request) = (self.tracker.clone(), request.into_owned());
        let answer = tokio::task::spawn_blocking(move || tracker.authenticate(request)).await;
        answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

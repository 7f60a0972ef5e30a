//! The piece to copy: a function around a handler that authenticates the request and records how it ends. For bare
//! hyper, and for whatever has requests and responses of the `http` crate.

use std::future::Future;
use std::net::IpAddr;

use http::{Request, Response, request};
use http_body::Body;
use token_tracker::{Access, AuthError, AuthRequest, TokenTracker, TrackedBody};

/// Authenticates with this tracker. Handlers find the caller as an extension, an `Identity`.
#[derive(Clone)]
pub(crate) struct Track<'a> {
    pub(crate) tracker: &'a TokenTracker,
    /// The scope that the request needs.
    pub(crate) scope: Option<&'a str>,
    /// The route template, where one matched.
    pub(crate) route: Option<&'a str>,
    pub(crate) peer: IpAddr,
}

impl Track<'_> {
    pub(crate) async fn call<B, R, E, F>(
        &self,
        request: Request<B>,
        handler: impl FnOnce(Request<B>) -> F,
    ) -> Result<Response<TrackedBody<R>>, E>
    where
        F: Future<Output = Result<Response<R>, E>>,
        R: Body,
    {
        let (mut parts, body) = request.into_parts();
        let mut access = match self.authenticate(&parts).await {
            Ok(access) => access,
            Err(refusal) => return Ok(refusal.response_to(&parts)),
        };
        parts.extensions.insert(access.identity().clone());
        // Where the client leaves while this waits, the access is dropped, and records it.
        match handler(Request::from_parts(parts, body)).await {
            Ok(response) => Ok(access.track(response)),
            Err(error) => {
                access.fail();
                Err(error)
            }
        }
    }

    /// From memory where that will do, else on a thread that may block.
    async fn authenticate(&self, parts: &request::Parts) -> Result<Access, AuthError> {
        let request = AuthRequest::from_parts(parts)
            .route(self.route)
            .client_address(self.peer)
            .scope(self.scope);
        if let Some(answer) = self.tracker.authenticate_cached(&request) {
            return answer;
        }
        let (tracker, request) = (self.tracker.clone(), request.into_owned());
        let answer = tokio::task::spawn_blocking(move || tracker.authenticate(request)).await;
        answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

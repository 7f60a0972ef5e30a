//! The piece to copy: a middleware of actix-web that authenticates every request and records how it ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage, HttpResponse, HttpResponseBuilder, rt};
use token_tracker::{Access, Answer, AuthError, AuthRequest, TokenTracker};

/// Authenticates with this tracker. Handlers find the caller as an extension, an `Identity`.
#[derive(Clone)]
pub(crate) struct TrackLayer {
    pub(crate) tracker: TokenTracker,
    /// The scope that every request needs.
    pub(crate) scope: Option<&'static str>,
}

impl TrackLayer {
    /// What `from_fn` makes a middleware of.
    pub(crate) async fn call<B: MessageBody>(
        self,
        request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<TrackedBody<B>>, Error> {
        let mut access = match self.authenticate(&request).await {
            Ok(access) => access,
            Err(refusal) => return Ok(request.into_response(response(refusal.answer()))),
        };
        request.extensions_mut().insert(access.identity().clone());
        // Where the client leaves while this waits, the access is dropped, and records it.
        match next.call(request).await {
            Ok(response) => Ok(track(access, response)),
            Err(error) => {
                // It is made a response of further out, with this status; the body goes unseen.
                access.begin(error.as_response_error().status_code().as_u16(), Some(0));
                Err(error)
            }
        }
    }

    /// From memory where that will do, else on a thread that may block.
    async fn authenticate(&self, http: &ServiceRequest) -> Result<Access, AuthError> {
        let route = http.match_pattern();
        let request = AuthRequest::from_headers(http.headers())
            .method(http.method().as_str())
            .path(http.path())
            .query(http.uri().query())
            .route(route.as_deref())
            .client_address(http.peer_addr().map(|peer| peer.ip()))
            .scope(self.scope);
        if let Some(answer) = self.tracker.authenticate_cached(&request) {
            return answer;
        }
        let (tracker, request) = (self.tracker.clone(), request.into_owned());
        let answer = rt::task::spawn_blocking(move || tracker.authenticate(request)).await;
        answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

fn response<B>(answer: Answer) -> HttpResponse<TrackedBody<B>> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponseBuilder::new(status);
    for field in answer.headers {
        response.insert_header(field);
    }
    response.finish().map_body(|_, _| TrackedBody { inner: None, access: None })
}

/// Records the request by what becomes of its response: the head now, then the body as it is sent.
fn track<B: MessageBody>(
    mut access: Access,
    response: ServiceResponse<B>,
) -> ServiceResponse<TrackedBody<B>> {
    let length = match response.response().body().size() {
        BodySize::None => Some(0),
        BodySize::Sized(length) => Some(length),
        BodySize::Stream => None,
    };
    access.begin_with(response.status().as_u16(), response.headers(), length);
    response.map_body(|_, inner| TrackedBody { inner: Some(inner), access: Some(access) })
}

pin_project_lite::pin_project! {
    /// The body of a response that tells its access what becomes of it; empty where the request was refused.
    pub(crate) struct TrackedBody<B> {
        #[pin]
        inner: Option<B>,
        access: Option<Access>,
    }
}

impl<B: MessageBody> MessageBody for TrackedBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.inner.as_ref().map_or(BodySize::Sized(0), MessageBody::size)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, B::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
        let chunk = ready!(inner.poll_next(context));
        if let Some(access) = this.access {
            match &chunk {
                None => access.finish(),
                Some(Err(_)) => access.fail(),
                Some(Ok(bytes)) => access.sent(bytes.len() as u64),
            }
        }
        Poll::Ready(chunk)
    }
}

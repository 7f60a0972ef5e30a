//! Requests and answers as types of the `http` crate, and the body that keeps a ticket.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::http::{HeaderName, HeaderValue, Response, StatusCode, request};
use bytes::Buf;
use http_body::{Body, Frame, SizeHint};

use crate::access::Access;
use crate::refusal::{Answer, AuthError};
use crate::request::AuthRequest;

impl<'a> AuthRequest<'a> {
    /// A request with what the head of an HTTP request says: its method, path and query, its `Authorization` and its
    /// `User-Agent`. Needs the feature `http`.
    ///
    /// ```
    /// # use token_tracker::{AuthRequest, NewToken, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// let bearer = format!("Bearer {}", issued.secret.expose());
    /// let request = http::Request::get("/items/7").header("authorization", bearer).body(())?;
    /// let (parts, ()) = request.into_parts();
    /// let access = tracker.authenticate(AuthRequest::from_parts(&parts).route("/items/{id}"))?;
    /// assert_eq!(access.identity().owner(), "alice");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn from_parts(parts: &'a request::Parts) -> Self {
        Self::from_headers(&parts.headers)
            .method(parts.method.as_str())
            .path(parts.uri.path())
            .query(parts.uri.query())
    }
}

impl AuthError {
    /// The whole answer to the request with this head, as [`answer_to`](AuthError::answer_to) gives it. Needs the
    /// feature `http`.
    #[must_use]
    pub fn response_to<B>(&self, parts: &request::Parts) -> Response<TrackedBody<B>> {
        self.answer_to(&parts.headers).into()
    }
}

impl<B> From<Answer> for Response<TrackedBody<B>> {
    fn from(answer: Answer) -> Self {
        let mut response = Response::new(TrackedBody { inner: None, access: None });
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in answer.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

impl Access {
    /// Records the request by what becomes of its response: the head now, then the body as it is sent. Settled as soon
    /// as nothing more can come; a body that is dropped before that is recorded as `unfinished`. Needs the feature
    /// `http`.
    ///
    /// ```
    /// # use token_tracker::{NewToken, TokenTracker, TrackedBody};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// # fn send(body: TrackedBody<String>) {}
    /// let access = tracker.authenticate(&issued.secret)?;
    /// let response: http::Response<TrackedBody<String>> =
    ///     access.track(http::Response::new("hello\n".to_owned()));
    /// send(response.into_body()); // the client leaves before the first byte of it
    ///
    /// tracker.flush()?;
    /// let record = tracker.stats().token(issued.token.id).recent(1)?.remove(0);
    /// assert_eq!((record.status, record.outcome.as_str()), (200, "unfinished"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn track<B: Body>(mut self, response: Response<B>) -> Response<TrackedBody<B>> {
        let (head, body) = response.into_parts();
        self.begin_with(head.status.as_u16(), &head.headers, body.size_hint().exact());
        if body.is_end_stream() {
            self.finish();
        }
        Response::from_parts(head, TrackedBody { inner: Some(body), access: Some(self) })
    }
}

pin_project_lite::pin_project! {
    /// The body of a response that tells its [`Access`] what becomes of it: of [`Access::track`], and empty of
    /// [`AuthError::response_to`]. Costs an addition a frame. Needs the feature `http`.
    #[derive(Debug)]
    pub struct TrackedBody<B> {
        #[pin]
        inner: Option<B>,
        access: Option<Access>,
    }
}

impl<B> TrackedBody<B> {
    /// A body that nobody watches, for routes that want no token and share a type with those that do.
    #[must_use]
    pub fn untracked(body: B) -> Self {
        Self { inner: Some(body), access: None }
    }
}

impl<B: Body> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let frame = ready!(inner.as_mut().poll_frame(context));
        if let Some(access) = this.access {
            observe(access, frame.as_ref().map(Result::as_ref));
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

fn observe<D: Buf, E>(access: &mut Access, frame: Option<Result<&Frame<D>, &E>>) {
    match frame {
        None => access.finish(),
        Some(Err(_)) => access.fail(),
        Some(Ok(frame)) => match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => access.sent(u64::try_from(data.remaining()).unwrap_or(u64::MAX)),
            // Nothing can follow trailers, and servers ask for nothing more.
            (None, Some(fields)) => access.trailers(fields),
            (None, None) => {}
        },
    }
}

//! The two ways in which `authenticate` does not let a request through.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::denial::Denied;
use crate::error::Error;
use crate::grpc;

/// No challenge belongs to it (RFC 6585 §4).
const TOO_MANY_REQUESTS: u16 = 429;

/// Why a request is not let through: it is refused, or nobody can tell.
#[derive(Debug)]
#[non_exhaustive]
pub enum AuthError {
    /// An answer: the token is no good, or not good for this.
    Denied(Denied),
    /// A failure of the storage. Never the client's fault.
    Unavailable(Unavailable),
}

impl AuthError {
    /// The HTTP status to answer with: that of the denial, or 503.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Denied(denied) => denied.status(),
            Self::Unavailable(unavailable) => unavailable.status(),
        }
    }

    /// The value of the `WWW-Authenticate` header to answer with, for a denial. `None` with the status 429, too:
    /// no other credential is asked for.
    #[must_use]
    pub fn www_authenticate(&self) -> Option<String> {
        match self {
            Self::Denied(denied) if denied.status() == TOO_MANY_REQUESTS => None,
            Self::Denied(denied) => Some(denied.www_authenticate()),
            Self::Unavailable(_) => None,
        }
    }

    /// The value of the `Retry-After` header to answer with, in whole seconds: see
    /// [`Denied::retry_after`](crate::Denied::retry_after).
    ///
    /// ```
    /// # use token_tracker::TokenTracker;
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// let error = tracker.authenticate("made-up").unwrap_err();
    /// assert_eq!(error.retry_after().map(|wait| wait.as_secs()), None);
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Denied(denied) => denied.retry_after(),
            Self::Unavailable(_) => None,
        }
    }
}

impl AuthError {
    /// The whole answer to give over HTTP: its status and its header fields. There is no body.
    ///
    /// ```
    /// # use token_tracker::{AuthRequest, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// let none = AuthRequest::from_headers([("accept", "*/*")]);
    /// let answer = tracker.authenticate(none).unwrap_err().answer();
    /// assert_eq!(answer.status, 401);
    /// assert_eq!(answer.headers, [("www-authenticate", "Bearer".to_owned())]);
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    #[must_use]
    pub fn answer(&self) -> Answer {
        let challenge = self.www_authenticate().map(|challenge| ("www-authenticate", challenge));
        let wait = self.retry_after().map(|wait| ("retry-after", wait.as_secs().to_string()));
        Answer { status: self.status(), headers: challenge.into_iter().chain(wait).collect() }
    }

    /// The answer to a request with these header fields: one of gRPC where `Content-Type` says so, else
    /// [`answer`](AuthError::answer). gRPC says UNAUTHENTICATED, PERMISSION_DENIED, RESOURCE_EXHAUSTED, INVALID_ARGUMENT
    /// or UNAVAILABLE, in a response of the header fields alone.
    ///
    /// ```
    /// # use token_tracker::TokenTracker;
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// let refusal = tracker.authenticate("made-up").unwrap_err();
    /// let answer = refusal.answer_to([("content-type", "application/grpc+proto")]);
    /// assert_eq!(answer.status, 200);
    /// assert!(answer.headers.contains(&("grpc-status", "16".to_owned())));
    /// assert!(answer.headers.contains(&("grpc-message", "the token is malformed".to_owned())));
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    #[must_use]
    pub fn answer_to<N, V>(&self, headers: impl IntoIterator<Item = (N, V)>) -> Answer
    where
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut answer = self.answer();
        let is_grpc = headers.into_iter().any(|(name, value)| {
            name.as_ref().eq_ignore_ascii_case(b"content-type") && grpc::is_grpc(value.as_ref())
        });
        if is_grpc {
            let code = grpc::code_of_refusal(answer.status);
            answer.status = 200;
            answer.headers.extend([
                ("content-type", "application/grpc".to_owned()),
                ("grpc-status", code.to_string()),
                ("grpc-message", self.to_string()),
            ]);
        }
        answer
    }
}

/// What to answer where a request is not let through. The body is empty.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header fields, by their names in lower case. Values are plain ASCII, and nothing that a client sent is in
    /// them.
    pub headers: Vec<(&'static str, String)>,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => denied.fmt(f),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
        }
    }
}

impl StdError for AuthError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Denied(_) => None,
            Self::Unavailable(unavailable) => unavailable.source(),
        }
    }
}

impl From<Unavailable> for AuthError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

/// The storage could not be asked. Answer 503; the request says nothing about the token.
#[derive(Debug)]
pub struct Unavailable {
    source: Error,
}

impl Unavailable {
    pub(crate) fn new(source: Error) -> Self {
        Self { source }
    }

    /// The HTTP status to answer with: 503.
    #[must_use]
    pub fn status(&self) -> u16 {
        503
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the token cannot be checked at present")
    }
}

impl StdError for Unavailable {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}

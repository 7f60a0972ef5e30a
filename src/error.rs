//! Failures: what the library could not do, as against [`Denied`](crate::Denied), which is an answer.

use std::error::Error as StdError;
use std::fmt;

/// Why a call failed, opaque but for its [`kind`](Error::kind) and, where one argument is at fault,
/// the [`field`](Error::field). Never holds a token or a key.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    field: Option<&'static str>,
    message: String,
    source: Option<anyhow::Error>,
}

/// What a caller can tell apart about an [`Error`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The name is taken by a living token of this owner, or the credential is already known.
    AlreadyExists,
    /// The credential was replaced already, or its rotation is still under way.
    AlreadyRotated,
    /// The database is locked by someone else and stayed so for the busy timeout.
    Busy,
    /// Whoever was told of the progress said to stop. Nothing is left of what would be of no use half done.
    Cancelled,
    /// The wall clock moved by over a minute against the monotonic one, and nothing is removed or marked by it
    /// before [`confirm_clock`](crate::TokenTracker::confirm_clock).
    ClockInDoubt,
    /// The tracker is closed.
    Closed,
    /// The question took longer than it may: see [`StatsQuery::deadline`](crate::StatsQuery::deadline).
    DeadlineExceeded,
    /// The token is past its expiry. An edit of the expiry brings it back.
    Expired,
    /// The token that is acted with [in whose name](crate::Tokens::on_behalf_of) may not do this, or not any longer.
    /// Where something would be given that it does not have, [`Error::field`] names it.
    Forbidden,
    /// An argument is out of its bounds; [`Error::field`] names it.
    InvalidInput,
    /// A record was accepted and could not be stored before the tracker closed.
    Lost,
    /// The file was written by a newer version of this library.
    NewerSchema,
    /// The file is not a database of this library.
    NotADatabase,
    /// The change is in force in this process and could not be committed: repeat it.
    NotDurable,
    /// There is no such token, credential, owner or page.
    NotFound,
    /// A writer that was given cannot be written to; the source says why.
    Output,
    /// The token is revoked, and that is final.
    Revoked,
    /// The storage failed: disk full, file damaged, no permission.
    Storage,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { kind, field: None, message: message.into(), source: None }) }
    }

    /// An argument out of bounds; `message` reads as the end of a sentence about `field`.
    pub(crate) fn invalid(field: &'static str, message: impl fmt::Display) -> Self {
        let mut error = Self::new(ErrorKind::InvalidInput, format!("`{field}` {message}"));
        error.inner.field = Some(field);
        error
    }

    pub(crate) fn with_source(mut self, source: anyhow::Error) -> Self {
        self.inner.source = Some(source);
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The argument or knob at fault, for [`ErrorKind::InvalidInput`], [`ErrorKind::AlreadyExists`] and
    /// [`ErrorKind::Forbidden`].
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        self.inner.field
    }

    pub(crate) fn naming(mut self, field: &'static str) -> Self {
        self.inner.field = Some(field);
        self
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("field", &self.inner.field)
            .field("message", &self.inner.message)
            .field("source", &self.inner.source)
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_ref().map(|source| -> &(dyn StdError + 'static) { source.as_ref() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_field_and_gives_its_source() {
        let error = Error::invalid("days", "must be 1 to 3650, not 0")
            .with_source(anyhow::anyhow!("underneath"));
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.field(), Some("days"));
        assert_eq!(error.to_string(), "`days` must be 1 to 3650, not 0");
        assert_eq!(error.source().map(ToString::to_string), Some("underneath".to_owned()));
    }
}

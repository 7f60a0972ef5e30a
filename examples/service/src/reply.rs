//! An answer, before any HTTP stack has a type for it.

use serde_json::{Value, json};
use token_tracker::{Error, ErrorKind};

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Its header fields, but for the length of the body.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// 200, with this text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        let headers = vec![("content-type", "text/plain; charset=utf-8")];
        Self { status: 200, headers, body: text.into().into_bytes() }
    }

    pub(crate) fn json(status: u16, value: &Value) -> Self {
        let headers = vec![("content-type", "application/json")];
        Self { status, headers, body: value.to_string().into_bytes() }
    }

    pub(crate) fn bad_request(message: &str) -> Self {
        Self::json(400, &json!({ "error": message }))
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::InvalidInput => 400,
            ErrorKind::NotFound => 404,
            ErrorKind::AlreadyExists
            | ErrorKind::AlreadyRotated
            | ErrorKind::Expired
            | ErrorKind::Revoked => 409,
            _ => 503,
        };
        Self::json(status, &json!({ "error": error.to_string() }))
    }
}

//! A request as bytes, with nothing in it that was not asked for.

use bytes::Bytes;
use serde_json::Value;

/// The user agent of every request that does not bring its own.
pub(crate) const AGENT: &str = "black-box/1.0 (suite)";

/// One request; header values are bytes, so that they can be wrong.
#[derive(Clone)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn head(target: impl Into<String>) -> Self {
        Self::new("HEAD", target)
    }

    pub(crate) fn post(target: impl Into<String>) -> Self {
        Self::new("POST", target)
    }

    pub(crate) fn delete(target: impl Into<String>) -> Self {
        Self::new("DELETE", target)
    }

    /// One with any method.
    pub(crate) fn new(method: impl Into<String>, target: impl Into<String>) -> Self {
        let (method, target) = (method.into(), target.into());
        Self { method, target, headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a bearer token.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Adds a header, beside any of the same name.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets a body of this JSON.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.json_text(&body.to_string())
    }

    /// Sets a body that says that it is JSON, and need not be.
    pub(crate) fn json_text(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self.header("Content-Type", "application/json")
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Method and target, shortened, for a message.
    pub(crate) fn line(&self) -> String {
        let start = |text: &str| text.chars().take(120).collect::<String>();
        format!("{} {}", start(&self.method), start(&self.target))
    }

    /// The same as HTTP/2 has it.
    pub(crate) fn to_http2(&self) -> http::Request<Bytes> {
        let uri = format!("http://127.0.0.1{}", self.target);
        let mut request = http::Request::builder().method(self.method.as_str()).uri(uri);
        if !self.has("User-Agent") {
            request = request.header("User-Agent", AGENT);
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value.as_slice());
        }
        let body = Bytes::from(self.body.clone());
        request.body(body).unwrap_or_else(|error| panic!("{}: {error}", self.line()))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        push_header(&mut bytes, "Host", b"127.0.0.1");
        if !self.has("User-Agent") {
            push_header(&mut bytes, "User-Agent", AGENT.as_bytes());
        }
        for (name, value) in &self.headers {
            push_header(&mut bytes, name, value);
        }
        if !self.body.is_empty() || self.method == "POST" {
            let length = self.body.len().to_string();
            push_header(&mut bytes, "Content-Length", length.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(own, _)| *own == name)
    }
}

fn push_header(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

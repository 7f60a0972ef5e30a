//! The piece to copy: a proxy that authenticates each request, tells the upstream who is calling, and records how the
//! request ends. Where the upstream is, which routes there are and what needs no token come in as settings.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora_core::{Error, ErrorSource, InternalError, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{ProxyHttp, Session};
use token_tracker::{Access, AuthError, AuthRequest, Identity, TokenTracker};

/// A proxy in front of one upstream.
pub(crate) struct TrackedProxy {
    pub(crate) tracker: TokenTracker,
    pub(crate) upstream: HttpPeer,
    /// The route template of a request, where there is one.
    pub(crate) route: fn(&RequestHeader) -> Option<&str>,
    /// The status of an answer that the proxy gives by itself: for anybody, and never recorded.
    pub(crate) open: fn(&RequestHeader) -> Option<u16>,
}

#[async_trait]
impl ProxyHttp for TrackedProxy {
    /// The access of the request, once it is allowed. Where a request is dropped half-way, it records that.
    type CTX = Option<Access>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    async fn request_filter(&self, session: &mut Session, access: &mut Self::CTX) -> Result<bool> {
        let (status, fields) = match (self.open)(session.req_header()) {
            Some(status) => (status, Vec::new()),
            None => match self.authenticate(session).await? {
                Ok(allowed) => {
                    *access = Some(allowed);
                    return Ok(false);
                }
                Err(refusal) => {
                    let answer = refusal.answer();
                    (answer.status, answer.headers)
                }
            },
        };
        let mut head = ResponseHeader::build(status, None)?;
        head.insert_header(CONTENT_LENGTH, 0)?;
        for (name, value) in fields {
            head.insert_header(name, value)?;
        }
        session.write_response_header(Box::new(head), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        let mut peer = self.upstream.clone();
        // `Connection` does not get through: it could name a field of ours, for the upstream to drop.
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        access: &mut Self::CTX,
    ) -> Result<()> {
        let Some(access) = access else {
            return Error::e_explain(InternalError, "only what is allowed goes to the upstream");
        };
        let names = request.headers.keys();
        let claims: Vec<_> = names.filter(Identity::is_header_field).cloned().collect();
        for name in claims.iter().chain([&AUTHORIZATION]) {
            request.remove_header(name);
        }
        for (name, value) in access.identity().header_fields() {
            request.insert_header(name, value)?;
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        head: &mut ResponseHeader,
        access: &mut Self::CTX,
    ) -> Result<()> {
        if let Some(access) = access {
            access.begin_with(head.status.as_u16(), &head.headers, None);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        access: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        if let (Some(access), Some(bytes)) = (access, body) {
            access.sent(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        }
        Ok(None)
    }

    /// Comes last, whatever happened before.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, access: &mut Self::CTX) {
        let Some(mut access) = access.take() else { return };
        // An answer of pingora's own, such as 502, has passed no filter; any other begins as it began.
        if let Some(head) = session.response_written() {
            access.begin_with(head.status.as_u16(), &head.headers, None);
        }
        match error.map(Error::esource) {
            None => access.finish(),
            // The client is gone: dropped, this is `unfinished`.
            Some(ErrorSource::Downstream) => drop(access),
            Some(_) => access.fail(),
        }
    }
}

impl TrackedProxy {
    /// From memory where that will do, else on a thread that may block.
    async fn authenticate(&self, session: &Session) -> Result<Result<Access, AuthError>> {
        let head = session.req_header();
        let peer = session.client_addr().and_then(|address| address.as_inet());
        let request = AuthRequest::from_parts(head)
            .route((self.route)(head))
            .client_address(peer.map(|address| address.ip()));
        if let Some(answer) = self.tracker.authenticate_cached(&request) {
            return Ok(answer);
        }
        let (tracker, request) = (self.tracker.clone(), request.into_owned());
        let answer = tokio::task::spawn_blocking(move || tracker.authenticate(request)).await;
        answer.or_err(InternalError, "while a token was looked up")
    }
}

//! What a request that was allowed gets: who is calling, and its ticket.

use crate::grpc;
use crate::identity::Identity;
use crate::quota::QuotaState;
use crate::record::{Method, Outcome};
use crate::ticket::{Head, Ticket};

const GRPC_STATUS: &[u8] = b"grpc-status";

/// A request that was allowed: who is calling, and the ticket that records how it ends.
///
/// Services that see the end of a request hand it to [`Usage::of`](crate::Usage::of). Adapters that
/// stream keep it, tell it what they see, and let it settle itself:
///
/// * [`begin`](Access::begin) when the head is ready, [`sent`](Access::sent) for each part of the body,
///   [`finish`](Access::finish) or [`fail`](Access::fail) at its end. The request is settled as soon as
///   nothing more can come: servers stop asking for a body once its declared length is reached.
/// * Dropped before that, it records `unfinished` with the status that was sent, else 499.
/// * Dropped by a panic, it records 500 and `server_error`.
///
/// The first settlement counts; all later ones do nothing. Settling never waits: it puts the record in
/// a queue, or counts it as dropped where that is full. The duration runs to the settlement.
///
/// ```
/// # use token_tracker::{AuthRequest, NewToken, Outcome, TokenTracker};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
/// let request = AuthRequest::from(&issued.secret).method("GET").route("/report");
/// let mut access = tracker.authenticate(request)?;
/// access.begin(200, None);
/// access.sent(1_024);
/// access.finish();
///
/// tracker.flush()?;
/// let record = tracker.stats().token(issued.token.id).recent(1)?.remove(0);
/// assert_eq!((record.outcome, record.response_bytes), (Outcome::Success, 1_024));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "an access that is dropped at once is recorded as unfinished"]
#[derive(Debug)]
pub struct Access {
    identity: Identity,
    ticket: Ticket,
    grpc: Grpc,
}

/// Whether the end of a call is told by a `grpc-status`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Grpc {
    /// It is, and that has not come yet.
    Awaited,
    /// It has come.
    Ended,
    /// It is not.
    None,
}

impl Access {
    pub(crate) fn new(identity: Identity, ticket: Ticket) -> Self {
        Self { identity, ticket, grpc: Grpc::None }
    }

    pub(crate) fn into_ticket(self) -> Ticket {
        self.ticket
    }

    /// Who is calling. A clone of it is what handlers get.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How the limits of the token's [`Quota`](crate::Quota) stand now, the rate first: what `RateLimit` fields say.
    /// Nothing where it has none. What this request reserved is used. Put together when asked for.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use token_tracker::{NewToken, Quota, QuotaWindow, Rate, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// let quota = Quota::new().rate(Rate::per_minute(60)).per_day(1_000);
    /// let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop").quota(quota))?;
    /// let access = tracker.authenticate(&issued.secret)?;
    /// let [rate, day] = access.quota().try_into().unwrap();
    /// assert_eq!((rate.window, rate.limit, rate.remaining), (QuotaWindow::Rate, 60, 59));
    /// assert_eq!((day.window, day.limit, day.remaining), (QuotaWindow::Day, 1_000, 999));
    /// assert!(day.reset <= Duration::from_secs(86_400));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn quota(&self) -> Vec<QuotaState> {
        self.identity.grant.quota_states()
    }

    /// Says the route template where it is known only after routing.
    pub fn set_route(&mut self, route: &str) {
        self.ticket.set_route(route);
    }

    /// The head of the response is ready: its status (kept within 100 to 999) and the length of the body
    /// where that is declared. Settles where no body can follow: to a HEAD request or a CONNECT that
    /// succeeds, after 101, 204 and 304 (RFC 9110 §6.4.1), and where the length is 0. Other 1xx heads are
    /// not final, and pass by.
    pub fn begin(&mut self, status: u16, length: Option<u64>) {
        let status = status.clamp(100, 999);
        if status < 200 && status != 101 {
            return;
        }
        self.ticket.head = Some(Head { status, length });
        let bodiless = match self.ticket.method() {
            Method::HEAD => true,
            Method::CONNECT => status < 300,
            _ => false,
        };
        if bodiless || matches!(status, 101 | 204 | 304) || length == Some(0) {
            self.ticket.end(Outcome::of_status(status));
        }
    }

    /// As [`begin`](Access::begin), with what the response's header fields say, in any order: `Content-Length`, which
    /// goes before the `length` that the body itself knows, and for gRPC `Content-Type` and `grpc-status`.
    ///
    /// A gRPC call is recorded by the status of its end, as the HTTP status that stands for it: NOT_FOUND as 404,
    /// UNAUTHENTICATED as 401, INTERNAL as 500 and so on (`google.rpc.Code`), UNIMPLEMENTED as 501, or as 404 where
    /// there was no route. One that ends without a status has failed.
    ///
    /// ```
    /// # use token_tracker::{AuthRequest, NewToken, Outcome, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// let request = AuthRequest::from(&issued.secret).route("/items.Items/Get");
    /// let mut access = tracker.authenticate(request)?;
    /// access.begin_with(200, [("content-type", "application/grpc")], None);
    /// access.sent(17);
    /// access.trailers([("grpc-status", "5"), ("grpc-message", "no such item")]);
    ///
    /// tracker.flush()?;
    /// let record = tracker.stats().token(issued.token.id).recent(1)?.remove(0);
    /// assert_eq!((record.status, record.outcome), (404, Outcome::ClientError));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn begin_with<N, V>(
        &mut self,
        status: u16,
        headers: impl IntoIterator<Item = (N, V)>,
        length: Option<u64>,
    ) where
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let (mut status, mut declared) = (status, None);
        for (name, value) in headers {
            let (name, value) = (name.as_ref(), value.as_ref());
            if name.eq_ignore_ascii_case(b"content-length") {
                declared = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            } else if name.eq_ignore_ascii_case(GRPC_STATUS) {
                status = grpc::http_status(value, self.ticket.has_route());
                self.grpc = Grpc::Ended;
            } else if name.eq_ignore_ascii_case(b"content-type")
                && self.grpc == Grpc::None
                && grpc::is_grpc(value)
            {
                self.grpc = Grpc::Awaited;
            }
        }
        // What is awaited comes after the last byte.
        let length = declared.or(length).filter(|_| self.grpc != Grpc::Awaited);
        self.begin(status, length);
    }

    /// So many more bytes of the body are handed to the transport. Settles where the declared length is
    /// reached.
    pub fn sent(&mut self, bytes: u64) {
        self.ticket.response_bytes = self.ticket.response_bytes.saturating_add(bytes);
        let length = self.ticket.head.and_then(|head| head.length);
        if length.is_some_and(|length| self.ticket.response_bytes >= length) {
            self.finish();
        }
    }

    /// The body has come to its end. The outcome follows from the status; a body shorter than its declared
    /// length has failed.
    pub fn finish(&mut self) {
        let sent = self.ticket.response_bytes;
        self.ticket.end(match self.ticket.head {
            None => Outcome::Unfinished,
            Some(_) if self.grpc == Grpc::Awaited => Outcome::ServerError,
            Some(Head { length: Some(length), .. }) if sent < length => Outcome::ServerError,
            Some(head) => Outcome::of_status(head.status),
        });
    }

    /// The body has ended with these trailer fields: [`finish`](Access::finish), with the status that a `grpc-status`
    /// among them says ([`begin_with`](Access::begin_with)).
    pub fn trailers<N, V>(&mut self, fields: impl IntoIterator<Item = (N, V)>)
    where
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut fields = fields.into_iter();
        let status = fields.find(|(name, _)| name.as_ref().eq_ignore_ascii_case(GRPC_STATUS));
        if let (Some((_, code)), Some(head)) = (status, self.ticket.head) {
            let status = grpc::http_status(code.as_ref(), self.ticket.has_route());
            self.ticket.head = Some(Head { status, ..head });
            self.grpc = Grpc::Ended;
        }
        self.finish();
    }

    /// The handler or the body failed: `server_error`, with the status that was sent, else 500.
    pub fn fail(&mut self) {
        self.ticket.end(Outcome::ServerError);
    }

    /// Whether the request is settled, or was never to be recorded.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.ticket.is_settled()
    }
}

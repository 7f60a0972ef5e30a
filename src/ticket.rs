//! The ticket of a request: armed when it is authenticated, settled once, whatever happens.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::address::{ClientAddress, ClientAddresses};
use crate::clock::Clock;
use crate::identity::Identity;
use crate::meter::Reservation;
use crate::queue::{Entrance, Queue};
use crate::quota::QuotaState;
use crate::reason::DenialReason;
use crate::receipt::Receipt;
use crate::record::{Late, Method, Outcome, Record};
use crate::request::Facts;
use crate::texts::shared;
use crate::timestamp::{Timestamp, micros};
use crate::token::{CredentialId, TokenId};

/// The status recorded for a client that left before there was one.
const CLIENT_CLOSED_REQUEST: u16 = 499;

const MAX_ROUTE: usize = 256;
const MAX_USER_AGENT: usize = 256;

/// Bytes of a character in UTF-8, at most: what is cut within one is not to be taken for broken.
const LONGEST_CHARACTER: usize = 4;

/// Where tickets settle. Holding it keeps neither the threads nor the file of a tracker. Alone on its lines
/// of memory: each ticket counts a reference.
#[repr(align(64))]
pub(crate) struct Recorder {
    pub(crate) queue: Arc<Queue>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether a receipt resolves only when the record is committed.
    pub(crate) acknowledges_commit: bool,
    pub(crate) client_addresses: ClientAddresses,
}

/// What is known of a request so far. Settles when dropped.
pub(crate) struct Ticket {
    /// `None` where nothing is recorded, and once it is settled.
    recorder: Option<Arc<Recorder>>,
    token: TokenId,
    started: Duration,
    denied: Option<DenialReason>,
    /// The credential, where its use is late.
    late: Option<CredentialId>,
    head: Option<Head>,
    method: Method,
    route: Option<Arc<str>>,
    user_agent: Option<Arc<str>>,
    /// What is kept of it: nobody after the ticket sees more.
    client_address: Option<ClientAddress>,
    /// Whether nothing is kept that could tell who the client was.
    anonymous: bool,
    pub(crate) response_bytes: u64,
    pub(crate) cost: u32,
    /// What the request took of a quota, until it is settled.
    reservation: Option<Reservation>,
}

/// The head of a response that was sent.
#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    length: Option<u64>,
}

impl Ticket {
    pub(crate) fn armed(
        recorder: Option<Arc<Recorder>>,
        token: TokenId,
        facts: &Facts<'_>,
        addresses: &ClientAddresses,
        started: Duration,
    ) -> Self {
        let mut ticket = Self {
            recorder,
            token,
            started,
            denied: None,
            late: None,
            head: None,
            method: Method::default(),
            route: None,
            user_agent: None,
            client_address: facts.client_address.and_then(|address| addresses.kept(address)),
            anonymous: false,
            response_bytes: 0,
            cost: facts.units(),
            reservation: None,
        };
        if ticket.recorder.is_some() {
            facts.method.iter().for_each(|method| ticket.set_method(method));
            facts.route.iter().for_each(|route| ticket.set_route(route));
            facts.user_agent.iter().for_each(|agent| ticket.set_user_agent(agent));
        }
        ticket
    }

    /// Notes that the credential is dead or on its way out, if it is.
    pub(crate) fn late(mut self, credential: Option<CredentialId>) -> Self {
        self.late = credential;
        self
    }

    pub(crate) fn reserving(mut self, reservation: Option<Reservation>) -> Self {
        self.reservation = reservation;
        self
    }

    pub(crate) fn denied(mut self, reason: DenialReason) -> Self {
        self.denied = Some(reason);
        self
    }

    /// Forgets who the client was, and whatever is said of him later.
    pub(crate) fn anonymous(mut self) -> Self {
        (self.client_address, self.user_agent, self.anonymous) = (None, None, true);
        self
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.anonymous
    }

    /// What is kept of it.
    pub(crate) fn client_address(&self) -> Option<ClientAddress> {
        self.client_address
    }

    pub(crate) fn set_client_address(&mut self, address: IpAddr) {
        let recorder = self.recorder.as_ref().filter(|_| !self.anonymous);
        self.client_address = recorder.and_then(|recorder| recorder.client_addresses.kept(address));
    }

    pub(crate) fn set_method(&mut self, method: &str) {
        self.method = Method::named(method);
    }

    pub(crate) fn set_route(&mut self, route: &str) {
        self.route = Some(route_text(route));
    }

    pub(crate) fn set_user_agent(&mut self, agent: &[u8]) {
        if self.anonymous {
            return;
        }
        self.user_agent = Some(agent_text(agent));
    }

    /// Settles with what [`Usage`](crate::Usage) says; a denial stays one.
    pub(crate) fn settle(
        &mut self,
        status: Option<u16>,
        elapsed: Option<Duration>,
        blocking: bool,
    ) -> Receipt {
        let outcome = status.map_or(Outcome::Unfinished, Outcome::of_status);
        self.enter(status, outcome, elapsed, blocking)
    }

    fn end(&mut self, outcome: Outcome) {
        let status = self.head.map(|head| head.status);
        let _ = self.enter(status, outcome, None, false);
    }

    fn enter(
        &mut self,
        status: Option<u16>,
        outcome: Outcome,
        elapsed: Option<Duration>,
        blocking: bool,
    ) -> Receipt {
        // A quota counts whether or not the request is recorded.
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(self.cost);
        }
        let Some(recorder) = self.recorder.take() else { return Receipt::nothing_to_store() };
        let (outcome, suggested) = match self.denied {
            Some(reason) => (Outcome::Denied(reason), reason.status()),
            None if outcome == Outcome::ServerError => (outcome, 500),
            None => (outcome, CLIENT_CLOSED_REQUEST),
        };
        let elapsed =
            elapsed.unwrap_or_else(|| recorder.clock.monotonic().saturating_sub(self.started));
        let record = Record {
            at: Timestamp::from(recorder.clock.now()),
            token: self.token,
            route: self.route.take(),
            method: self.method,
            status: status.unwrap_or(suggested),
            outcome,
            duration_us: micros(elapsed),
            response_bytes: self.response_bytes,
            client_address: self.client_address,
            user_agent: self.user_agent.take(),
            cost: self.cost.into(),
            weight: 1,
            late: self.late.map(|credential| Box::new(Late { credential, newest: None })),
        };
        let queue = &recorder.queue;
        match if blocking { queue.push_waiting(record) } else { queue.push(record) } {
            Entrance::Dropped => Receipt::dropped(),
            Entrance::Enqueued(position) if recorder.acknowledges_commit => {
                Receipt::pending(Arc::clone(queue), position)
            }
            Entrance::Enqueued(_) => Receipt::acknowledged(),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Nobody said what the request was worth in the end: what was reserved stays used.
        drop(self.reservation.take());
        if self.recorder.is_some() {
            let panicking = std::thread::panicking();
            self.end(if panicking { Outcome::ServerError } else { Outcome::Unfinished });
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("token", &self.token)
            .field("route", &self.route)
            .field("denied", &self.denied)
            .field("settled", &self.recorder.is_none())
            .finish_non_exhaustive()
    }
}

/// A route template as it is kept.
pub(crate) fn route_text(route: &str) -> Arc<str> {
    shared(shortened(route, MAX_ROUTE))
}

/// A `User-Agent` as it is kept.
pub(crate) fn agent_text(agent: &[u8]) -> Arc<str> {
    // Cut first: a megabyte of agent is not to be converted for the sake of its start.
    let start = &agent[..agent.len().min(MAX_USER_AGENT + LONGEST_CHARACTER)];
    shared(shortened(&String::from_utf8_lossy(start), MAX_USER_AGENT))
}

/// The longest start of a text that has at most so many bytes.
fn shortened(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

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
}

impl Access {
    pub(crate) fn new(identity: Identity, ticket: Ticket) -> Self {
        Self { identity, ticket }
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
        let bodiless = match self.ticket.method {
            Method::HEAD => true,
            Method::CONNECT => status < 300,
            _ => false,
        };
        if bodiless || matches!(status, 101 | 204 | 304) || length == Some(0) {
            self.ticket.end(Outcome::of_status(status));
        }
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
            Some(Head { length: Some(length), .. }) if sent < length => Outcome::ServerError,
            Some(head) => Outcome::of_status(head.status),
        });
    }

    /// The handler or the body failed: `server_error`, with the status that was sent, else 500.
    pub fn fail(&mut self) {
        self.ticket.end(Outcome::ServerError);
    }

    /// Whether the request is settled, or was never to be recorded.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.ticket.recorder.is_none()
    }
}

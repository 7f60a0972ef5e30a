//! The ticket of a request: armed when it is authenticated, settled once, whatever happens.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::address::{ClientAddress, ClientAddresses};
use crate::clock::Clock;
use crate::meter::Reservation;
use crate::queue::{Entrance, Queue};
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
    pub(crate) head: Option<Head>,
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
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) length: Option<u64>,
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

    pub(crate) fn method(&self) -> Method {
        self.method
    }

    pub(crate) fn has_route(&self) -> bool {
        self.route.is_some()
    }

    /// Whether nothing is left to record.
    pub(crate) fn is_settled(&self) -> bool {
        self.recorder.is_none()
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

    /// Settles with the status that was sent.
    pub(crate) fn end(&mut self, outcome: Outcome) {
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
        if !self.is_settled() {
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
            .field("settled", &self.is_settled())
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

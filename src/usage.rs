//! Usage: what one request did, as it is handed in.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::access::Access;
use crate::denial::Denied;
use crate::ticket::Ticket;

/// What a request did, for [`TokenTracker::record`](crate::TokenTracker::record).
///
/// For services that know the end of a request when they see it. Those that stream, or that can lose
/// their client half-way, keep the [`Access`] itself and let it settle.
///
/// ```
/// # use std::time::Duration;
/// # use token_tracker::{NewToken, TokenTracker, Usage};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
/// let access = tracker.authenticate(&issued.secret)?;
/// let usage = Usage::of(access)
///     .route("GET", "/v1/items/{id}")
///     .status(200)
///     .elapsed(Duration::from_micros(830))
///     .response_bytes(512);
/// tracker.record(usage).wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a usage that is dropped is recorded as unfinished"]
pub struct Usage {
    ticket: Option<Ticket>,
    status: Option<u16>,
    elapsed: Option<Duration>,
}

impl Usage {
    /// The usage of a request that was allowed ([`Access`]) or refused ([`Denied`]). That of a refused
    /// stranger records nothing: there is no token to record it under.
    pub fn of(settled: impl Into<Settled>) -> Self {
        Self { ticket: settled.into().0, status: None, elapsed: None }
    }

    /// The method and the route template, such as `GET` and `/items/{id}`.
    pub fn route(mut self, method: &str, route: &str) -> Self {
        self.with(|ticket| {
            ticket.set_method(method);
            ticket.set_route(route);
        });
        self
    }

    /// The response's status, kept within 100 to 999. Without one the record is `unfinished`, 499.
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status.clamp(100, 999));
        self
    }

    /// How long the request took. Without this: since `authenticate`, on the monotonic clock.
    pub fn elapsed(mut self, elapsed: Duration) -> Self {
        self.elapsed = Some(elapsed);
        self
    }

    /// The length of the response's body.
    pub fn response_bytes(mut self, bytes: u64) -> Self {
        self.with(|ticket| ticket.response_bytes = bytes);
        self
    }

    /// The client's address, of which is kept what [the builder says](crate::ClientAddresses).
    pub fn client_address(mut self, address: IpAddr) -> Self {
        self.with(|ticket| ticket.set_client_address(address));
        self
    }

    /// The `User-Agent` header.
    pub fn user_agent(mut self, agent: impl AsRef<[u8]>) -> Self {
        self.with(|ticket| ticket.set_user_agent(agent.as_ref()));
        self
    }

    /// What the request was worth, in units of the service's own; what [`AuthRequest::cost`](crate::AuthRequest::cost)
    /// said unless said here. Of the token's [`Quota`](crate::Quota) what it was not is given back, and what it was more
    /// is charged, beyond the limit too, in the windows that it began in, as long as they last. Each process keeps
    /// what is over the limit by itself, and pays it with what it next takes out of the file in that window.
    pub fn cost(mut self, cost: u32) -> Self {
        self.with(|ticket| ticket.cost = cost);
        self
    }

    fn with(&mut self, set: impl FnOnce(&mut Ticket)) {
        if let Some(ticket) = &mut self.ticket {
            set(ticket);
        }
    }

    /// The ticket, with everything said written on it, and the outcome to settle it with.
    pub(crate) fn into_parts(self) -> Option<(Ticket, Option<u16>, Option<Duration>)> {
        self.ticket.map(|ticket| (ticket, self.status, self.elapsed))
    }
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage")
            .field("ticket", &self.ticket)
            .field("status", &self.status)
            .field("elapsed", &self.elapsed)
            .finish()
    }
}

/// What [`Usage::of`] takes: an [`Access`] or a [`Denied`].
pub struct Settled(Option<Ticket>);

impl fmt::Debug for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settled").field(&self.0).finish()
    }
}

impl From<Access> for Settled {
    fn from(access: Access) -> Self {
        Self(Some(access.into_ticket()))
    }
}

impl From<Denied> for Settled {
    fn from(denied: Denied) -> Self {
        Self(denied.into_ticket())
    }
}

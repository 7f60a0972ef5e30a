//! What is told to a service as it happens: to its hook, on a thread of the hook's own.

use std::time::Duration;

use time::OffsetDateTime;

use crate::health::Health;
use crate::reason::DenialReason;
use crate::token::TokenId;

/// What a service wants to be told of. Every method does nothing unless it is written.
///
/// Methods are called one after the other on a thread of their own, never on that of a request. Events wait in a
/// queue of a thousand; what comes while it is full is dropped and counted. A method that panics or sleeps keeps
/// nobody but later events waiting.
pub trait Hook: Send + Sync + 'static {
    /// A verified token was refused. Of one token for one reason, ten a minute are told.
    fn denied(&self, event: &DeniedEvent) {
        let _ = event;
    }

    /// A token is not used any longer.
    fn dormant(&self, event: &DormantEvent) {
        let _ = event;
    }

    /// A token expires soon.
    fn expiring(&self, event: &ExpiringEvent) {
        let _ = event;
    }

    /// A token was used for the first time.
    fn first_use(&self, event: &FirstUseEvent) {
        let _ = event;
    }

    /// The tracker's condition changed: what is not well, or is well again.
    fn health_changed(&self, health: &Health) {
        let _ = health;
    }

    /// A token was used from an address for the first time, and it was used from others before.
    fn new_address(&self, event: &NewAddressEvent) {
        let _ = event;
    }

    /// A credential was used after it had been replaced and its time was over (RFC 9700 §4.14.2): whoever uses it
    /// missed the rotation, or stole it.
    fn reuse(&self, event: &DeniedEvent) {
        let _ = event;
    }

    /// So much of a quota is used up, told once a window.
    fn threshold(&self, event: &ThresholdEvent) {
        let _ = event;
    }
}

/// Whose token an event is about.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Subject {
    /// The token.
    pub token_id: TokenId,
    /// Whom it belongs to.
    pub owner: String,
    /// Its name.
    pub name: String,
}

/// A request that was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DeniedEvent {
    /// The token.
    pub subject: Subject,
    /// When.
    pub at: OffsetDateTime,
    /// Why.
    pub reason: DenialReason,
    /// From where, as addresses are kept.
    pub client_address: Option<String>,
    /// With which `User-Agent`.
    pub user_agent: Option<String>,
    /// To which route.
    pub route: Option<String>,
}

/// A token that is not used any longer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DormantEvent {
    /// The token.
    pub subject: Subject,
    /// When it was last used; `None` for never.
    pub last_used_at: Option<OffsetDateTime>,
}

/// A token that expires soon.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ExpiringEvent {
    /// The token.
    pub subject: Subject,
    /// When it expires.
    pub expires_at: OffsetDateTime,
}

/// The first use of a token.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct FirstUseEvent {
    /// The token.
    pub subject: Subject,
    /// When.
    pub at: OffsetDateTime,
}

/// The first use of a token from an address.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct NewAddressEvent {
    /// The token.
    pub subject: Subject,
    /// When.
    pub at: OffsetDateTime,
    /// From where, as addresses are kept.
    pub client_address: String,
}

/// How much of a quota is used up.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ThresholdEvent {
    /// The token.
    pub subject: Subject,
    /// Of which window: `minute`, `hour`, `day` or `month`.
    pub window: &'static str,
    /// The units of the window.
    pub limit: u64,
    /// How much of it is taken, in percent: 80 or 100.
    pub percent: u8,
    /// How long until the next window begins.
    pub reset: Duration,
}

/// One event on its way to the hook.
#[derive(Debug)]
pub(crate) enum Event {
    Denied(DeniedEvent),
    Dormant(DormantEvent),
    Expiring(ExpiringEvent),
    FirstUse(FirstUseEvent),
    HealthChanged(Box<Health>),
    NewAddress(NewAddressEvent),
    Reuse(DeniedEvent),
    Threshold(ThresholdEvent),
}

/// Where events are told. Without a hook nothing is even put together.
#[derive(Default)]
pub(crate) struct Events {
    hook: Option<()>,
}

impl Events {
    /// Tells of an event, if anybody listens. Never waits.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.hook.is_some() {
            drop(event());
        }
    }
}

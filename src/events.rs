//! What is told to a service as it happens: to its hook, on a thread of the hook's own.

mod dispatch;
mod pacing;

use std::time::Duration;

use time::OffsetDateTime;

use crate::address::ClientAddress;
use crate::health::Health;
use crate::reason::DenialReason;
use crate::token::TokenId;
pub(crate) use dispatch::Events;

/// What a service wants to be told of. Every method does nothing unless it is written.
///
/// Given to [`Builder::hook`](crate::Builder::hook). Methods are called one after the other on a thread of the
/// tracker's own, never on that of a request. Events wait in a queue of 1,024; what comes while it is full is dropped
/// and counted ([`Health::events_dropped`]). A method that panics is counted ([`Health::hook_panics`]), and the next
/// event is told all the same; one that sleeps keeps nobody but later events waiting. When the tracker closes, what
/// waits is told for up to a second; after that the thread is left behind, and what it was not told is dropped.
///
/// What is written in the file is told after its commit, by the process that wrote it: once, whatever the number of
/// processes. An event is lost, never told twice, where the process ends between the two or where the queue is full.
///
/// A hook that calls the tracker holds it weakly, because the tracker holds the hook. Here one suspends a token that
/// was replaced and is used all the same:
///
/// ```
/// use std::sync::{Arc, OnceLock};
/// use token_tracker::{DeniedEvent, Hook, TokenTracker, WeakTokenTracker};
///
/// struct SuspendOnReuse(Arc<OnceLock<WeakTokenTracker>>);
///
/// impl Hook for SuspendOnReuse {
///     fn reuse(&self, event: &DeniedEvent) {
///         let Some(tracker) = self.0.get().and_then(WeakTokenTracker::upgrade) else { return };
///         let tokens = tracker.tokens().acting_as("hook").because("a replaced credential was used");
///         if let Err(error) = tokens.suspend(event.subject.token_id) {
///             eprintln!("{} goes on: {error}", event.subject.token_id);
///         }
///     }
/// }
///
/// let slot = Arc::new(OnceLock::new());
/// let tracker = TokenTracker::builder().hook(SuspendOnReuse(Arc::clone(&slot))).in_memory()?;
/// assert!(slot.set(tracker.downgrade()).is_ok());
/// # Ok::<(), token_tracker::Error>(())
/// ```
pub trait Hook: Send + Sync + 'static {
    /// A verified token was refused, whether usage is recorded or not. Of one token for one reason, a process tells of
    /// ten a minute; what is beyond is no event, and no drop. Nothing is told of strangers: anybody can be one. What is
    /// told to [`reuse`](Hook::reuse) is not told here.
    fn denied(&self, event: &DeniedEvent) {
        let _ = event;
    }

    /// A token that can be used was not used for the time of [`Builder::dormant_after`](crate::Builder::dormant_after),
    /// counted from its last use, its creation, or when last use came to be tracked, whichever is latest. Told once, and
    /// again only after it was used and fell dormant again. Suspended tokens and those that are expired are not dormant,
    /// and none is while last use is not tracked.
    ///
    /// Found by a census of all tokens: an hour late at most, and later where more fall dormant than the queue of
    /// events has room for. It pauses while [`Health::clock_in_doubt`].
    fn dormant(&self, event: &DormantEvent) {
        let _ = event;
    }

    /// A token expires within the time of [`Builder::expiring_within`](crate::Builder::expiring_within). Told once an
    /// expiry: one that is edited is told again. Suspended tokens are told of too: a suspension stops no clock. A token
    /// that lives shorter than that time is told of at the first census after it was issued.
    ///
    /// Found as [`dormant`](Hook::dormant) tokens are.
    fn expiring(&self, event: &ExpiringEvent) {
        let _ = event;
    }

    /// A token was used for the first time, as far as is known: its last use was empty before. Not told while last use
    /// is not tracked.
    fn first_use(&self, event: &FirstUseEvent) {
        let _ = event;
    }

    /// The tracker's condition changed: what is not well, or is well again. Told once a change of
    /// [`degraded`](Health::degraded), [`poisoned`](Health::poisoned), [`clock_in_doubt`](Health::clock_in_doubt) or of
    /// whether there is an [`upkeep_error`](Health::upkeep_error), and at the first record that is
    /// [`dropped`](Health::dropped) since the last such change. Noticed at the writer's next turn, within a minute.
    fn health_changed(&self, health: &Health) {
        let _ = health;
    }

    /// A token was used from an address for the first time, and from others before. A use is a recorded request that
    /// was not refused. Of each token the 64 addresses that were seen last are known, and each as long as daily sums are
    /// kept; those from before there was a hook are not.
    ///
    /// Of one token, a process tells of ten a minute; what is beyond is no event, and no drop. Of the records that it
    /// commits together it looks at 32 addresses of a token, and 512 of all, that it does not remember: what is beyond
    /// is looked at when it is used again.
    fn new_address(&self, event: &NewAddressEvent) {
        let _ = event;
    }

    /// A credential was used after it had been replaced and its time was over (RFC 9700 §4.14.2): whoever uses it
    /// missed the rotation, or stole it. Paced as [`denied`](Hook::denied), which is not told of it.
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
    pub client_address: Option<ClientAddress>,
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
    /// When it was last used; `None` where no use is known.
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
    pub client_address: ClientAddress,
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

impl Event {
    /// A denial is told as one thing: reuse where that is the reason.
    pub(crate) fn of_denial(event: DeniedEvent) -> Self {
        match event.reason {
            DenialReason::CredentialRetired => Self::Reuse(event),
            _ => Self::Denied(event),
        }
    }

    fn tell(&self, hook: &dyn Hook) {
        match self {
            Self::Denied(event) => hook.denied(event),
            Self::Dormant(event) => hook.dormant(event),
            Self::Expiring(event) => hook.expiring(event),
            Self::FirstUse(event) => hook.first_use(event),
            Self::HealthChanged(health) => hook.health_changed(health),
            Self::NewAddress(event) => hook.new_address(event),
            Self::Reuse(event) => hook.reuse(event),
            Self::Threshold(event) => hook.threshold(event),
        }
    }
}

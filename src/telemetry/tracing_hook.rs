//! A hook that tells what happens to the subscribers of the `tracing` crate.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{Level, event};

use crate::events::{
    DeniedEvent, DormantEvent, ExpiringEvent, FirstUseEvent, Hook, NewAddressEvent, Subject,
    ThresholdEvent,
};
use crate::health::Health;

const TARGET: &str = "token_tracker";

/// A [`Hook`] that makes an event of the [`tracing`] crate of each that it is told, and tells another hook, if there is
/// one. Needs the feature `tracing`.
///
/// All have the target `token_tracker`. Their attributes have the names that OpenTelemetry's semantic conventions have
/// for them, where those do: `error.type` (the reason), `http.route`, `client.address` (as addresses are kept),
/// `user_agent.original`, `enduser.id` (the owner), `exception.message`. The others begin with `token_tracker.`: each
/// event about a token has `token_tracker.token.id` and `token_tracker.token.name`. Times are texts by RFC 3339. What
/// is not known is left out. No secret is ever in an event; owners, addresses and agents are personal data, which
/// whoever keeps the events has to answer for.
///
/// | name | level | attributes |
/// |---|---|---|
/// | `token_tracker.token.denied` | info | `error.type`, `http.route`, `client.address`, `user_agent.original` |
/// | `token_tracker.token.reuse` | warn | the same |
/// | `token_tracker.token.dormant` | info | `token_tracker.token.last_used_at` |
/// | `token_tracker.token.expiring` | warn | `token_tracker.token.expires_at` |
/// | `token_tracker.token.first_use` | info | |
/// | `token_tracker.token.new_address` | info | `client.address` |
/// | `token_tracker.quota.threshold` | info, warn at 100 % | `token_tracker.quota.window`, `.limit`, `.percent`, `.reset_s` |
/// | `token_tracker.health.changed` | error where the storage fails, else warn where anything is not well or records were dropped since the last, else info | `token_tracker.condition.degraded`, `.poisoned`, `.clock_in_doubt`, `.upkeep_failing`, `token_tracker.records.dropped`, `exception.message` |
///
/// They come from the thread of the hook, in no span, and paced as the [`Hook`] says.
///
/// ```
/// use token_tracker::{DeniedEvent, Hook, TokenTracker, TracingHook};
///
/// struct Alarm;
///
/// impl Hook for Alarm {
///     fn reuse(&self, event: &DeniedEvent) {
///         eprintln!("a credential of {} was used after its time", event.subject.token_id);
///     }
/// }
///
/// let tracker = TokenTracker::builder().hook(TracingHook::new().then(Alarm)).in_memory()?;
/// # Ok::<(), token_tracker::Error>(())
/// ```
#[derive(Default)]
pub struct TracingHook {
    next: Option<Box<dyn Hook>>,
    /// How many records were dropped when a change was last told.
    dropped: AtomicU64,
}

impl TracingHook {
    /// One that tells nobody else.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells `hook` too, after the event is made. It takes the place of one that was given before.
    #[must_use]
    pub fn then(self, hook: impl Hook) -> Self {
        Self { next: Some(Box::new(hook)), ..self }
    }

    fn tell(&self, tell: impl FnOnce(&dyn Hook)) {
        if let Some(hook) = &self.next {
            tell(&**hook);
        }
    }
}

impl fmt::Debug for TracingHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracingHook").field("then", &self.next.is_some()).finish()
    }
}

/// An event about a token. Texts are recorded as such, which subscribers escape, and never formatted into a message.
macro_rules! of_token {
    ($level:expr, $name:literal, $subject:expr, { $($fields:tt)* }, $message:literal) => {{
        let Subject { token_id, owner, name } = $subject;
        event!(
            name: $name,
            target: TARGET,
            $level,
            token_tracker.token.id = token_id.to_string(),
            token_tracker.token.name = name.as_str(),
            enduser.id = owner.as_str(),
            $($fields)*
            $message
        )
    }};
}

macro_rules! of_denial {
    ($level:expr, $name:literal, $event:expr, $message:literal) => {{
        let address = $event.client_address.map(|address| address.to_string());
        of_token!($level, $name, &$event.subject, {
            "error.type" = $event.reason.as_str(),
            http.route = $event.route.as_deref(),
            client.address = address.as_deref(),
            user_agent.original = $event.user_agent.as_deref(),
        }, $message);
    }};
}

macro_rules! of_threshold {
    ($level:expr, $event:expr) => {
        of_token!($level, "token_tracker.quota.threshold", &$event.subject, {
            token_tracker.quota.window = $event.window,
            token_tracker.quota.limit = $event.limit,
            token_tracker.quota.percent = $event.percent,
            token_tracker.quota.reset_s = $event.reset.as_secs_f64(),
        }, "a quota is used up to a threshold")
    };
}

macro_rules! of_health {
    ($level:expr, $health:expr) => {
        event!(
            name: "token_tracker.health.changed",
            target: TARGET,
            $level,
            token_tracker.condition.degraded = $health.degraded,
            token_tracker.condition.poisoned = $health.poisoned,
            token_tracker.condition.clock_in_doubt = $health.clock_in_doubt,
            token_tracker.condition.upkeep_failing = $health.upkeep_error.is_some(),
            token_tracker.records.dropped = $health.dropped,
            exception.message = $health.last_error.as_ref().or($health.upkeep_error.as_ref()),
            "the tracker's condition changed"
        )
    };
}

impl Hook for TracingHook {
    fn denied(&self, event: &DeniedEvent) {
        of_denial!(Level::INFO, "token_tracker.token.denied", event, "a token was refused");
        self.tell(|hook| hook.denied(event));
    }

    fn dormant(&self, event: &DormantEvent) {
        of_token!(Level::INFO, "token_tracker.token.dormant", &event.subject, {
            token_tracker.token.last_used_at = event.last_used_at.and_then(text),
        }, "a token is not used any longer");
        self.tell(|hook| hook.dormant(event));
    }

    fn expiring(&self, event: &ExpiringEvent) {
        of_token!(Level::WARN, "token_tracker.token.expiring", &event.subject, {
            token_tracker.token.expires_at = text(event.expires_at),
        }, "a token expires soon");
        self.tell(|hook| hook.expiring(event));
    }

    fn first_use(&self, event: &FirstUseEvent) {
        of_token!(
            Level::INFO,
            "token_tracker.token.first_use",
            &event.subject,
            {},
            "a token was used for the first time"
        );
        self.tell(|hook| hook.first_use(event));
    }

    fn health_changed(&self, health: &Health) {
        let drops = self.dropped.swap(health.dropped, Ordering::Relaxed) < health.dropped;
        if health.degraded || health.poisoned {
            of_health!(Level::ERROR, health);
        } else if drops || health.clock_in_doubt || health.upkeep_error.is_some() {
            of_health!(Level::WARN, health);
        } else {
            of_health!(Level::INFO, health);
        }
        self.tell(|hook| hook.health_changed(health));
    }

    fn new_address(&self, event: &NewAddressEvent) {
        of_token!(Level::INFO, "token_tracker.token.new_address", &event.subject, {
            client.address = event.client_address.to_string(),
        }, "a token was used from a new address");
        self.tell(|hook| hook.new_address(event));
    }

    fn reuse(&self, event: &DeniedEvent) {
        of_denial!(Level::WARN, "token_tracker.token.reuse", event, "a replaced token was used");
        self.tell(|hook| hook.reuse(event));
    }

    fn threshold(&self, event: &ThresholdEvent) {
        if event.percent < 100 {
            of_threshold!(Level::INFO, event);
        } else {
            of_threshold!(Level::WARN, event);
        }
        self.tell(|hook| hook.threshold(event));
    }
}

fn text(at: OffsetDateTime) -> Option<String> {
    at.format(&Rfc3339).ok()
}

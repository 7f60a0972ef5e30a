//! Accounts and condition of a tracker, as its handles show them and its writer watches them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::cache::Cache;
use crate::events::{Event, Events};
use crate::health::Health;
use crate::queue::{Account, Queue};
use crate::upkeep::Upkeep;

/// Where health is read from.
pub(crate) struct Vitals {
    pub(crate) queue: Arc<Queue>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) events: Arc<Events>,
    pub(crate) counters: Counters,
    unclean_ends: u64,
    /// What was told last.
    told: Mutex<Told>,
}

/// Requests that leave no record.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) anonymous: AtomicU64,
    pub(crate) filtered: AtomicU64,
    pub(crate) strangers: AtomicU64,
}

/// A condition as it was told, and whether records were dropped since the last one that differed.
#[derive(Default)]
struct Told {
    condition: Condition,
    dropped: u64,
    drops_told: bool,
}

/// What is not well.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "as in `Health`, of which it is a part")]
struct Condition {
    degraded: bool,
    poisoned: bool,
    upkeep_fails: bool,
    clock_in_doubt: bool,
}

impl Condition {
    fn of(health: &Health) -> Self {
        Self {
            degraded: health.degraded,
            poisoned: health.poisoned,
            upkeep_fails: health.upkeep_error.is_some(),
            clock_in_doubt: health.clock_in_doubt,
        }
    }
}

impl Told {
    /// Whether this is to be told.
    fn differs(&mut self, health: &Health) -> bool {
        let condition = Condition::of(health);
        if condition != self.condition {
            *self = Self { condition, dropped: health.dropped, drops_told: false };
            return true;
        }
        let drops = !self.drops_told && health.dropped > self.dropped;
        self.drops_told |= drops;
        drops
    }
}

impl Vitals {
    pub(crate) fn new(
        queue: Arc<Queue>,
        cache: Arc<Cache>,
        upkeep: Arc<Upkeep>,
        events: Arc<Events>,
        unclean_ends: u64,
    ) -> Self {
        let (counters, told) = (Counters::default(), Mutex::default());
        Self { queue, cache, upkeep, events, counters, unclean_ends, told }
    }

    pub(crate) fn health(&self) -> Health {
        self.account().health
    }

    /// Health, and what the queue knows beside it, of the same moment.
    pub(crate) fn account(&self) -> Account {
        let (events_dropped, hook_panics) = self.events.losses();
        let account = self.queue.account();
        let health = Health {
            clock_in_doubt: self.upkeep.clock.trusted_now().is_none(),
            upkeep_error: self.upkeep.trouble(),
            filtered: self.counters.filtered.load(Ordering::Relaxed),
            strangers: self.counters.strangers.load(Ordering::Relaxed),
            anonymous: self.counters.anonymous.load(Ordering::Relaxed),
            cached_tokens: self.cache.len() as u64,
            unclean_ends: self.unclean_ends,
            events_dropped,
            hook_panics,
            ..account.health
        };
        Account { health, ..account }
    }

    /// Tells of a change, if there is one and anybody listens. For the writer's thread alone.
    pub(crate) fn tell_of_changes(&self) {
        if !self.events.is_heard() {
            return;
        }
        let health = self.health();
        let differs = self.told.lock().differs(&health);
        if differs {
            self.events.tell(|| Event::HealthChanged(Box::new(health)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once_and_so_is_the_first_drop_after_each() {
        let mut told = Told::default();
        let well = Health::default();
        let degraded = Health { degraded: true, ..Health::default() };
        let mut differs = |health: &Health, dropped| {
            told.differs(&Health { dropped, accepted: dropped, ..health.clone() })
        };
        assert!(!differs(&well, 0));
        assert!(differs(&well, 1), "the first drop");
        assert!(!differs(&well, 5), "and no other");
        assert!(differs(&degraded, 5));
        assert!(!differs(&degraded, 5));
        assert!(differs(&degraded, 6), "the first drop since");
        assert!(!differs(&degraded, 7));
        let other = Health { upkeep_error: Some("why".to_owned()), ..degraded.clone() };
        assert!(differs(&other, 7));
        let text = Health { upkeep_error: Some("another".to_owned()), ..degraded.clone() };
        assert!(!differs(&text, 7), "one change, however often it fails");
        assert!(differs(&well, 7) && !differs(&well, 7));
        assert!(differs(&Health { clock_in_doubt: true, ..well.clone() }, 7));
        assert!(differs(&Health { clock_in_doubt: true, poisoned: true, ..well.clone() }, 7));
    }
}

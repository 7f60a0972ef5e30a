//! May the last use of a token be written again yet?

use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;

use crate::live::Live;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// Lets one last use a token and interval through.
///
/// Three layers, each sound without the one before it: the stamp in [`Live`] answers without a lock; a
/// bounded LRU knows what was let through and may not be committed yet; the update itself moves the
/// column only where it is an interval old, whoever else wrote it.
pub(crate) struct Throttle {
    interval: Duration,
    /// What was let through last, of the tokens that were used most recently.
    passed: Mutex<LruCache<TokenId, Timestamp>>,
}

impl Throttle {
    pub(crate) fn new(interval: Duration, capacity: NonZeroUsize) -> Self {
        Self { interval, passed: Mutex::new(LruCache::new(capacity)) }
    }

    /// Whether this use is to be written. Of concurrent callers one gets `true`.
    pub(crate) fn admits(&self, token: TokenId, live: &Live, now: Timestamp) -> bool {
        let seen = live.last_used();
        if !self.is_due(seen, now) || !live.advance(seen, now) {
            return false;
        }
        let mut passed = self.passed.lock();
        let due = self.is_due(passed.get(&token).copied(), now);
        if due {
            passed.put(token, now);
        }
        due
    }

    /// Takes an admission back whose write could not be queued, so that a later use tries again.
    pub(crate) fn retract(
        &self,
        token: TokenId,
        live: &Live,
        seen: Option<Timestamp>,
        now: Timestamp,
    ) {
        self.passed.lock().pop(&token);
        live.retreat(now, seen);
    }

    fn is_due(&self, last: Option<Timestamp>, now: Timestamp) -> bool {
        last.is_none_or(|last| now >= last.saturating_add(self.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_000_000);
    const INTERVAL: Duration = Duration::from_secs(300);

    fn throttle(capacity: usize) -> Throttle {
        Throttle::new(INTERVAL, NonZeroUsize::new(capacity).unwrap())
    }

    fn token(id: i64) -> TokenId {
        TokenId::from_row(id)
    }

    #[test]
    fn the_first_use_passes_at_once_and_the_next_after_the_interval() {
        let (throttle, live) = (throttle(8), Live::new(None));
        let almost = START.saturating_add(INTERVAL - Duration::from_micros(1));
        assert!(throttle.admits(token(1), &live, START));
        assert!(!throttle.admits(token(1), &live, START));
        assert!(!throttle.admits(token(1), &live, almost));
        assert!(throttle.admits(token(1), &live, START.saturating_add(INTERVAL)));
    }

    #[test]
    fn a_token_that_was_cached_anew_before_the_write_was_committed_does_not_pass_again() {
        let throttle = throttle(8);
        assert!(throttle.admits(token(1), &Live::new(None), START));
        assert!(!throttle.admits(token(1), &Live::new(None), START));
    }

    #[test]
    fn a_burst_of_first_uses_passes_once() {
        let (throttle, live) = (throttle(8), Live::new(None));
        let passed: usize = std::thread::scope(|scope| {
            let uses: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| usize::from(throttle.admits(token(1), &live, START))))
                .collect();
            uses.into_iter().map(|used| used.join().unwrap()).sum()
        });
        assert_eq!(passed, 1);
    }

    #[test]
    fn a_clock_that_went_back_writes_nothing() {
        let (throttle, live) = (throttle(8), Live::new(Some(START)));
        assert!(!throttle.admits(
            token(1),
            &live,
            START.saturating_sub(Duration::from_secs(86_400))
        ));
        assert_eq!(live.last_used(), Some(START));
    }
}

//! What changes about a token while it is cached.

use std::sync::atomic::Ordering;

use crate::sync::{AtomicBool, AtomicI64};
use crate::timestamp::Timestamp;

/// No last use is known.
const NEVER: i64 = i64::MIN;

/// One token as it was looked up once. When its authority changes, [`Live::retire`] makes that a miss at
/// once, wherever it is held.
#[derive(Debug)]
pub(crate) struct Live {
    retired: AtomicBool,
    /// Whether it was used since its place in the cache was last asked for.
    used: AtomicBool,
    last_used: AtomicI64,
}

impl Live {
    pub(crate) fn new(last_used: Option<Timestamp>) -> Self {
        let last_used = last_used.map_or(NEVER, Timestamp::as_micros);
        Self {
            retired: AtomicBool::new(false),
            used: AtomicBool::new(false),
            last_used: AtomicI64::new(last_used),
        }
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(crate) fn is_current(&self) -> bool {
        !self.retired.load(Ordering::Acquire)
    }

    /// Written once and then only read: threads that use the same token do not take its line of memory
    /// from each other.
    pub(crate) fn mark_use(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since this was last asked.
    pub(crate) fn take_use(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn last_used(&self) -> Option<Timestamp> {
        match self.last_used.load(Ordering::Relaxed) {
            NEVER => None,
            micros => Some(Timestamp::from_micros(micros)),
        }
    }

    /// Moves the last use forward from what the caller saw. Of several callers that saw the same, one
    /// succeeds.
    pub(crate) fn advance(&self, seen: Option<Timestamp>, now: Timestamp) -> bool {
        let seen = seen.map_or(NEVER, Timestamp::as_micros);
        let swap = self.last_used.compare_exchange(
            seen,
            now.as_micros(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        swap.is_ok()
    }

    /// Takes an [`advance`](Live::advance) back, unless somebody moved on since.
    pub(crate) fn retreat(&self, now: Timestamp, seen: Option<Timestamp>) {
        let seen = seen.map_or(NEVER, Timestamp::as_micros);
        let relaxed = Ordering::Relaxed;
        let _ = self.last_used.compare_exchange(now.as_micros(), seen, relaxed, relaxed);
    }
}

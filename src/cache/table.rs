//! Where cached tokens are: a table of fixed size in which a hit moves nothing.
//!
//! A hit locks the one slot that it reads, so that two threads meet only where they present the same
//! token at the same time. Lists in the order of last use, each behind a lock of its own, took half of a
//! hit's time: every hit writes to four places in memory that no processor's cache holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::CacheKey;
use crate::identity::Grant;
use crate::sync::{AtomicU64, AtomicUsize, Mutex};

/// How many slots may hold a key, from its home on. Where a full table has taken them all, which one key
/// in a hundred meets, an entry goes though there is room elsewhere.
#[cfg(not(all(test, model)))]
const WINDOW: usize = 32;

/// Few enough that most of the checker's steps are not spent on passing over slots.
#[cfg(all(test, model))]
const WINDOW: usize = 2;

pub(super) struct Table {
    capacity: usize,
    slots: Box<[Slot]>,
    /// How many slots are taken, or promised to an entry that is on its way in.
    taken: AtomicUsize,
    /// Where the search for an entry to let go of was left off.
    hand: AtomicUsize,
}

/// Two fill a line of the processor's cache, and none lies across two.
#[derive(Default)]
#[repr(align(32))]
struct Slot {
    /// The low half of the key, to pass over the entries of others. Written under the lock only.
    low: AtomicU64,
    held: Mutex<Option<Held>>,
}

#[cfg(not(all(test, model)))]
const _: () = assert!(size_of::<Slot>() == 32);

struct Held {
    /// The other half of the key.
    high: u64,
    grant: Arc<Grant>,
}

impl Table {
    pub(super) fn new(capacity: usize) -> Self {
        let slots = capacity + capacity / 2 + WINDOW;
        Self {
            capacity,
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            taken: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub(super) fn get(&self, key: CacheKey) -> Option<Arc<Grant>> {
        self.window(key).iter().find_map(|slot| slot.get(key))
    }

    /// Holds the entry from now on, in the place of one of the same key, in a free one, or in that of one
    /// that was not used lately. Two threads at the same time may each find a place for the same key: then
    /// it is there twice, and either is good.
    pub(super) fn insert(&self, key: CacheKey, grant: &Arc<Grant>) {
        let window = self.window(key);
        let put = |wanted: fn(Option<&Held>) -> bool| {
            window.iter().any(|slot| slot.put(key, grant, wanted))
        };
        if window.iter().any(|slot| slot.may_hold(key) && slot.replace(key, grant)) {
            return;
        }
        if !self.promise() || put(|held| held.is_none()) {
            return;
        }
        self.taken.fetch_sub(1, Ordering::Relaxed);
        let idle = |held: Option<&Held>| held.is_some_and(Held::is_idle);
        let _ = put(idle) || put(idle);
    }

    fn window(&self, key: CacheKey) -> &[Slot] {
        let homes = self.slots.len() - WINDOW + 1;
        let home = ((u128::from(key.high()) * homes as u128) >> 64) as usize;
        &self.slots[home..home + WINDOW]
    }

    /// Counts an entry that is on its way in, letting go of others as long as there are too many.
    fn promise(&self) -> bool {
        let below = |taken| (taken < self.capacity).then_some(taken + 1);
        let relaxed = Ordering::Relaxed;
        while self.taken.fetch_update(relaxed, relaxed, below).is_err() {
            if !self.let_go_of_one() {
                return false;
            }
        }
        true
    }

    /// Second chance: an entry that was used since the hand last passed is passed over once more.
    fn let_go_of_one(&self) -> bool {
        let steps = 2 * self.slots.len();
        let idle = (0..steps).find_map(|_| {
            let at = self.hand.fetch_add(1, Ordering::Relaxed) % self.slots.len();
            self.slots[at].take_idle()
        });
        if idle.is_some() {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
        idle.is_some()
    }
}

impl Slot {
    fn get(&self, key: CacheKey) -> Option<Arc<Grant>> {
        if !self.may_hold(key) {
            return None;
        }
        let held = self.held.lock();
        held.as_ref().filter(|held| self.holds(held, key)).map(|held| Arc::clone(&held.grant))
    }

    /// Half of an answer, without the lock.
    fn may_hold(&self, key: CacheKey) -> bool {
        self.low.load(Ordering::Relaxed) == key.low()
    }

    /// Whether what is held, under the lock, is of this key: all of its 128 bits.
    fn holds(&self, held: &Held, key: CacheKey) -> bool {
        held.high == key.high() && self.may_hold(key)
    }

    /// Puts the entry in the place of one of the same key.
    fn replace(&self, key: CacheKey, grant: &Arc<Grant>) -> bool {
        self.put(key, grant, |held| held.is_some_and(|held| self.holds(held, key)))
    }

    /// Puts the entry here if this is the place that is wanted.
    fn put(
        &self,
        key: CacheKey,
        grant: &Arc<Grant>,
        wanted: impl FnOnce(Option<&Held>) -> bool,
    ) -> bool {
        let mut held = self.held.lock();
        if !wanted(held.as_ref()) {
            return false;
        }
        self.low.store(key.low(), Ordering::Relaxed);
        let displaced = held.replace(Held { high: key.high(), grant: Arc::clone(grant) });
        drop(held);
        drop(displaced);
        true
    }

    fn take_idle(&self) -> Option<Held> {
        self.held.lock().take_if(|held| held.is_idle())
    }
}

impl Held {
    /// Whether it was retired, or not used since this was last asked.
    fn is_idle(&self) -> bool {
        !self.grant.live.is_current() || !self.grant.live.take_use()
    }
}

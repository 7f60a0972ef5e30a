//! Learns what other processes change in the same file, and knows how fresh that knowledge is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::cache::Cache;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::store::{Store, Watch};
use crate::timestamp::micros;

/// How old the knowledge may be that a cached token is allowed by.
pub(crate) const BOUND: Duration = Duration::from_millis(250);

/// How often it is renewed: often enough that one slow look does not break the bound.
const PAUSE: Duration = Duration::from_millis(80);

const NEVER: i64 = i64::MIN;

/// Reads the log of changes, from where it was read before, into the cache.
pub(crate) struct Follower {
    /// `None` where nobody else can write.
    watch: Option<Watch>,
    cache: Arc<Cache>,
    clock: Arc<dyn Clock>,
    /// The newest change that was read as committed.
    generation: AtomicU64,
    /// When the last reading that succeeded began, in monotonic microseconds.
    followed_at: AtomicI64,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Follower {
    /// Begins with the changes after now: the cache is empty.
    pub(crate) fn new(
        store: &Store,
        cache: Arc<Cache>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let started = micros(clock.monotonic());
        let generation = store.read(|reader| reader.catalogue().generation())?;
        cache.catch_up(Some(&[]), generation);
        Ok(Self {
            watch: store.watch()?,
            cache,
            clock,
            generation: AtomicU64::new(generation),
            followed_at: AtomicI64::new(started),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        })
    }

    /// Whether what is cached may be relied on at this monotonic time: nobody else can write, or what
    /// they wrote was read no longer than `allowed` ago.
    pub(crate) fn is_fresh(&self, now: Duration, allowed: Duration) -> bool {
        if self.watch.is_none() {
            return true;
        }
        let followed_at = self.followed_at.load(Ordering::Acquire);
        followed_at != NEVER && micros(now).saturating_sub(followed_at) <= micros(allowed)
    }

    /// Reads what changed since the last time.
    pub(crate) fn follow(&self) -> anyhow::Result<()> {
        let Some(watch) = &self.watch else { return Ok(()) };
        let started = micros(self.clock.monotonic());
        let since = self.generation.load(Ordering::Acquire);
        let changes = watch.changes_since(since)?;
        self.cache.catch_up(changes.tokens.as_deref(), changes.generation);
        self.generation.fetch_max(changes.generation, Ordering::AcqRel);
        self.followed_at.fetch_max(started, Ordering::AcqRel);
        Ok(())
    }

    /// Follows on a thread of its own until stopped.
    pub(crate) fn start(self: &Arc<Self>) -> Result<Option<JoinHandle<()>>, Error> {
        if self.watch.is_none() {
            return Ok(None);
        }
        let follower = Arc::clone(self);
        let thread = std::thread::Builder::new().name("token-tracker-follower".to_owned());
        let thread = thread.spawn(move || {
            let mut stop = follower.stop.lock();
            while !*stop {
                parking_lot::MutexGuard::unlocked(&mut stop, || {
                    // A failure needs no report of its own: what is cached goes stale and is read anew.
                    let _ = follower.follow();
                });
                if !*stop {
                    follower.stopped.wait_for(&mut stop, PAUSE);
                }
            }
        });
        thread.map(Some).map_err(|error| {
            Error::new(ErrorKind::Storage, "the follower's thread cannot be started")
                .with_source(error.into())
        })
    }

    pub(crate) fn stop(&self) {
        *self.stop.lock() = true;
        self.stopped.notify_all();
    }
}

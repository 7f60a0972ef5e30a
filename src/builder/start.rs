//! What the knobs come to, checked before anything is touched, and the order in which a tracker is opened.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::{Builder, DAY};
use crate::cache::Cache;
use crate::checkpoints::Checkpoints;
use crate::clock_watch::ClockWatch;
use crate::durability::Durability;
use crate::engine::{Config, Engine, Parts};
use crate::error::Error;
use crate::events::Events;
use crate::follower::Follower;
use crate::jwt::Issuers;
use crate::opaque::OpaquePrefix;
use crate::presence::Presence;
use crate::queue::{Queue, QueueOptions};
use crate::scope::is_scope;
use crate::store::{Session, Store, StoreOptions, to_error};
use crate::timestamp::Timestamp;
use crate::tracker::TokenTracker;
use crate::upkeep::{Retention, Upkeep, Watch};
use crate::vitals::Vitals;
use crate::writer;

const HOUR: Duration = Duration::from_secs(3_600);

/// As far back as can be asked for.
const LONGEST_RETENTION: Duration = Duration::from_secs(3_650 * 86_400);

/// Room for an empty database many times over, and for a reserve that means something.
const MIN_FILE_SIZE: u64 = 16 << 20;

impl Builder {
    pub(super) fn start(
        self,
        open: impl FnOnce(StoreOptions) -> anyhow::Result<Store>,
        announce: impl FnOnce(
            u32,
            &mut dyn FnMut(bool) -> anyhow::Result<Session>,
        ) -> anyhow::Result<(Option<Presence>, Session)>,
    ) -> Result<TokenTracker, Error> {
        let (queue, store) = (self.queue_options()?, self.store_options()?);
        let retention = self.checked_retention()?;
        let (dormant_after, expiring_within) = self.checked_notices()?;
        let hook = self.hook.clone();
        let (cache_capacity, last_used, file_mode) =
            (self.cache_capacity, self.last_used, self.file_mode);
        let config = self.config()?;
        let now = Timestamp::from(config.clock.now());
        let cache = Arc::new(Cache::new(cache_capacity)?);
        let queue = Arc::new(Queue::new(queue));

        let store = Arc::new(open(store).map_err(to_error)?);
        let (presence, mut session) = announce(file_mode, &mut |alone| {
            Session::open(Arc::clone(&store), config.last_used_interval, now, alone)
        })
        .map_err(to_error)?;
        let unclean_ends = session.unclean_ends();
        let tracked_since = session.track_last_use(last_used, now).map_err(to_error)?;
        let clock = Arc::clone(&config.clock);
        let follower = Follower::new(&store, Arc::clone(&cache), clock);
        let follower = Arc::new(follower.map_err(to_error)?);
        let events = Arc::new(Events::start(hook)?);
        if events.is_heard() {
            session.look_out();
        }
        let watch = Watch { dormant_after, expiring_within, tracked_since };
        let clock = ClockWatch::new(Arc::clone(&config.clock));
        let (of_cache, of_events) = (Arc::clone(&cache), Arc::clone(&events));
        let upkeep = Arc::new(Upkeep::new(clock, retention, watch, of_cache, of_events));
        let vitals = Arc::new(Vitals::new(queue, cache, upkeep, events, unclean_ends));
        let checkpointer = store.checkpointer().map_err(to_error)?;
        let checkpoints = Arc::new(Checkpoints::new(checkpointer));
        let writer = writer::Parts {
            session,
            vitals: Arc::clone(&vitals),
            checkpoints: Arc::clone(&checkpoints),
        };
        let queue = Arc::clone(&vitals.queue);
        let mut threads = vec![writer::start(writer)?];
        threads.extend(follower.start().inspect_err(|_| queue.close())?);
        threads.extend(checkpoints.start(&queue).inspect_err(|_| {
            follower.stop();
            queue.close();
        })?);
        let parts = Parts { store, follower, tracked_since, vitals, checkpoints };
        Ok(TokenTracker::new(Engine::new(config, parts), threads, presence))
    }

    fn queue_options(&self) -> Result<QueueOptions, Error> {
        let (capacity, group, window) = (self.queue_capacity, self.group_size, self.commit_window);
        within("queue_capacity", capacity, 1, 1 << 24)?;
        within("group_size", group, 1, 1 << 16)?;
        within_time("commit_window", window, Duration::from_millis(100), Duration::from_secs(1))?;
        Ok(QueueOptions { capacity, group: group.min(capacity), window })
    }

    fn store_options(&self) -> Result<StoreOptions, Error> {
        within("readers", self.readers as usize, 2, 64)?;
        if self.max_file_size < MIN_FILE_SIZE {
            let message = format!("must be {MIN_FILE_SIZE} bytes or more");
            return Err(Error::invalid("max_file_size", message));
        }
        within_time(
            "busy_timeout",
            self.busy_timeout,
            Duration::from_millis(10),
            Duration::from_secs(60),
        )?;
        Ok(StoreOptions {
            readers: self.readers,
            busy_timeout: self.busy_timeout,
            synced: self.durability == Durability::Synced,
            file_mode: self.file_mode,
            max_file_size: self.max_file_size,
            checkpoints: self.checkpoints,
        })
    }

    /// Each tier must last until the next one has it, and what the others refer to as long as they.
    fn checked_retention(&self) -> Result<Retention, Error> {
        let (raw, hourly, daily) =
            (self.raw_retention, self.hourly_retention, self.daily_retention);
        within_time("raw_retention", raw, HOUR, LONGEST_RETENTION)?;
        within_time("hourly_retention", hourly, DAY, LONGEST_RETENTION)?;
        within_time("daily_retention", daily, DAY, LONGEST_RETENTION)?;
        if daily < raw.max(hourly) {
            let message = "must be as long as that of records and of hourly sums, at least";
            return Err(Error::invalid("daily_retention", message));
        }
        Ok(Retention { raw, hourly, daily })
    }

    /// A token in use is not to be taken for dormant because its last use was not written yet, which takes an interval
    /// and as much again where several processes write.
    fn checked_notices(&self) -> Result<(Duration, Duration), Error> {
        let (dormant, expiring) = (self.dormant_after, self.expiring_within);
        within_time("dormant_after", dormant, HOUR, LONGEST_RETENTION)?;
        within_time("expiring_within", expiring, HOUR, LONGEST_RETENTION)?;
        if dormant < self.last_used_interval.saturating_mul(2) {
            let message = "must be twice as long as the last-used interval, at least";
            return Err(Error::invalid("dormant_after", message));
        }
        Ok((dormant, expiring))
    }

    fn config(self) -> Result<Config, Error> {
        within("max_token_length", self.max_token_length, 256, 65_536)?;
        within("cache_capacity", self.cache_capacity, 16, 1 << 22)?;
        within("last_used_capacity", self.last_used_capacity, 1, 1 << 20)?;
        within_time("serve_stale", self.serve_stale, Duration::ZERO, Duration::from_secs(3_600))?;
        within_time(
            "last_used_interval",
            self.last_used_interval,
            Duration::from_secs(1),
            Duration::from_secs(86_400),
        )?;
        Ok(Config {
            issuers: Issuers::new(self.issuers)?,
            opaque_prefix: OpaquePrefix::new(&self.opaque_prefix)?,
            realm: self.realm.map(checked_realm).transpose()?,
            management_scope: checked_management_scope(self.management_scope)?,
            max_token_length: self.max_token_length,
            durability: self.durability,
            recording: self.recording,
            last_used_interval: self.last_used_interval,
            last_used_capacity: NonZeroUsize::new(self.last_used_capacity)
                .expect("it was just checked to be 1 at least"),
            path_filter: self.path_filter,
            serve_stale: self.serve_stale,
            client_addresses: self.client_addresses,
            clock: self.clock,
        })
    }
}

fn within(knob: &'static str, value: usize, least: usize, most: usize) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(knob, format!("must be {least} to {most}, not {value}")))
}

fn within_time(
    knob: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(knob, format!("must be {least:?} to {most:?}, not {value:?}")))
}

/// Text that needs no escaping between quotes (RFC 9110 §5.6.4).
fn checked_realm(realm: String) -> Result<String, Error> {
    let plain = |byte: u8| (byte == b' ' || byte.is_ascii_graphic()) && !b"\"\\".contains(&byte);
    if (1..=128).contains(&realm.len()) && realm.bytes().all(plain) {
        return Ok(realm);
    }
    let message = "must be 1 to 128 visible ASCII characters or spaces, without `\"` and `\\`";
    Err(Error::invalid("realm", message))
}

/// A scope to be covered, which is no pattern itself.
fn checked_management_scope(scope: String) -> Result<Arc<str>, Error> {
    if is_scope(&scope) && !scope.contains('*') {
        return Ok(scope.into());
    }
    let message = "must be 1 to 128 visible ASCII characters, without `\"`, `\\` and `*`";
    Err(Error::invalid("management_scope", message))
}

//! Every knob, its default and its bounds.

mod start;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::address::ClientAddresses;
use crate::clock::{Clock, SystemClock};
use crate::durability::{Checkpoints, Durability};
use crate::error::Error;
use crate::events::Hook;
use crate::jwt::{JwtIssuer, JwtKey};
use crate::path_filter::PathFilter;
use crate::presence::Presence;
use crate::remote::remote_file_system;
use crate::store::Store;
use crate::tracker::TokenTracker;

/// Opens a [`TokenTracker`].
///
/// | knob | default | bounds |
/// |---|---|---|
/// | [`jwt_key`](Self::jwt_key), [`jwt_issuer`](Self::jwt_issuer) | none: JWTs are refused | names distinct |
/// | [`opaque_prefix`](Self::opaque_prefix) | `tt_` | 2 to 16 letters, digits, `_`; ends in `_` |
/// | [`realm`](Self::realm) | none | 1 to 128 visible ASCII characters or spaces, without `"` and `\` |
/// | [`management_scope`](Self::management_scope) | `tokens:manage` | a scope without `*` |
/// | [`max_token_length`](Self::max_token_length) | 8,192 bytes | 256 to 65,536 |
/// | [`durability`](Self::durability) | `Buffered` | |
/// | [`commit_window`](Self::commit_window) | 200 ms | 100 ms to 1 s |
/// | [`queue_capacity`](Self::queue_capacity) | 65,536 records | 1 to 16,777,216 |
/// | [`group_size`](Self::group_size) | 8,192 records | 1 to 65,536 |
/// | [`without_usage_recording`](Self::without_usage_recording) | recording on | |
/// | [`without_last_used`](Self::without_last_used) | tracking on | |
/// | [`last_used_interval`](Self::last_used_interval) | 5 minutes | 1 second to 24 hours |
/// | [`last_used_capacity`](Self::last_used_capacity) | 1,024 tokens | 1 to 1,048,576 |
/// | [`cache_capacity`](Self::cache_capacity) | 16,384 tokens | 16 to 4,194,304 |
/// | [`path_filter`](Self::path_filter) | [`PathFilter::default`] | |
/// | [`serve_stale`](Self::serve_stale) | 0: never | up to 1 hour |
/// | [`busy_timeout`](Self::busy_timeout) | 1 s | 10 ms to 60 s |
/// | [`readers`](Self::readers) | 4 connections | 2 to 64 |
/// | [`file_mode`](Self::file_mode) | `0o600` | |
/// | [`raw_retention`](Self::raw_retention) | 30 days | 1 hour to 3,650 days |
/// | [`hourly_retention`](Self::hourly_retention) | 90 days | 1 day to 3,650 days |
/// | [`daily_retention`](Self::daily_retention) | 730 days | 1 day to 3,650 days, and no less than the other two |
/// | [`max_file_size`](Self::max_file_size) | 8 GiB | 16 MiB or more |
/// | [`checkpoints`](Self::checkpoints) | `Automatic` | |
/// | [`client_addresses`](Self::client_addresses) | `Keep` | |
/// | [`hook`](Self::hook) | none | one |
/// | [`dormant_after`](Self::dormant_after) | 90 days | 1 hour to 3,650 days, and twice the last-used interval |
/// | [`expiring_within`](Self::expiring_within) | 7 days | 1 hour to 3,650 days |
/// | [`clock`](Self::clock) | [`SystemClock`] | |
///
/// A value out of its bounds is an error of `open` and `in_memory` that names the knob.
#[derive(Clone)]
#[must_use = "a builder does nothing until `open` or `in_memory`"]
pub struct Builder {
    issuers: Vec<JwtIssuer>,
    opaque_prefix: String,
    realm: Option<String>,
    management_scope: String,
    max_token_length: usize,
    durability: Durability,
    commit_window: Duration,
    queue_capacity: usize,
    group_size: usize,
    recording: bool,
    last_used: bool,
    last_used_interval: Duration,
    last_used_capacity: usize,
    cache_capacity: usize,
    path_filter: PathFilter,
    serve_stale: Duration,
    busy_timeout: Duration,
    readers: u32,
    file_mode: u32,
    raw_retention: Duration,
    hourly_retention: Duration,
    daily_retention: Duration,
    max_file_size: u64,
    checkpoints: Checkpoints,
    hook: Option<Arc<dyn Hook>>,
    dormant_after: Duration,
    expiring_within: Duration,
    client_addresses: ClientAddresses,
    clock: Arc<dyn Clock>,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            issuers: Vec::new(),
            opaque_prefix: "tt_".to_owned(),
            realm: None,
            management_scope: "tokens:manage".to_owned(),
            max_token_length: 8_192,
            durability: Durability::default(),
            commit_window: Duration::from_millis(200),
            queue_capacity: 65_536,
            group_size: 8_192,
            recording: true,
            last_used: true,
            last_used_interval: Duration::from_secs(300),
            last_used_capacity: 1_024,
            cache_capacity: 16_384,
            path_filter: PathFilter::default(),
            serve_stale: Duration::ZERO,
            busy_timeout: Duration::from_secs(1),
            readers: 4,
            file_mode: 0o600,
            raw_retention: 30 * DAY,
            hourly_retention: 90 * DAY,
            daily_retention: 730 * DAY,
            max_file_size: 8 << 30,
            checkpoints: Checkpoints::Automatic,
            hook: None,
            dormant_after: 90 * DAY,
            expiring_within: 7 * DAY,
            client_addresses: ClientAddresses::default(),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// JWTs of one issuer that is known by this key alone. Short for an unnamed [`JwtIssuer`].
    pub fn jwt_key(self, key: JwtKey) -> Self {
        self.jwt_issuer(JwtIssuer::unnamed().key(key))
    }

    /// One more issuer of JWTs. The first one signs what is issued here.
    pub fn jwt_issuer(mut self, issuer: JwtIssuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// How opaque tokens begin, so that people and secret scanners know them.
    pub fn opaque_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.opaque_prefix = prefix.into();
        self
    }

    /// The `realm` of challenges (RFC 9110 §11.5).
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = Some(realm.into());
        self
    }

    /// The scope that a token must have for its bearer to [manage tokens](crate::Tokens::on_behalf_of).
    pub fn management_scope(mut self, scope: impl Into<String>) -> Self {
        self.management_scope = scope.into();
        self
    }

    /// The longest token that is looked at, in bytes.
    pub fn max_token_length(mut self, bytes: usize) -> Self {
        self.max_token_length = bytes;
        self
    }

    /// When a record is acknowledged.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How long a record waits for company before its group is committed.
    pub fn commit_window(mut self, window: Duration) -> Self {
        self.commit_window = window;
        self
    }

    /// How many records may wait for the writer, at about 200 bytes each. Further ones are dropped and
    /// counted.
    pub fn queue_capacity(mut self, records: usize) -> Self {
        self.queue_capacity = records;
        self
    }

    /// How many records one transaction stores. Fewer make administration wait less, more write faster.
    pub fn group_size(mut self, records: usize) -> Self {
        self.group_size = records;
        self
    }

    /// Switches usage recording off: tickets record nothing. Last use is still tracked.
    pub fn without_usage_recording(mut self) -> Self {
        self.recording = false;
        self
    }

    /// Switches last-use tracking off. Tokens that were not used before then show as not tracked.
    pub fn without_last_used(mut self) -> Self {
        self.last_used = false;
        self
    }

    /// How often the last use of one token is written: its precision, doubled where several processes
    /// share the file.
    pub fn last_used_interval(mut self, interval: Duration) -> Self {
        self.last_used_interval = interval;
        self
    }

    /// How many tokens the throttle of last-use writes remembers. More active tokens than this write no
    /// more often, they only ask the file more often.
    pub fn last_used_capacity(mut self, tokens: usize) -> Self {
        self.last_used_capacity = tokens;
        self
    }

    /// How many tokens are kept for authentication without I/O, at about 500 bytes each.
    pub fn cache_capacity(mut self, tokens: usize) -> Self {
        self.cache_capacity = tokens;
        self
    }

    /// Which paths leave no record.
    pub fn path_filter(mut self, filter: PathFilter) -> Self {
        self.path_filter = filter;
        self
    }

    /// How long cached tokens are still accepted while the storage fails. Within this time a revocation
    /// by another process may go unseen.
    pub fn serve_stale(mut self, time: Duration) -> Self {
        self.serve_stale = time;
        self
    }

    /// How long to wait for a lock that someone else holds on the file, and for a free connection.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How many connections read at the same time. One of them is kept for authentication: statistics and
    /// lists wait for each other instead of taking the last.
    pub fn readers(mut self, connections: u32) -> Self {
        self.readers = connections;
        self
    }

    /// The mode of the database and the files beside it, where they are created (Unix).
    pub fn file_mode(mut self, mode: u32) -> Self {
        self.file_mode = mode;
        self
    }

    /// How long records are kept one by one. Sums outlive them.
    pub fn raw_retention(mut self, time: Duration) -> Self {
        self.raw_retention = time;
        self
    }

    /// How long the sums of each hour are kept. Those of each day outlive them.
    pub fn hourly_retention(mut self, time: Duration) -> Self {
        self.hourly_retention = time;
        self
    }

    /// How long the sums of each day are kept, and with them: routes and user agents that nobody uses any longer, the
    /// [audit](crate::Tokens::audit), [late use](crate::Tokens::late_uses), known addresses, and dead tokens.
    pub fn daily_retention(mut self, time: Duration) -> Self {
        self.daily_retention = time;
        self
    }

    /// How large the database may become, in bytes; the write-ahead log beside it takes up to 64 MB
    /// more, unless somebody reads an old state of the file for long. At
    /// fifteen sixteenths of this the oldest records go before their time, and where there are none left,
    /// further ones wait, then are dropped and counted. The rest is for the catalogue alone.
    pub fn max_file_size(mut self, bytes: u64) -> Self {
        self.max_file_size = bytes;
        self
    }

    /// Who moves what is in the write-ahead log into the database.
    pub fn checkpoints(mut self, by: Checkpoints) -> Self {
        self.checkpoints = by;
        self
    }

    /// What is kept of clients' addresses: all, the network, a keyed hash, or nothing.
    pub fn client_addresses(mut self, kept: ClientAddresses) -> Self {
        self.client_addresses = kept;
        self
    }

    /// Who is told of what happens, on a thread of its own: see [`Hook`]. The last one that is given. Without a hook
    /// there is no such thread, and no event is put together.
    ///
    /// ```
    /// use std::sync::mpsc::{Sender, channel};
    /// use token_tracker::{FirstUseEvent, Hook, NewToken, TokenTracker};
    ///
    /// struct Tell(Sender<String>);
    ///
    /// impl Hook for Tell {
    ///     fn first_use(&self, event: &FirstUseEvent) {
    ///         let _ = self.0.send(format!("{} is in use", event.subject.name));
    ///     }
    /// }
    ///
    /// let (sender, told) = channel();
    /// let tracker = TokenTracker::builder().hook(Tell(sender)).in_memory()?;
    /// let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// let access = tracker.authenticate(&issued.secret)?;
    /// assert_eq!(told.recv()?, "laptop is in use");
    /// # drop(access);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hook(mut self, hook: impl Hook) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// How long a token is not used before the [`Hook`] is told that it is [dormant](Hook::dormant).
    pub fn dormant_after(mut self, time: Duration) -> Self {
        self.dormant_after = time;
        self
    }

    /// How long before a token expires the [`Hook`] is told that it [does](Hook::expiring).
    pub fn expiring_within(mut self, time: Duration) -> Self {
        self.expiring_within = time;
        self
    }

    /// Where the time is read from.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Opens a database file, created where there is none, migrated where it is older.
    ///
    /// The file is in SQLite's write-ahead mode: beside it stand `-wal` and `-shm`, and a `.lock` by which
    /// trackers know of each other. Any number of processes on one machine may share it. The file system
    /// must be local.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("tokens.db");
    /// let tracker = token_tracker::TokenTracker::builder().open(path)?;
    /// assert!(!tracker.health().degraded);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` names a knob out of bounds, before anything is touched. `NotADatabase` and
    /// `NewerSchema` leave the file as it is. `Busy` where someone else locks it for longer than the busy
    /// timeout, `Storage` where it cannot be created, read or written.
    pub fn open(self, path: impl AsRef<Path>) -> Result<TokenTracker, Error> {
        let path = path.as_ref();
        if path.as_os_str().is_empty() || path.as_os_str() == ":memory:" {
            return Err(Error::invalid("path", "must name a file; `in_memory()` needs none"));
        }
        if let Some(kind) = remote_file_system(path) {
            let message =
                format!("is on a network file system ({kind}), which SQLite cannot rely on");
            return Err(Error::invalid("path", message));
        }
        self.start(
            |options| Store::open_file(path, options),
            |mode, open| {
                let (presence, session) = Presence::announce(path, mode, open)?;
                Ok((Some(presence), session))
            },
        )
    }

    /// Opens a database in memory, for tests and for services that keep nothing. Gone with the last handle.
    ///
    /// # Errors
    /// `InvalidInput` names a knob out of bounds.
    pub fn in_memory(self) -> Result<TokenTracker, Error> {
        self.start(Store::open_memory, |_, open| Ok((None, open(true)?)))
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("issuers", &self.issuers)
            .field("opaque_prefix", &self.opaque_prefix)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

//! The handle that a service holds, and the way a request takes through the parts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::builder::{Builder, Config};
use crate::cache::{Admission, Cache, CacheKey, Entry};
use crate::clock::Clock;
use crate::denial::Denied;
use crate::error::Error;
use crate::follower::{BOUND, Follower};
use crate::health::Health;
use crate::identity::{Grant, Identity};
use crate::jwt::{Issuers, Terms};
use crate::opaque::OpaquePrefix;
use crate::path_filter::PathFilter;
use crate::policy::judge;
use crate::presence::Presence;
use crate::queue::Queue;
use crate::reason::DenialReason;
use crate::receipt::Receipt;
use crate::refusal::{AuthError, Unavailable};
use crate::request::{AuthRequest, is_b64token};
use crate::stats::Stats;
use crate::store::{CredentialKey, Store, TokenRow, to_error};
use crate::throttle::Throttle;
use crate::ticket::{Access, Recorder, Ticket};
use crate::timestamp::Timestamp;
use crate::token::{TokenKind, TokenStatus};
use crate::tokens::Tokens;
use crate::usage::Usage;

/// How often a look-up is repeated that a change of authority overtook. Twice is rare already.
const MAX_LOOK_UPS: u32 = 8;

/// Authenticates API tokens, knows when each was last used, and records and sums up their usage.
///
/// A cheap-to-clone handle on one SQLite file. Clones share everything; when the last is dropped, what
/// was recorded is written and the threads end. All calls are synchronous and say what they cost.
///
/// ```
/// use token_tracker::{NewToken, TokenTracker, Usage};
///
/// let tracker = TokenTracker::builder().in_memory()?;
/// let issued = tracker.tokens().issue(NewToken::opaque("alice@example.com", "nightly export"))?;
///
/// let access = tracker.authenticate(&issued.secret)?;
/// tracker.record(Usage::of(access).route("GET", "/v1/items/{id}").status(200));
///
/// tracker.flush()?;
/// assert_eq!(tracker.stats().token(issued.token.id).last_days(30).summary()?.total, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TokenTracker {
    handle: Arc<Handle>,
}

/// Everything that all handles share, without the threads.
pub(crate) struct Core {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<Store>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) issuers: Issuers,
    pub(crate) opaque_prefix: OpaquePrefix,
    /// Since when every token's last use is known; `None` while tracking is off.
    pub(crate) tracked_since: Option<Timestamp>,
    follower: Arc<Follower>,
    throttle: Throttle,
    /// `None` while usage recording is off.
    recorder: Option<Arc<Recorder>>,
    path_filter: PathFilter,
    max_token_length: usize,
    serve_stale: Duration,
    realm: Option<String>,
    counters: Counters,
    unclean_ends: u64,
}

#[derive(Default)]
struct Counters {
    anonymous: AtomicU64,
    filtered: AtomicU64,
    strangers: AtomicU64,
}

/// The threads, joined when the last handle goes.
struct Handle {
    core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Let go of last: whoever opens the file after us must not take us for dead while we write.
    _presence: Option<Presence>,
}

/// The two clocks, read once a call.
#[derive(Clone, Copy)]
struct Moment {
    wall: Timestamp,
    monotonic: Duration,
}

/// The parts that [`Builder`] opened.
pub(crate) struct Parts {
    pub(crate) store: Arc<Store>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) follower: Arc<Follower>,
    pub(crate) threads: Vec<JoinHandle<()>>,
    pub(crate) presence: Option<Presence>,
    pub(crate) tracked_since: Option<Timestamp>,
    pub(crate) unclean_ends: u64,
}

impl TokenTracker {
    /// Every knob, its default and its bounds: see [`Builder`].
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn assemble(config: Config, parts: Parts) -> Self {
        let recorder = config.recording.then(|| {
            Arc::new(Recorder {
                queue: Arc::clone(&parts.queue),
                clock: Arc::clone(&config.clock),
                acknowledges_commit: config.durability.acknowledges_commit(),
            })
        });
        let core = Core {
            clock: config.clock,
            store: parts.store,
            cache: parts.cache,
            queue: parts.queue,
            issuers: config.issuers,
            opaque_prefix: config.opaque_prefix,
            tracked_since: parts.tracked_since,
            follower: parts.follower,
            throttle: Throttle::new(config.last_used_interval, config.last_used_capacity),
            recorder,
            path_filter: config.path_filter,
            max_token_length: config.max_token_length,
            serve_stale: config.serve_stale,
            realm: config.realm,
            counters: Counters::default(),
            unclean_ends: parts.unclean_ends,
        };
        let threads = Mutex::new(parts.threads);
        let handle = Handle { core: Arc::new(core), threads, _presence: parts.presence };
        Self { handle: Arc::new(handle) }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.handle.core
    }

    /// Says who is calling, and arms the ticket that records how the request ends.
    ///
    /// Takes a token or an [`AuthRequest`] that says more. One path serves JWTs, legacy JWTs and opaque
    /// tokens. Cost: a token that was seen before is judged from memory, in about a microsecond; another
    /// one takes a signature check and one look-up in the file, typically under 100 µs.
    ///
    /// # Errors
    /// [`AuthError::Denied`] is an answer: the token is no good, or not good for this.
    /// [`AuthError::Unavailable`] is a failure of the storage, and never stands for a refusal.
    pub fn authenticate<'a>(
        &self,
        request: impl Into<AuthRequest<'a>>,
    ) -> Result<Access, AuthError> {
        let request = request.into();
        let core = self.core();
        let now = core.moment();
        core.recall(&request, now).unwrap_or_else(|| core.consult(&request, now))
    }

    /// As [`authenticate`](TokenTracker::authenticate), if that needs neither the file nor a signature
    /// check; `None` if it does. Safe on an async thread: an adapter asks this first and takes the request
    /// to a blocking thread only on `None`.
    ///
    /// ```
    /// # use token_tracker::{AuthRequest, NewToken, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// # let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
    /// let request = AuthRequest::from(&issued.secret);
    /// assert!(tracker.authenticate_cached(&request).is_none(), "not seen before");
    /// tracker.authenticate(request.clone())?;
    /// assert!(tracker.authenticate_cached(&request).is_some_and(|answer| answer.is_ok()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn authenticate_cached(
        &self,
        request: &AuthRequest<'_>,
    ) -> Option<Result<Access, AuthError>> {
        let core = self.core();
        core.recall(request, core.moment())
    }

    /// Whether a token that was authenticated earlier still holds: what a long stream asks now and then.
    /// From memory, unless something about the token changed.
    ///
    /// # Errors
    /// [`Unavailable`] where the file had to be asked and could not be.
    pub fn still_holds(&self, identity: &Identity) -> Result<bool, Unavailable> {
        self.core().still_holds(identity)
    }

    /// Records how a request ended. Never waits: the record is put in a queue, or dropped and counted
    /// where that is full. The receipt tells, and can be waited for.
    pub fn record(&self, usage: Usage) -> Receipt {
        settle(usage, false)
    }

    /// As [`record`](TokenTracker::record), but waits for room in the queue instead of dropping. Blocks as
    /// long as the queue is full: for threads that may, and prefer back-pressure to loss.
    pub fn record_blocking(&self, usage: Usage) -> Receipt {
        settle(usage, true)
    }

    /// Waits until everything recorded so far is committed and can be queried. Blocks.
    ///
    /// # Errors
    /// `Storage` where the commit fails; the records stay in the queue and are tried again.
    pub fn flush(&self) -> Result<(), Error> {
        self.core().queue.flush()
    }

    /// Writes what is in the queue, ends the threads and marks the end as clean. Later settlements are
    /// counted drops; a second call does nothing. Blocks.
    ///
    /// # Errors
    /// `Lost` where the storage failed to the end; health says how many records that cost.
    pub fn close(&self) -> Result<(), Error> {
        self.handle.close();
        self.core().queue.closed_in_full()
    }

    /// The catalogue of tokens: issue, list, revoke.
    #[must_use]
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens::new(self.core())
    }

    /// Sums and records of usage.
    #[must_use]
    pub fn stats(&self) -> Stats<'_> {
        Stats::new(self.core())
    }

    /// The filter of paths that leave no record, for adapters that ask before they arm anything. An
    /// adapter that says the path to [`AuthRequest::path`] needs not ask.
    #[must_use]
    pub fn path_filter(&self) -> &PathFilter {
        &self.core().path_filter
    }

    /// Accounts and condition, at one moment. From memory.
    #[must_use]
    pub fn health(&self) -> Health {
        let core = self.core();
        Health {
            filtered: core.counters.filtered.load(Ordering::Relaxed),
            strangers: core.counters.strangers.load(Ordering::Relaxed),
            anonymous: core.counters.anonymous.load(Ordering::Relaxed),
            cached_tokens: core.cache.len() as u64,
            unclean_ends: core.unclean_ends,
            ..core.queue.health()
        }
    }
}

impl fmt::Debug for TokenTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenTracker").field("health", &self.health()).finish()
    }
}

impl Handle {
    fn close(&self) {
        self.core.queue.close();
        self.core.follower.stop();
        let threads = std::mem::take(&mut *self.threads.lock());
        let this = std::thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != this) {
            // A thread that panicked has ended the queue on its way out.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

fn settle(usage: Usage, blocking: bool) -> Receipt {
    match usage.into_parts() {
        Some((mut ticket, status, elapsed)) => ticket.settle(status, elapsed, blocking),
        None => Receipt::nothing_to_store(),
    }
}

impl Core {
    fn moment(&self) -> Moment {
        Moment { wall: Timestamp::from(self.clock.now()), monotonic: self.clock.monotonic() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from(self.clock.now())
    }

    /// The answer, where it needs no look-up.
    fn recall(&self, request: &AuthRequest<'_>, now: Moment) -> Option<Result<Access, AuthError>> {
        let token = match self.presentable(request) {
            Ok(token) => token,
            Err(reason) => return Some(Err(self.stranger(reason))),
        };
        let entry = self.cache.get(self.cache.key(token));
        match entry {
            Some(entry) if self.follower.is_fresh(now.monotonic, BOUND) => {
                Some(self.decide(&entry, request, now))
            }
            Some(_) => None,
            None => self.implausible(token).map(|reason| Err(self.stranger(reason))),
        }
    }

    fn presentable<'r>(&self, request: &'r AuthRequest<'_>) -> Result<&'r str, DenialReason> {
        let token = request.credential.as_deref().map_err(|reason| *reason)?;
        if token.len() > self.max_token_length { Err(DenialReason::TooLong) } else { Ok(token) }
    }

    /// Why a token is refused that needs no look-up to see it.
    fn implausible(&self, token: &str) -> Option<DenialReason> {
        let well_formed = is_b64token(token)
            && (token.contains('.') || self.opaque_prefix.parse(token).is_some());
        (!well_formed).then_some(DenialReason::Malformed)
    }

    /// The answer after verifying the token and looking it up.
    fn consult(&self, request: &AuthRequest<'_>, now: Moment) -> Result<Access, AuthError> {
        let token = self.presentable(request).map_err(|reason| self.stranger(reason))?;
        let (key, terms) = self.verify(token).map_err(|reason| self.stranger(reason))?;
        let cache_key = self.cache.key(token);
        match self.look_up(&key, terms) {
            Ok(Some(entry)) => {
                let entry = Arc::new(entry);
                self.cache.insert(cache_key, Arc::clone(&entry));
                self.decide(&entry, request, now)
            }
            Ok(None) => Err(self.stranger(DenialReason::UnknownToken)),
            Err(failure) => match self.stale(cache_key, now) {
                Some(entry) => self.decide(&entry, request, now),
                None => Err(AuthError::Unavailable(Unavailable::new(to_error(failure)))),
            },
        }
    }

    /// What the catalogue knows the token by, once its form and signature are found good.
    fn verify(&self, token: &str) -> Result<(CredentialKey, Terms), DenialReason> {
        if !is_b64token(token) {
            return Err(DenialReason::Malformed);
        }
        if token.contains('.') {
            let jwt = self.issuers.verify(token)?;
            return Ok((CredentialKey::Jwt { issuer: jwt.issuer, jti: jwt.token_id }, jwt.terms));
        }
        let hash = self.opaque_prefix.parse(token).ok_or(DenialReason::Malformed)?;
        Ok((CredentialKey::Hash(hash), Terms::default()))
    }

    fn look_up(&self, key: &CredentialKey, terms: Terms) -> anyhow::Result<Option<Entry>> {
        let reader = self.store.reader()?;
        for _ in 0..MAX_LOOK_UPS {
            let found = reader.catalogue().find(key)?;
            let Some(row) = found.row else { return Ok(None) };
            match self.cache.admit(row.id, found.generation, row.last_used_at) {
                Admission::Outdated => {}
                Admission::Current(live, refused) => {
                    let state = refused.unwrap_or(row.state);
                    let grant = Arc::new(grant(row, &terms));
                    return Ok(Some(Entry { identity: Identity { grant, live }, state, terms }));
                }
            }
        }
        anyhow::bail!("the token changes faster than it can be looked up")
    }

    /// A cached token to go by while the storage fails, where the builder allowed that.
    fn stale(&self, key: CacheKey, now: Moment) -> Option<Arc<Entry>> {
        let allowed = self.follower.is_fresh(now.monotonic, self.serve_stale);
        self.cache.get(key).filter(|_| allowed && !self.serve_stale.is_zero())
    }

    fn decide(
        &self,
        entry: &Entry,
        request: &AuthRequest<'_>,
        now: Moment,
    ) -> Result<Access, AuthError> {
        let identity = entry.identity.clone();
        let recorder = self.recorder.as_ref().filter(|_| !self.filters(request)).map(Arc::clone);
        let ticket = Ticket::armed(recorder, identity.grant.id, &request.facts, now.monotonic);
        match judge(entry, request, now.wall) {
            Ok(()) => {
                self.note_use(&identity, now.wall);
                Ok(Access::new(identity, ticket))
            }
            Err(reason) => {
                let (realm, scope) = (self.realm.as_deref(), request.scope.as_deref());
                let ticket = ticket.denied(reason);
                let denied = Denied::verified(reason, identity, ticket, realm, scope);
                Err(AuthError::Denied(denied))
            }
        }
    }

    fn filters(&self, request: &AuthRequest<'_>) -> bool {
        let filtered = request.path.as_deref().is_some_and(|path| self.path_filter.matches(path));
        if filtered {
            self.counters.filtered.fetch_add(1, Ordering::Relaxed);
        }
        filtered
    }

    fn note_use(&self, identity: &Identity, now: Timestamp) {
        if self.tracked_since.is_none() {
            return;
        }
        let (token, live) = (identity.grant.id, &identity.live);
        let seen = live.last_used();
        if self.throttle.admits(token, live, now) && !self.queue.push_last_use(token, now) {
            self.throttle.retract(token, live, seen, now);
        }
    }

    fn stranger(&self, reason: DenialReason) -> AuthError {
        let counter = match reason {
            DenialReason::CredentialMissing => &self.counters.anonymous,
            _ => &self.counters.strangers,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        AuthError::Denied(Denied::stranger(reason, self.realm.as_deref()))
    }

    fn still_holds(&self, identity: &Identity) -> Result<bool, Unavailable> {
        let now = self.moment();
        if identity.grant.ends_at.is_some_and(|ends_at| now.wall >= ends_at) {
            return Ok(false);
        }
        if identity.live.is_current() && self.follower.is_fresh(now.monotonic, BOUND) {
            return Ok(true);
        }
        let found =
            self.store.reader().and_then(|reader| reader.catalogue().find_id(identity.grant.id));
        let row = found.map_err(|failure| Unavailable::new(to_error(failure)))?;
        let refused = self.cache.refused(identity.grant.id, row.generation);
        Ok(!refused && row.row.is_some_and(|row| row.status(now.wall) == TokenStatus::Active))
    }
}

/// What requests need of a row. The kind is that of the token presented: a JWT is a legacy one where it
/// lacks the mark.
fn grant(row: TokenRow, terms: &Terms) -> Grant {
    let kind = match row.kind {
        TokenKind::Opaque => TokenKind::Opaque,
        _ if terms.marked => TokenKind::Jwt,
        _ => TokenKind::LegacyJwt,
    };
    let ends_at = match (row.expires_at, terms.expires_at) {
        (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
        (ours, theirs) => ours.or(theirs),
    };
    Grant {
        id: row.id,
        owner: row.owner,
        name: row.name,
        kind,
        scopes: row.scopes,
        resource: row.resource,
        expires_at: row.expires_at,
        ends_at,
    }
}

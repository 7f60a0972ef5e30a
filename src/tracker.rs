//! The handle that a service holds.

mod backup;
mod care;
mod export;
mod telemetry;
mod weak;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::access::Access;
use crate::builder::Builder;
use crate::engine::{Consulted, Engine, Moment};
use crate::error::Error;
use crate::health::Health;
use crate::identity::Identity;
use crate::introspection::Introspection;
use crate::jwt::KeySet;
use crate::path_filter::PathFilter;
use crate::presence::Presence;
use crate::reason::DenialReason;
use crate::receipt::Receipt;
use crate::refusal::{AuthError, Unavailable};
use crate::request::AuthRequest;
use crate::stats::Stats;
use crate::store::Step;
use crate::tokens::Tokens;
use crate::usage::Usage;
pub use export::ExportReport;
pub use weak::WeakTokenTracker;

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

/// The threads, joined when the last handle goes.
struct Handle {
    engine: Engine,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Let go of last: whoever opens the file after us must not take us for dead while we write.
    _presence: Option<Presence>,
}

impl TokenTracker {
    /// Every knob, its default and its bounds: see [`Builder`].
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(
        engine: Engine,
        threads: Vec<JoinHandle<()>>,
        presence: Option<Presence>,
    ) -> Self {
        let threads = Mutex::new(threads);
        Self { handle: Arc::new(Handle { engine, threads, _presence: presence }) }
    }

    fn engine(&self) -> &Engine {
        &self.handle.engine
    }

    /// Says who is calling, and arms the ticket that records how the request ends.
    ///
    /// Takes a token or an [`AuthRequest`] that says more. One path serves JWTs, legacy JWTs and opaque
    /// tokens. Cost: a token that was seen before is judged from memory, in about a microsecond; another
    /// one takes a signature check and one look-up in the file, typically under 100 µs. The first use of a secret that
    /// [`rotate`](Tokens::rotate) made also waits for its commit, up to 200 ms.
    /// A request that has to take units of its [`Quota`](crate::Quota) out of the file waits for a commit: one in a
    /// hundred, as a rule.
    ///
    /// # Errors
    /// [`AuthError::Denied`] is an answer: the token is no good, or not good for this.
    /// [`AuthError::Unavailable`] is a failure of the storage, and never stands for a refusal.
    pub fn authenticate<'a>(
        &self,
        request: impl Into<AuthRequest<'a>>,
    ) -> Result<Access, AuthError> {
        let request = request.into();
        let engine = self.engine();
        let now = engine.moment();
        if let Some(answer) = engine.recall(&request, now) {
            return answer;
        }
        let answer = self.look_up(&request, now);
        engine.count_look_up(&answer);
        answer
    }

    /// The answer after a look-up, and after what that brings into the catalogue.
    fn look_up(&self, request: &AuthRequest<'_>, now: Moment) -> Result<Access, AuthError> {
        let engine = self.engine();
        let newcomer = match engine.consult(request, now) {
            Consulted::Answer(answer) => {
                return answer.inspect(|access| self.tokens().note_first_use(access.identity()));
            }
            Consulted::Adopt(newcomer) => newcomer,
        };
        let adopted = self.tokens().adopt(newcomer).map_err(Unavailable::new)?;
        match engine.consult(request, now) {
            Consulted::Answer(answer) if adopted => answer,
            _ => Err(engine.stranger(DenialReason::UnknownToken)),
        }
    }

    /// As [`authenticate`](TokenTracker::authenticate), if that needs neither the file nor a signature
    /// check; `None` if it does, and then nothing is recorded or used of a quota. Safe on an async thread: an adapter asks this first and takes the request
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
        let engine = self.engine();
        engine.recall(request, engine.moment())
    }

    /// What a token is, by RFC 7662: told to whoever may ask, without counting as its use. Cost: a signature
    /// check and a look-up in the file.
    ///
    /// # Errors
    /// [`Unavailable`] where the file cannot be asked.
    pub fn introspect(&self, token: &str) -> Result<Introspection, Unavailable> {
        self.engine().introspect(token)
    }

    /// Gives an issuer (by its name, empty for the unnamed one) other keys, from the next call on. The keys
    /// it had verify for `overlap` longer, up to a year. Other processes have keys of their own to replace.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use token_tracker::{Algorithm, JwtKey, NewToken, TokenTracker};
    /// # let old = JwtKey::hmac(Algorithm::Hs256, &[1; 32])?.kid("2026-01");
    /// # let new = JwtKey::hmac(Algorithm::Hs256, &[2; 32])?.kid("2026-02");
    /// let tracker = TokenTracker::builder().jwt_key(old).in_memory()?;
    /// let issued = tracker.tokens().issue(NewToken::jwt("alice", "nightly"))?;
    /// tracker.replace_keys("", new.into(), Duration::from_secs(86_400))?;
    /// assert!(tracker.authenticate(&issued.secret).is_ok(), "for another day");
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` where there is no such issuer, the set is not sound, or the overlap too long.
    pub fn replace_keys(&self, issuer: &str, keys: KeySet, overlap: Duration) -> Result<(), Error> {
        self.engine().replace_keys(issuer, keys, overlap)
    }

    /// Whether a token that was authenticated earlier still holds: what a long stream asks now and then.
    /// From memory, unless something about the token changed.
    ///
    /// # Errors
    /// [`Unavailable`] where the file had to be asked and could not be.
    pub fn still_holds(&self, identity: &Identity) -> Result<bool, Unavailable> {
        self.engine().still_holds(identity)
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
        self.engine().queue.flush()
    }

    /// Writes what is in the queue, ends the threads and marks the end as clean. Later settlements are
    /// counted drops; a second call does nothing. Blocks; for a [`Hook`](crate::Hook) that is still at it, a second at
    /// most.
    ///
    /// # Errors
    /// `Lost` where the storage failed to the end; health says how many records that cost.
    pub fn close(&self) -> Result<(), Error> {
        self.handle.close();
        self.engine().queue.wait_for_end()
    }

    /// Sums up and removes what is due: by itself, this happens a minute after the last time, between other
    /// work. Blocks until there is nothing left to do, in steps of a few milliseconds.
    ///
    /// To it belongs a census, which by itself is begun once an hour: a walk over all tokens, a thousand a step. It finds
    /// those that a [`Hook`](crate::Hook) is to be told of as [dormant](crate::Hook::dormant) or
    /// [expiring](crate::Hook::expiring), and removes for good (in the audit as
    /// [`Act::Remove`](crate::Act::Remove)) those that
    /// * are revoked or expired, and
    /// * have been so, and neither used nor asked for nor changed, for longer than daily sums and the audit are kept, so
    ///   that neither is of them, and
    /// * are not known by a JWT that could be good again without them: the `exp` of each must be known and over for a
    ///   day. One without `exp`, and one that was registered, is remembered for ever.
    ///
    /// Of living tokens it removes the [credentials](Tokens::credentials) that were rotated out as long ago, and were
    /// not asked for since, by the same rule for those that are JWTs.
    ///
    /// A census that finds nothing reads the row of each token, a thousand to a transaction, and writes nothing.
    ///
    /// ```
    /// # let tracker = token_tracker::TokenTracker::builder().in_memory()?;
    /// tracker.upkeep()?;
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ClockInDoubt` where nothing may be removed; `Closed`; `Storage` or `Busy` where a step fails, and those
    /// before it are done.
    pub fn upkeep(&self) -> Result<(), Error> {
        let engine = self.engine();
        engine.upkeep.check_clock()?;
        // What is recorded meanwhile is rolled up later: once for what is old to go, and once for all.
        let (mut roll_ups, mut counts_tokens) = (0, false);
        loop {
            let upkeep = Arc::clone(&engine.upkeep);
            match engine.queue.run(move |session| upkeep.step(session))?? {
                Step::Worked => {}
                Step::RolledUp if roll_ups == 0 => roll_ups += 1,
                // Once the sums are gone that would keep tokens from going.
                Step::Idle | Step::RolledUp if !counts_tokens => {
                    let upkeep = Arc::clone(&engine.upkeep);
                    engine.queue.run(move |_| upkeep.begin_census())?;
                    counts_tokens = true;
                }
                Step::Idle | Step::RolledUp => return Ok(()),
            }
        }
    }

    /// Says that the wall clock is right as it is, after it moved by over a minute: what pauses while
    /// [`Health::clock_in_doubt`] goes on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use token_tracker::{Clock, ManualClock, TokenTracker};
    /// let clock = ManualClock::default();
    /// let tracker = TokenTracker::builder().clock(clock.clone()).in_memory()?;
    /// clock.set_wall(clock.now() + Duration::from_secs(86_400));
    /// assert!(tracker.health().clock_in_doubt);
    /// tracker.confirm_clock();
    /// assert!(!tracker.health().clock_in_doubt);
    /// # Ok::<(), token_tracker::Error>(())
    /// ```
    pub fn confirm_clock(&self) {
        self.engine().upkeep.clock.confirm();
    }

    /// The catalogue of tokens: issue, list, revoke.
    #[must_use]
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens::new(self.engine())
    }

    /// Sums and records of usage.
    #[must_use]
    pub fn stats(&self) -> Stats<'_> {
        Stats::new(self.engine())
    }

    /// The filter of paths that leave no record, for adapters that ask before they arm anything. An
    /// adapter that says the path to [`AuthRequest::path`] needs not ask.
    #[must_use]
    pub fn path_filter(&self) -> &PathFilter {
        &self.engine().path_filter
    }

    /// Accounts and condition, at one moment. From memory.
    #[must_use]
    pub fn health(&self) -> Health {
        self.engine().health()
    }
}

impl fmt::Debug for TokenTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenTracker").field("health", &self.health()).finish()
    }
}

impl Handle {
    fn close(&self) {
        self.engine.give_leases_back();
        self.engine.queue.close();
        self.engine.follower.stop();
        self.engine.checkpoints.stop();
        let threads = std::mem::take(&mut *self.threads.lock());
        if threads.is_empty() {
            return;
        }
        let this = std::thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != this) {
            // A thread that panicked has ended the queue on its way out.
            let _ = thread.join();
        }
        // Last: what the writer does at its end is told too.
        self.engine.events.close();
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

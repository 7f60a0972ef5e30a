//! The way a request takes through the parts.

mod attempts;
mod catch_up;
mod denials;
mod first_uses;
mod introspect;
mod lists;
mod look_up;
mod quotas;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::RwLock;

use crate::access::Access;
use crate::address::ClientAddresses;
use crate::cache::{Cache, CacheKey};
use crate::checkpoints::Checkpoints;
use crate::clock::Clock;
use crate::denial::Denied;
use crate::durability::Durability;
use crate::error::Error;
use crate::events::Events;
use crate::follower::{BOUND, Follower};
use crate::health::Health;
use crate::identity::{Grant, Identity};
use crate::jwt::{Issuers, KeySet};
use crate::limiter::Limiter;
use crate::opaque::OpaquePrefix;
use crate::path_filter::PathFilter;
use crate::policy::{judge, judge_token};
use crate::queue::Queue;
use crate::reason::DenialReason;
use crate::refusal::{AuthError, Unavailable};
use crate::request::{AuthRequest, is_b64token};
use crate::store::{Store, to_error};
use crate::throttle::Throttle;
use crate::ticket::{Recorder, Ticket};
use crate::timestamp::Timestamp;
use crate::token::{ERASED, TokenId, TokenStatus};
use crate::upkeep::Upkeep;
use crate::vitals::Vitals;
use attempts::{Attempts, Way};
use denials::dead_credential;
use first_uses::FirstUses;
use lists::Lists;
pub(crate) use look_up::Newcomer;
use look_up::Sight;
use quotas::Verdict;

/// Everything that all handles share, but for the threads.
pub(crate) struct Engine {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<Store>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) queue: Arc<Queue>,
    /// Exchanged as a whole when keys are replaced.
    issuers: RwLock<Arc<Issuers>>,
    pub(crate) opaque_prefix: OpaquePrefix,
    /// Since when every token's last use is known; `None` while tracking is off.
    pub(crate) tracked_since: Option<Timestamp>,
    pub(crate) follower: Arc<Follower>,
    throttle: Throttle,
    pub(crate) limiter: Limiter,
    lists: Lists,
    attempts: Attempts,
    client_addresses: ClientAddresses,
    pub(crate) path_filter: PathFilter,
    /// What a token must have for its bearer to manage tokens.
    pub(crate) management_scope: Arc<str>,
    pub(crate) max_token_length: usize,
    serve_stale: Duration,
    realm: Option<String>,
    vitals: Arc<Vitals>,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) events: Arc<Events>,
    pub(crate) first_uses: Arc<FirstUses>,
}

/// What was opened.
pub(crate) struct Parts {
    pub(crate) store: Arc<Store>,
    pub(crate) follower: Arc<Follower>,
    pub(crate) tracked_since: Option<Timestamp>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) checkpoints: Arc<Checkpoints>,
}

/// What the knobs come to, checked.
pub(crate) struct Config {
    pub(crate) issuers: Issuers,
    pub(crate) opaque_prefix: OpaquePrefix,
    pub(crate) realm: Option<String>,
    pub(crate) management_scope: Arc<str>,
    pub(crate) max_token_length: usize,
    pub(crate) durability: Durability,
    pub(crate) recording: bool,
    pub(crate) last_used_interval: Duration,
    pub(crate) last_used_capacity: NonZeroUsize,
    pub(crate) path_filter: PathFilter,
    pub(crate) serve_stale: Duration,
    pub(crate) client_addresses: ClientAddresses,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What a look-up comes to.
pub(crate) enum Consulted {
    /// The token is to be taken into the catalogue first.
    Adopt(Newcomer),
    Answer(Result<Access, AuthError>),
}

/// The two clocks, read once a call.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    wall: Timestamp,
    monotonic: Duration,
}

impl Engine {
    pub(crate) fn new(config: Config, parts: Parts) -> Self {
        let vitals = parts.vitals;
        let recorder = || Recorder {
            queue: Arc::clone(&vitals.queue),
            clock: Arc::clone(&config.clock),
            acknowledges_commit: config.durability.acknowledges_commit(),
            client_addresses: config.client_addresses.clone(),
        };
        let attempts = Attempts::new(|| config.recording.then(|| Arc::new(recorder())));
        let limiter = Limiter::new(Arc::clone(&config.clock));
        Self {
            clock: config.clock,
            store: parts.store,
            cache: Arc::clone(&vitals.cache),
            queue: Arc::clone(&vitals.queue),
            issuers: RwLock::new(Arc::new(config.issuers)),
            opaque_prefix: config.opaque_prefix,
            tracked_since: parts.tracked_since,
            follower: parts.follower,
            throttle: Throttle::new(config.last_used_interval, config.last_used_capacity),
            limiter,
            lists: Lists::default(),
            attempts,
            client_addresses: config.client_addresses,
            path_filter: config.path_filter,
            management_scope: config.management_scope,
            max_token_length: config.max_token_length,
            serve_stale: config.serve_stale,
            realm: config.realm,
            upkeep: Arc::clone(&vitals.upkeep),
            events: Arc::clone(&vitals.events),
            vitals,
            checkpoints: parts.checkpoints,
            first_uses: Arc::default(),
        }
    }

    pub(crate) fn health(&self) -> Health {
        self.vitals.health()
    }

    pub(crate) fn moment(&self) -> Moment {
        let (micros, monotonic) = self.clock.moment();
        Moment { wall: Timestamp::from_micros(micros), monotonic }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from(self.clock.now())
    }

    /// The answer, where it needs no look-up: then the attempt is counted too.
    pub(crate) fn recall(
        &self,
        request: &AuthRequest<'_>,
        now: Moment,
    ) -> Option<Result<Access, AuthError>> {
        let token = match self.presentable(request) {
            Ok(token) => token,
            Err(reason) => return Some(Err(self.misshapen(reason))),
        };
        // Freshness first: what is retired after this look at the clock is then seen to be.
        let fresh = self.follower.is_fresh(now.monotonic, BOUND);
        match self.cache.get(self.cache.key(token)) {
            Some(grant) if fresh && grant.terms.key_holds(now.wall) => {
                // Before anything is armed or counted: who is to wait for the file comes again.
                let verdict = self.weigh(&grant, request, now)?;
                match &verdict {
                    Ok(_) => self.attempts.count_allowed_hit(grant.id),
                    Err(refusal) => self.attempts.count_denied(refusal.reason, Way::Hit),
                }
                Some(self.decide(grant, request, now, verdict))
            }
            Some(_) => None,
            None => self.implausible(token).map(|reason| Err(self.misshapen(reason))),
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

    pub(crate) fn issuers(&self) -> Arc<Issuers> {
        Arc::clone(&self.issuers.read())
    }

    /// Other keys for an issuer. Everything that is cached is verified anew.
    pub(crate) fn replace_keys(
        &self,
        issuer: &str,
        keys: KeySet,
        overlap: Duration,
    ) -> Result<(), Error> {
        let now = self.now();
        let mut issuers = self.issuers.write();
        let replaced = Arc::new(issuers.with_keys(issuer, keys, now, overlap)?);
        *issuers = replaced;
        drop(issuers);
        self.cache.forget_verified();
        Ok(())
    }

    /// The answer after verifying the token and looking it up.
    pub(crate) fn consult(&self, request: &AuthRequest<'_>, now: Moment) -> Consulted {
        let token = match self.presentable(request) {
            Ok(token) => token,
            Err(reason) => return Consulted::Answer(Err(self.stranger(reason))),
        };
        if let Some(grant) = self.short_of_units(token, now) {
            return Consulted::Answer(self.lease_and_decide(grant, request, now));
        }
        Consulted::Answer(match self.look_up(token, now) {
            Ok(Sight::Known(grant)) => {
                // Every use of a new credential comes this way, until the first is stored.
                if !grant.standing.is_new() {
                    self.cache.insert(self.cache.key(token), &grant);
                }
                self.lease_and_decide(grant, request, now)
            }
            Ok(Sight::Passed(passed)) => self.pass(passed, request, now),
            Ok(Sight::Stranger(reason)) => Err(self.stranger(reason)),
            Ok(Sight::Adoptable(newcomer)) => return Consulted::Adopt(newcomer),
            Err(failure) => match self.stale(self.cache.key(token), now) {
                Some(grant) => self.lease_and_decide(grant, request, now),
                None => Err(Unavailable::new(to_error(failure)).into()),
            },
        })
    }

    /// Lets a token of an outside issuer through, or refuses it, without a trace but a count.
    fn pass(
        &self,
        passed: Grant,
        request: &AuthRequest<'_>,
        now: Moment,
    ) -> Result<Access, AuthError> {
        judge(&passed, request, now.wall).map_err(|reason| self.stranger(reason))?;
        let identity = Identity { grant: Arc::new(passed) };
        let ticket = self.arm(None, TokenId::UNTRACKED, request, now);
        Ok(Access::new(identity, ticket))
    }

    /// A cached token to go by while the storage fails, where the builder allowed that.
    fn stale(&self, key: CacheKey, now: Moment) -> Option<Arc<Grant>> {
        let allowed = self.follower.is_fresh(now.monotonic, self.serve_stale);
        self.cache.get(key).filter(|_| allowed && !self.serve_stale.is_zero())
    }

    fn decide(
        &self,
        grant: Arc<Grant>,
        request: &AuthRequest<'_>,
        now: Moment,
        verdict: Verdict,
    ) -> Result<Access, AuthError> {
        let identity = Identity { grant };
        let recorder = self.attempts.recorder(identity.grant.id).filter(|_| !self.filters(request));
        let ticket = self.arm(recorder.cloned(), identity.grant.id, request, now);
        match verdict {
            Ok(reservation) => {
                self.note_use(&identity, now.wall);
                let ticket = ticket.late(identity.grant.standing.outgoing()).reserving(reservation);
                Ok(Access::new(identity, ticket))
            }
            Err(refusal) => {
                let (realm, scope) = (self.realm.as_deref(), request.scope.as_deref());
                let ticket = ticket
                    .denied(refusal.reason)
                    .late(dead_credential(&identity.grant, refusal.reason));
                let ticket =
                    if &*identity.grant.owner == ERASED { ticket.anonymous() } else { ticket };
                self.tell_of_denial(refusal.reason, &identity.grant, request, &ticket, now.wall);
                let denied = Denied::verified(refusal, identity, ticket, realm, scope);
                Err(AuthError::Denied(denied))
            }
        }
    }

    fn arm(
        &self,
        recorder: Option<Arc<Recorder>>,
        token: TokenId,
        request: &AuthRequest<'_>,
        now: Moment,
    ) -> Ticket {
        Ticket::armed(recorder, token, &request.facts, &self.client_addresses, now.monotonic)
    }

    fn filters(&self, request: &AuthRequest<'_>) -> bool {
        let filtered = request.path.as_deref().is_some_and(|path| self.path_filter.matches(path));
        if filtered {
            self.vitals.counters.filtered.fetch_add(1, Ordering::Relaxed);
        }
        filtered
    }

    fn note_use(&self, identity: &Identity, now: Timestamp) {
        if self.tracked_since.is_none() {
            return;
        }
        let (token, live) = (identity.grant.id, &identity.grant.live);
        let seen = live.last_used();
        if self.throttle.admits(token, live, now) && !self.queue.push_last_use(token, now) {
            self.throttle.retract(token, live, seen, now);
        }
    }

    /// Refuses, and counts, what needs no look-up to see that it is no token.
    fn misshapen(&self, reason: DenialReason) -> AuthError {
        self.attempts.count_denied(reason, Way::Unasked);
        self.stranger(reason)
    }

    pub(crate) fn stranger(&self, reason: DenialReason) -> AuthError {
        let counter = match reason {
            DenialReason::CredentialMissing => &self.vitals.counters.anonymous,
            _ => &self.vitals.counters.strangers,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        AuthError::Denied(Denied::stranger(reason, self.realm.as_deref()))
    }

    pub(crate) fn still_holds(&self, identity: &Identity) -> Result<bool, Unavailable> {
        let (now, grant) = (self.moment(), &identity.grant);
        if grant.ends_at.is_some_and(|ends_at| now.wall >= ends_at)
            || !grant.terms.key_holds(now.wall)
        {
            return Ok(false);
        }
        let fresh = self.follower.is_fresh(now.monotonic, BOUND);
        // The file knows nothing of one that was passed.
        if !identity.is_tracked() || (fresh && grant.live.is_current()) {
            return Ok(judge_token(grant, now.wall).is_ok());
        }
        let credential = grant.standing.id;
        let found = self.store.read(|reader| reader.catalogue().authority_of(credential));
        let found = found.map_err(|failure| Unavailable::new(to_error(failure)))?;
        Ok(found.is_some_and(|found| {
            let not_before = found.restrictions.and_then(|restrictions| restrictions.not_before);
            found.state.status(found.expires_at, now.wall) == TokenStatus::Active
                && not_before.is_none_or(|not_before| now.wall >= not_before.into())
                && !found.standing.is_over(now.wall)
                && !self.cache.refused(found.id, found.generation)
        }))
    }
}

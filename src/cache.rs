//! Tokens that were authenticated before, and the rules that keep a cached one from outliving its
//! authority.
//!
//! * Every change of authority has a generation, and is applied here before its commit starts.
//! * A look-up that read the store before that may not be inserted, and a refusal that it could not see
//!   is laid over what it read.
//! * Every form of a token that may be cached is known by the token's number, and a change retires them
//!   all ([`Live`](crate::live::Live)).

mod mass;
mod table;

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::hash::Hasher;
use std::sync::{Arc, Weak};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::error::Error;
use crate::identity::Grant;
use crate::secret::random;
use crate::sync::Mutex;
use crate::token::{TokenId, TokenState};
use table::Table;

/// Refusals kept beyond their commit. They matter only to look-ups that began before it.
const MAX_REFUSALS: usize = 4_096;

/// The name of a token text in this process: a keyed hash that nobody outside can aim at. Plain tokens
/// are not kept. Two texts of one key would be one token: all 128 bits count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheKey(u128);

/// What may be made of a look-up.
#[derive(Debug)]
pub(crate) enum Admission {
    /// To be judged by, in the state that a change gave it which the look-up could not see yet. Retired
    /// from the start where it may not be cached.
    Current(Arc<Grant>),
    /// Read too long ago: look it up again.
    Outdated(Box<Grant>),
}

pub(crate) struct Cache {
    keys: (u64, u64),
    table: Table,
    /// Decides what may be cached. Never held together with a slot of the table.
    gate: Mutex<Gate>,
}

struct Gate {
    /// Everything up to here is committed and applied.
    generation: u64,
    /// What the commit that is under way makes the newest generation; 0 where none is.
    pending: u64,
    /// Counts replacements of keys: what was verified before the last is not cached.
    keys_replaced: u64,
    /// Everything that was admitted to be cached and is held by anybody, by its token.
    tokens: HashMap<TokenId, Forms>,
    tokens_kept: usize,
    refusals: HashMap<TokenId, Refusal>,
    refusals_kept: usize,
    /// How many were settled since some were let go of.
    settled: usize,
    /// Refusals up to here were let go, so that what was read before is worth nothing.
    horizon: u64,
}

/// What was admitted of one token: one look-up for each of its texts that are in use, as a rule.
enum Forms {
    One(Weak<Grant>),
    Several(Vec<Weak<Grant>>),
}

struct Refusal {
    state: TokenState,
    /// A look-up that is as new as this has seen the change. `u64::MAX` until it is committed.
    visible_from: u64,
    /// How many callers wait for the commit of a refusal of this token.
    waiting: u32,
    /// A commit failed that its caller was told of. The refusal stays until one succeeds.
    lasting: bool,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Result<Self, Error> {
        let random = random::<16>()?;
        let (low, high) = random.split_at(8);
        let half = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("a half is 8 bytes"));
        Ok(Self {
            keys: (half(low), half(high)),
            table: Table::new(capacity),
            gate: Mutex::new(Gate {
                generation: 0,
                pending: 0,
                keys_replaced: 0,
                tokens: HashMap::new(),
                tokens_kept: capacity,
                refusals: HashMap::new(),
                refusals_kept: MAX_REFUSALS,
                settled: 0,
                horizon: 0,
            }),
        })
    }

    pub(crate) fn key(&self, token: &str) -> CacheKey {
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        hasher.write(token.as_bytes());
        CacheKey(hasher.finish128().as_u128())
    }

    /// The entry of a token, if its authority has not changed since.
    pub(crate) fn get(&self, key: CacheKey) -> Option<Arc<Grant>> {
        let grant = self.table.get(key).filter(|grant| grant.live.is_current())?;
        grant.live.mark_use();
        Some(grant)
    }

    pub(crate) fn insert(&self, key: CacheKey, grant: &Arc<Grant>) {
        if grant.live.is_current() {
            self.table.insert(key, grant);
        }
    }

    /// How many tokens are cached, the retired ones among them.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// How often keys were replaced. To be asked before the keys are.
    pub(crate) fn keys_replaced(&self) -> u64 {
        self.gate.lock().keys_replaced
    }

    /// Keys were replaced: everything is to be verified anew.
    pub(crate) fn forget_verified(&self) {
        let mut gate = self.gate.lock();
        gate.keys_replaced += 1;
        gate.tokens.drain().for_each(|(_, forms)| forms.retire());
    }

    /// Judges a look-up that was read at `generation`, after as many replacements of keys.
    pub(crate) fn admit(&self, mut grant: Grant, generation: u64, keys_replaced: u64) -> Admission {
        let mut gate = self.gate.lock();
        if generation < gate.horizon {
            return Admission::Outdated(Box::new(grant));
        }
        let refusal = gate.refusals.get(&grant.id);
        let refusal = refusal.filter(|refusal| generation < refusal.visible_from);
        let current = refusal.is_none()
            && generation >= gate.generation.max(gate.pending)
            && keys_replaced == gate.keys_replaced;
        // What is final in the row stays: another process may have stored it beside a suspension that could not be.
        if let Some(refusal) = refusal.filter(|_| grant.state != TokenState::Revoked) {
            grant.state = refusal.state;
        }
        if !current {
            grant.live.retire();
            return Admission::Current(Arc::new(grant));
        }
        Admission::Current(gate.admit(grant))
    }

    /// Whether a change refuses the token that a look-up at `generation` could not see yet.
    pub(crate) fn refused(&self, token: TokenId, generation: u64) -> bool {
        let gate = self.gate.lock();
        generation < gate.horizon
            || gate.refusals.get(&token).is_some_and(|refusal| generation < refusal.visible_from)
    }

    /// Whether the token was revoked in this process, durably or not.
    pub(crate) fn is_revoked(&self, token: TokenId) -> bool {
        let gate = self.gate.lock();
        gate.refusals.get(&token).is_some_and(|refusal| refusal.state == TokenState::Revoked)
    }

    /// Refuses a token from now on, before its change even begins. Settled by one of
    /// [`Cache::refusal_committed`], [`Cache::refusal_failed`] and [`Cache::refusal_withdrawn`].
    pub(crate) fn refuse(&self, token: TokenId, state: TokenState) {
        self.gate.lock().refuse(token, state);
    }

    /// The refusal is committed: whoever reads the store at this generation sees it there. A revocation
    /// that could not be stored is not made up for by a suspension that was.
    pub(crate) fn refusal_committed(&self, token: TokenId, state: TokenState, generation: u64) {
        let mut gate = self.gate.lock();
        gate.settle(token, generation, |refusal| {
            refusal.lasting &= state != TokenState::Revoked && refusal.state == TokenState::Revoked;
        });
    }

    /// The commit failed, or may have: the token stays refused in this process.
    pub(crate) fn refusal_failed(&self, token: TokenId) {
        self.gate.lock().settle(token, u64::MAX, |refusal| refusal.lasting = true);
    }

    /// There was nothing to refuse. The row as it is counts again.
    pub(crate) fn refusal_withdrawn(&self, token: TokenId) {
        let mut gate = self.gate.lock();
        let generation = gate.generation;
        gate.settle(token, generation, |refusal| {
            // What was read before some earlier change is still refused; as revoked it is not known any longer.
            if refusal.waiting == 0 && !refusal.lasting {
                refusal.state = TokenState::Suspended;
            }
        });
    }

    /// The token was brought back, as of this generation: a suspension no longer refuses it, unless one
    /// is under way. To be called in the order of commits.
    pub(crate) fn refusal_lifted(&self, token: TokenId, generation: u64) {
        let mut gate = self.gate.lock();
        let suspended =
            |refusal: &&mut Refusal| refusal.waiting == 0 && refusal.state != TokenState::Revoked;
        if let Some(refusal) = gate.refusals.get_mut(&token).filter(suspended) {
            refusal.lasting = false;
            // Not later than it was: what was read since the suspension is right as it was read.
            refusal.visible_from = refusal.visible_from.min(generation);
        }
    }

    /// The token is new under its number: what was refused under it before was somebody's mistake, but
    /// for what is still under way and will find the token.
    pub(crate) fn refusal_forgotten(&self, token: TokenId) {
        let mut gate = self.gate.lock();
        if let Occupied(mut refusal) = gate.refusals.entry(token) {
            refusal.get_mut().lasting = false;
            if refusal.get().waiting == 0 {
                refusal.remove();
            }
        }
    }

    /// Applies changes before their commit starts: from here on no look-up of before is inserted.
    /// `generation` is what the commit will make the newest one. Settled by [`Cache::committed`] or
    /// [`Cache::failed`] before the next change is applied.
    pub(crate) fn apply(&self, tokens: &[TokenId], generation: u64) {
        let mut gate = self.gate.lock();
        gate.pending = generation;
        tokens.iter().for_each(|token| gate.retire(*token));
    }

    /// The commit that was under way succeeded.
    pub(crate) fn committed(&self) {
        let mut gate = self.gate.lock();
        gate.generation = gate.generation.max(gate.pending);
        gate.pending = 0;
    }

    /// The commit that was under way failed, or may have: if it did happen, the follower reads of it.
    pub(crate) fn failed(&self) {
        self.gate.lock().pending = 0;
    }

    /// Takes note of changes that were read from the store; `None` stands for all tokens.
    pub(crate) fn catch_up(&self, tokens: Option<&[TokenId]>, generation: u64) {
        let mut gate = self.gate.lock();
        match tokens {
            Some(tokens) => tokens.iter().for_each(|token| gate.retire(*token)),
            None => gate.tokens.drain().for_each(|(_, forms)| forms.retire()),
        }
        gate.generation = gate.generation.max(generation);
    }
}

impl Gate {
    fn refuse(&mut self, token: TokenId, state: TokenState) {
        self.retire(token);
        let refusal = self.refusals.entry(token).or_insert(Refusal {
            state,
            visible_from: u64::MAX,
            waiting: 0,
            lasting: false,
        });
        if refusal.state != TokenState::Revoked {
            refusal.state = state;
        }
        refusal.visible_from = u64::MAX;
        refusal.waiting += 1;
    }

    /// One caller less waits for the commit of a refusal. With others still waiting it stays in force.
    fn settle(&mut self, token: TokenId, visible_from: u64, settle: impl FnOnce(&mut Refusal)) {
        let Some(refusal) = self.refusals.get_mut(&token) else { return };
        refusal.waiting = refusal.waiting.saturating_sub(1);
        settle(refusal);
        if refusal.waiting == 0 && !refusal.lasting {
            refusal.visible_from = visible_from;
        }
        self.settled += 1;
        self.let_go_of_refusals();
    }

    fn retire(&mut self, token: TokenId) {
        if let Some(forms) = self.tokens.remove(&token) {
            forms.retire();
        }
    }

    fn admit(&mut self, grant: Grant) -> Arc<Grant> {
        // What nobody holds any more keeps its memory as long as it is known here: a quarter of what may
        // be cached, at most.
        if self.tokens.len() >= self.tokens_kept + self.tokens_kept / 4 + 64 {
            self.tokens.retain(|_, forms| forms.are_held());
        }
        let (token, grant) = (grant.id, Arc::new(grant));
        let form = Arc::downgrade(&grant);
        match self.tokens.entry(token) {
            Vacant(vacant) => drop(vacant.insert(Forms::One(form))),
            Occupied(mut known) => known.get_mut().push(form),
        }
        grant
    }

    /// Looked through once in a while only: any number may be under way.
    fn let_go_of_refusals(&mut self) {
        if self.refusals.len() <= self.refusals_kept || self.settled <= self.refusals_kept / 4 {
            return;
        }
        self.settled = 0;
        let horizon = &mut self.horizon;
        self.refusals.retain(|_, refusal| {
            let committed = refusal.visible_from != u64::MAX;
            if committed {
                *horizon = (*horizon).max(refusal.visible_from);
            }
            !committed
        });
        self.refusals.shrink_to(2 * MAX_REFUSALS);
    }
}

impl Forms {
    fn push(&mut self, form: Weak<Grant>) {
        match self {
            Self::One(only) if only.strong_count() == 0 => *only = form,
            Self::One(only) => *self = Self::Several(vec![std::mem::take(only), form]),
            Self::Several(forms) => {
                if forms.len() == forms.capacity() {
                    forms.retain(|form| form.strong_count() > 0);
                }
                forms.push(form);
            }
        }
    }

    fn as_slice(&self) -> &[Weak<Grant>] {
        match self {
            Self::One(form) => std::slice::from_ref(form),
            Self::Several(forms) => forms,
        }
    }

    fn are_held(&self) -> bool {
        self.as_slice().iter().any(|form| form.strong_count() > 0)
    }

    fn retire(&self) {
        self.as_slice().iter().filter_map(Weak::upgrade).for_each(|grant| grant.live.retire());
    }
}

impl CacheKey {
    fn high(self) -> u64 {
        (self.0 >> 64) as u64
    }

    fn low(self) -> u64 {
        self.0 as u64
    }
}

#[cfg(all(test, model))]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::Terms;
    use crate::live::Live;
    use crate::token::TokenKind;

    fn cache() -> Cache {
        Cache::new(64).unwrap()
    }

    fn token() -> TokenId {
        TokenId::from_row(1)
    }

    /// Whether a look-up that was read at `generation` may be cached, and what refuses it.
    fn admitted(cache: &Cache, generation: u64) -> (bool, Option<TokenState>) {
        match cache.admit(grant(token()), generation, 0) {
            Admission::Current(grant) => {
                let refused = (grant.state != TokenState::Active).then_some(grant.state);
                (grant.live.is_current(), refused)
            }
            Admission::Outdated(_) => (false, None),
        }
    }

    fn grant(token: TokenId) -> Grant {
        Grant {
            id: token,
            owner: "".into(),
            name: "".into(),
            kind: TokenKind::Jwt,
            scopes: Arc::default(),
            restrictions: None,
            meter: None,
            expires_at: None,
            ends_at: None,
            state: TokenState::Active,
            standing: crate::token::Standing::UNTRACKED,
            terms: Terms::default(),
            live: Live::new(None),
        }
    }

    fn admit(cache: &Cache) -> Arc<Grant> {
        match cache.admit(grant(token()), 0, 0) {
            Admission::Current(grant) => grant,
            Admission::Outdated(_) => panic!("outdated"),
        }
    }

    #[test]
    fn change_retires_every_form_of_its_token_that_somebody_holds() {
        let cache = cache();
        let mut forms: Vec<_> = (0..9).map(|_| admit(&cache)).collect();
        drop(forms.drain(2..5));
        forms.extend((0..9).map(|_| admit(&cache)));
        assert!(forms.iter().all(|form| form.live.is_current()));
        cache.apply(&[token()], 1);
        assert!(forms.iter().all(|form| !form.live.is_current()));
    }

    #[test]
    fn tokens_that_nobody_holds_are_forgotten_and_the_others_are_not() {
        let cache = cache();
        let held = admit(&cache);
        for number in 2..1_000 {
            drop(cache.admit(grant(TokenId::from_row(number)), 0, 0));
        }
        assert!(cache.gate.lock().tokens.len() <= 64 + 16 + 64);
        cache.catch_up(Some(&[token()]), 1);
        assert!(!held.live.is_current());
    }

    #[test]
    fn table_holds_what_fits_and_lets_go_of_what_was_not_used() {
        let cache = Cache::new(256).unwrap();
        let held = admit(&cache);
        let keys: Vec<_> = (0..10_000).map(|number| cache.key(&number.to_string())).collect();
        cache.insert(keys[0], &held);
        for key in &keys {
            assert!(cache.get(keys[0]).is_some(), "used all the time");
            let other = cache.admit(grant(TokenId::from_row(2)), 0, 0);
            let Admission::Current(other) = other else { panic!("outdated") };
            cache.insert(*key, &other);
            cache.insert(*key, &other);
            assert!(cache.len() <= 256);
        }
        let kept = keys.iter().filter(|key| cache.get(**key).is_some()).count();
        assert_eq!(kept, cache.len());
        assert!(kept > 250, "{kept}");
    }

    #[test]
    fn look_up_from_before_a_change_is_never_cached() {
        let cache = cache();
        cache.catch_up(Some(&[]), 10);
        assert_eq!(admitted(&cache, 10), (true, None));
        cache.apply(&[token()], 11);
        assert_eq!(admitted(&cache, 10), (false, None), "while the commit is under way");
        cache.committed();
        assert_eq!(admitted(&cache, 10), (false, None), "and after it");
        assert_eq!(admitted(&cache, 11), (true, None));
    }

    #[test]
    fn failed_commit_does_not_forget_what_others_changed_meanwhile() {
        let cache = cache();
        cache.catch_up(Some(&[]), 10);
        cache.apply(&[token()], 12);
        cache.catch_up(Some(&[token()]), 11);
        cache.failed();
        assert_eq!(admitted(&cache, 10), (false, None));
        assert_eq!(admitted(&cache, 11), (true, None));
    }

    #[test]
    fn newer_look_up_takes_no_refusal_from_an_older_one() {
        let cache = cache();
        cache.refuse(token(), TokenState::Revoked);
        cache.refusal_committed(token(), TokenState::Revoked, 11);
        assert_eq!(admitted(&cache, 11).1, None, "the row says so itself");
        assert_eq!(admitted(&cache, 10).1, Some(TokenState::Revoked));
        assert!(cache.refused(token(), 10) && !cache.refused(token(), 11));
    }

    #[test]
    fn suspension_that_is_stored_does_not_make_up_for_a_revocation_that_is_not() {
        let cache = cache();
        cache.refuse(token(), TokenState::Revoked);
        cache.refusal_failed(token());
        cache.refuse(token(), TokenState::Suspended);
        cache.refusal_committed(token(), TokenState::Suspended, 11);
        cache.refusal_lifted(token(), 12);
        assert_eq!(admitted(&cache, 12).1, Some(TokenState::Revoked));
        cache.refuse(token(), TokenState::Revoked);
        cache.refusal_committed(token(), TokenState::Revoked, 13);
        assert_eq!(admitted(&cache, 13).1, None, "the row says so itself");
    }

    #[test]
    fn lift_does_not_touch_a_refusal_that_is_under_way() {
        let cache = cache();
        cache.refuse(token(), TokenState::Suspended);
        cache.refusal_lifted(token(), 11);
        assert_eq!(admitted(&cache, 11).1, Some(TokenState::Suspended));
    }

    #[test]
    fn token_that_is_issued_while_it_is_being_revoked_stays_refused_though_that_is_not_stored() {
        let cache = cache();
        cache.refuse(token(), TokenState::Revoked);
        cache.refusal_forgotten(token());
        assert_eq!(admitted(&cache, 1).1, Some(TokenState::Revoked), "as soon as it is there");
        cache.refusal_failed(token());
        assert_eq!(admitted(&cache, 1).1, Some(TokenState::Revoked));
        cache.refusal_forgotten(token());
        assert_eq!(admitted(&cache, 1), (true, None), "a mistake of before");
    }

    #[test]
    fn look_up_that_was_retired_before_it_was_inserted_takes_no_place() {
        let cache = cache();
        let held = admit(&cache);
        cache.apply(&[token()], 1);
        cache.insert(cache.key("one"), &held);
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn resuming_a_token_once_more_refuses_no_look_up_that_saw_it_resumed() {
        let cache = cache();
        cache.refuse(token(), TokenState::Suspended);
        cache.refusal_committed(token(), TokenState::Suspended, 11);
        cache.refusal_lifted(token(), 12);
        cache.refusal_lifted(token(), 13);
        assert_eq!(admitted(&cache, 12).1, None);
        assert_eq!(admitted(&cache, 10).1, Some(TokenState::Suspended));
    }

    #[test]
    fn refusals_are_let_go_of_in_bounds_and_what_was_read_before_is_read_again() {
        let cache = cache();
        for number in 0..=MAX_REFUSALS as i64 {
            let token = TokenId::from_row(number);
            cache.refuse(token, TokenState::Revoked);
            cache.refusal_committed(token, TokenState::Revoked, 100 + number.unsigned_abs());
        }
        assert!(cache.gate.lock().refusals.is_empty());
        assert!(matches!(cache.admit(grant(token()), 99, 0), Admission::Outdated(_)));
        assert!(cache.refused(token(), 99));
    }
}

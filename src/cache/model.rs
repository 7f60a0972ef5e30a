//! The cache beside changes of authority, under every order of steps that a scheduler can make of them, as many as
//! there is time for. The store is a list of rows that is replaced as a whole. What callers were told is written
//! down beside it, and every answer is held against what they had been told before it was asked for.

use std::sync::Mutex as Notes;

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Mutex as Steps;
use shuttle::thread;

use super::*;
use crate::jwt::Terms;
use crate::live::Live;
use crate::policy::judge_token;
use crate::timestamp::Timestamp;
use crate::token::TokenKind;
use TokenState::{Active, Revoked, Suspended};

/// Of each kind.
const ORDERS: usize = 10_000;

/// Of these the last is in no catalogue to begin with.
const TOKENS: usize = 3;

/// Each token is known by so many texts.
const FORMS: usize = 2;

const NOW: Timestamp = Timestamp::from_seconds(0);

/// A row, the version of which tells what it was at any time: no two changes make the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Row {
    state: TokenState,
    version: u64,
}

#[derive(Clone)]
struct Catalogue {
    rows: [Option<Row>; TOKENS],
    generation: u64,
    /// Generation and token of every change.
    changes: Vec<(u64, usize)>,
}

/// What callers were told of a token, and what they are about to ask for.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// Whatever is older is not answered with.
    version: u64,
    /// Refused until somebody brings it back.
    refused: bool,
    revoked: bool,
    /// Brought back.
    active: bool,
    /// How often somebody began to refuse it, and how many are at it.
    refusals: u32,
    refusing: u32,
    /// Of those, how many are in force before it is known what they find; and of how many that is known.
    under_way: u32,
    decided: u32,
    /// How often somebody began or ended to bring it back, and how many are at it.
    returns: u32,
    returning: u32,
    /// What failed before the token was there is being forgotten.
    forgetting: bool,
    /// A refusal could not be stored, or may not have been.
    failed: bool,
}

impl Told {
    /// It is known what a refusal finds, before that has an effect.
    fn decide(&mut self) {
        self.under_way -= 1;
        self.decided += 1;
    }
}

#[derive(Debug)]
enum Failure {
    /// The catalogue says no.
    Answer,
    Storage,
}

struct World {
    cache: Cache,
    store: Steps<Catalogue>,
    /// Held by whoever writes to the file, from the beginning of a transaction to its end.
    file: Steps<()>,
    /// This process' changes are made one after the other, each with its effects.
    writer: Steps<()>,
    keys: Steps<u64>,
    /// Up to where the changes of others were read.
    followed: Steps<u64>,
    /// One commit in so many fails.
    failing: Option<u32>,
    // Not the checker's locks: what is written down is no step.
    told: Notes<[Told; TOKENS]>,
    keys_told: Notes<u64>,
}

fn id(token: usize) -> TokenId {
    TokenId::from_row(token as i64 + 1)
}

/// Texts of a token have one half of their keys in common, and tokens have the other.
fn key(token: usize, form: usize) -> CacheKey {
    CacheKey((form as u128) << 64 | token as u128)
}

fn any(most: usize) -> usize {
    thread_rng().gen_range(0..most)
}

impl World {
    fn new(capacity: usize, failing: Option<u32>) -> Arc<Self> {
        let row = Some(Row { state: Active, version: 1 });
        let catalogue = Catalogue { rows: [row, row, None], generation: 0, changes: Vec::new() };
        Arc::new(Self {
            cache: Cache::new(capacity).unwrap(),
            store: Steps::new(catalogue),
            file: Steps::default(),
            writer: Steps::default(),
            keys: Steps::default(),
            followed: Steps::default(),
            failing,
            told: Notes::default(),
            keys_told: Notes::default(),
        })
    }

    fn start(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) + Send + 'static,
    ) -> thread::JoinHandle<()> {
        let world = Arc::clone(self);
        thread::spawn(move || work(&world))
    }

    fn told(&self, token: usize) -> Told {
        self.told.lock().unwrap()[token]
    }

    fn tell(&self, token: usize, tell: impl FnOnce(&mut Told)) {
        tell(&mut self.told.lock().unwrap()[token]);
    }

    // What a request asks.

    /// A hit, or else a look-up.
    fn ask(&self, token: usize, form: usize) -> Option<Arc<Grant>> {
        let (told, keys_told) = (self.told(token), *self.keys_told.lock().unwrap());
        let grant = self.cache.get(key(token, form)).or_else(|| self.look_up(token, form))?;
        assert!(grant.name.parse::<u64>().unwrap() >= keys_told, "verified with other keys");
        assert_eq!(grant.owner.parse(), Ok(form), "another text");
        self.check(token, told, &grant);
        Some(grant)
    }

    fn look_up(&self, token: usize, form: usize) -> Option<Arc<Grant>> {
        let keys_replaced = self.cache.keys_replaced();
        let keys = *self.keys.lock().unwrap();
        loop {
            let (row, generation) = self.read(token);
            match self.cache.admit(grant(token, form, row?, keys), generation, keys_replaced) {
                Admission::Current(grant) => {
                    self.cache.insert(key(token, form), &grant);
                    return Some(grant);
                }
                Admission::Outdated(_) => {}
            }
        }
    }

    fn read(&self, token: usize) -> (Option<Row>, u64) {
        let store = self.store.lock().unwrap();
        (store.rows[token], store.generation)
    }

    /// Whether what somebody was granted earlier still holds.
    fn ask_again(&self, token: usize, held: &Grant) {
        let told = self.told(token);
        if held.live.is_current() {
            return self.check(token, told, held);
        }
        let (row, generation) = self.read(token);
        let mut row = row.expect("rows stay");
        if self.cache.refused(id(token), generation) {
            row.state = Suspended;
        }
        self.check(token, told, &grant(token, 0, row, 0));
    }

    /// `told` is what its asker had been told before.
    fn check(&self, token: usize, told: Told, grant: &Grant) {
        assert_eq!(grant.id, id(token), "another token");
        let (now, version) = (self.told(token), version(grant));
        let accepted = judge_token(grant, NOW).is_ok();
        let context = || format!("{accepted}, version {version}\n{told:?}\n{now:?}");
        assert!(version >= told.version, "older than told: {}", context());
        let revoked = told.revoked && now.revoked;
        assert!(!(accepted && revoked), "accepted when revoked: {}", context());
        let refused = told.refused && told.returning == 0 && told.returns == now.returns;
        assert!(!(accepted && refused && now.refused), "accepted when refused: {}", context());
        let under_way = told.under_way > 0 && told.decided == now.decided;
        assert!(!(accepted && under_way), "accepted while being refused: {}", context());
        let active = told.active && now.active && told.refusals == now.refusals;
        assert!(accepted || !active, "refused when active: {}", context());
    }

    // What an administrator of this process asks for: in the order of `tokens` and `tokens::change`.

    fn refuse(&self, token: usize, state: TokenState) {
        self.tell(token, |told| {
            told.active = false;
            told.refusals += 1;
            told.refusing += 1;
        });
        self.cache.refuse(id(token), state);
        self.tell(token, |told| {
            told.refused = true;
            told.revoked |= state == Revoked;
            told.under_way += 1;
        });
        let outcome = self.make(Effect::Refuses(token, state), |catalogue| {
            let unknown = || {
                self.tell(token, |told| {
                    let others = told.under_way > 1;
                    (told.refused, told.revoked) = (told.refused && others, told.revoked && others);
                });
            };
            match (catalogue.rows[token], state) {
                (None, _) => unknown(),
                (Some(Row { state: Revoked, .. }), Revoked) => {}
                (Some(Row { state: Revoked, .. }), _) => return Err(Failure::Answer),
                _ => catalogue.edit(token, |row| row.state = state),
            }
            Ok(())
        });
        if outcome.is_err() {
            self.tell(token, Told::decide);
        }
        match outcome {
            Ok(after) => self.tell_version(token, &after),
            Err(Failure::Answer) => {
                self.tell(token, |told| {
                    told.refused = false;
                    told.returns += 1;
                });
                self.cache.refusal_withdrawn(id(token));
            }
            Err(Failure::Storage) => {
                self.tell(token, |told| {
                    told.failed = true;
                    if told.forgetting {
                        (told.refused, told.revoked) = (false, false);
                    }
                });
                self.cache.refusal_failed(id(token));
            }
        }
        self.tell(token, |told| told.refusing -= 1);
    }

    fn resume(&self, token: usize) {
        let before = self.told(token);
        if self.cache.is_revoked(id(token)) {
            return;
        }
        self.tell(token, |told| {
            told.refused = false;
            told.returns += 1;
            told.returning += 1;
        });
        let outcome = self.make(Effect::Lifts(token), |catalogue| {
            let row = catalogue.rows[token].filter(|row| row.state != Revoked);
            row.ok_or(Failure::Answer)?;
            catalogue.edit(token, |row| row.state = Active);
            Ok(())
        });
        // It may be back even where it is not known to be.
        self.tell(token, |told| {
            told.refused = false;
            told.returns += 1;
            told.returning -= 1;
        });
        if let Ok(after) = outcome {
            self.tell_version(token, &after);
            self.tell_active(token, before);
        }
    }

    /// Other scopes, a new expiry: whatever is not about the state.
    fn edit(&self, token: usize) {
        let outcome = self.make(Effect::None, |catalogue| {
            let row = catalogue.rows[token].filter(|row| row.state != Revoked);
            row.ok_or(Failure::Answer)?;
            catalogue.edit(token, |_| {});
            Ok(())
        });
        if let Ok(after) = outcome {
            self.tell_version(token, &after);
        }
    }

    fn issue(&self, token: usize) {
        let before = self.told(token);
        let outcome = self.make(Effect::Forgets(token), |catalogue| {
            if catalogue.rows[token].is_some() {
                return Err(Failure::Answer);
            }
            catalogue.rows[token] = Some(Row { state: Active, version: 1 });
            Ok(())
        });
        if outcome.is_ok() {
            self.tell_active(token, before);
        }
    }

    fn tell_version(&self, token: usize, after: &Catalogue) {
        let version = after.rows[token].map_or(0, |row| row.version);
        self.tell(token, |told| told.version = told.version.max(version));
    }

    /// It was brought back, unless somebody refuses it since before or while that was done.
    fn tell_active(&self, token: usize, before: Told) {
        self.tell(token, |told| {
            told.active = before.refusing == 0 && before.refusals == told.refusals;
        });
    }

    fn make(
        &self,
        effect: Effect,
        work: impl FnOnce(&mut Catalogue) -> Result<(), Failure>,
    ) -> Result<Catalogue, Failure> {
        let _turn = self.writer.lock().unwrap();
        let after = self.transact(work).inspect_err(|_| self.cache.failed())?;
        self.cache.committed();
        let generation = after.generation;
        match effect {
            Effect::Forgets(token) => {
                self.tell(token, |told| {
                    told.forgetting = true;
                    if told.under_way == 0 {
                        (told.refused, told.revoked) = (false, false);
                    }
                });
                self.cache.refusal_forgotten(id(token));
                self.tell(token, |told| told.forgetting = false);
            }
            Effect::Lifts(token) => self.cache.refusal_lifted(id(token), generation),
            Effect::None => {}
            Effect::Refuses(token, state) => {
                self.tell(token, Told::decide);
                self.cache.refusal_committed(id(token), state, generation);
            }
        }
        Ok(after)
    }

    /// Fails before it begins, at its commit, or after it now and then.
    fn transact(
        &self,
        work: impl FnOnce(&mut Catalogue) -> Result<(), Failure>,
    ) -> Result<Catalogue, Failure> {
        let _alone = self.file.lock().unwrap();
        let fails = || self.failing.is_some_and(|one_in| thread_rng().gen_ratio(1, one_in));
        if fails() {
            return Err(Failure::Storage);
        }
        let before = self.store.lock().unwrap().clone();
        let mut after = before.clone();
        work(&mut after)?;
        let tokens: Vec<_> = after.changes_since(before.generation).collect();
        self.cache.apply(&tokens, after.generation);
        if fails() {
            return Err(Failure::Storage);
        }
        *self.store.lock().unwrap() = after.clone();
        if fails() { Err(Failure::Storage) } else { Ok(after) }
    }

    fn replace_keys(&self) {
        let keys = {
            let mut keys = self.keys.lock().unwrap();
            *keys += 1;
            *keys
        };
        self.cache.forget_verified();
        *self.keys_told.lock().unwrap() = keys;
    }

    // What another process does, and how it is learnt of.

    fn change_elsewhere(&self, token: usize, state: TokenState) {
        let _alone = self.file.lock().unwrap();
        let mut after = self.store.lock().unwrap().clone();
        if after.rows[token].is_none_or(|row| row.state == Revoked) {
            return;
        }
        self.tell(token, |told| {
            (told.active, told.refused) = (false, false);
            told.refusals += 1;
            told.returns += 1;
        });
        after.edit(token, |row| row.state = state);
        *self.store.lock().unwrap() = after;
    }

    fn follow(&self) {
        let since = *self.followed.lock().unwrap();
        let read = self.store.lock().unwrap().clone();
        let tokens: Vec<_> = read.changes_since(since).collect();
        let is_behind = any(8) == 0;
        self.cache.catch_up((!is_behind).then_some(tokens.as_slice()), read.generation);
        for token in 0..TOKENS {
            self.tell_version(token, &read);
            let revoked = read.rows[token].is_some_and(|row| row.state == Revoked);
            self.tell(token, |told| told.revoked |= revoked);
        }
        *self.followed.lock().unwrap() = read.generation;
    }

    /// When all is over, answers are those of the store, and cached again: nothing is refused, outdated or looked
    /// up for ever.
    fn settle(&self) {
        self.follow();
        for (token, form) in (0..TOKENS).flat_map(|token| [(token, 0), (token, FORMS - 1)]) {
            let row = self.read(token).0;
            let answer = self.ask(token, form);
            assert_eq!(answer.as_deref().map(version), row.map(|row| row.version));
            let (Some(grant), Some(row)) = (answer, row) else { continue };
            let failed = self.told(token).failed;
            assert!(grant.state == row.state || (failed && grant.state != Active));
            let cached = self.cache.get(key(token, form)).is_some();
            assert!(cached || failed, "looked up for ever");
        }
    }
}

enum Effect {
    Forgets(usize),
    Lifts(usize),
    None,
    Refuses(usize, TokenState),
}

impl Catalogue {
    fn edit(&mut self, token: usize, edit: impl FnOnce(&mut Row)) {
        let row = self.rows[token].as_mut().expect("it was looked at");
        row.version += 1;
        edit(row);
        self.generation += 1;
        self.changes.push((self.generation, token));
    }

    fn changes_since(&self, generation: u64) -> impl Iterator<Item = TokenId> {
        let later = self.changes.iter().filter(move |(at, _)| *at > generation);
        later.map(|(_, token)| id(*token))
    }
}

/// The version is where the expiry is, which nothing here is judged by.
fn version(grant: &Grant) -> u64 {
    grant.expires_at.map_or(0, Timestamp::as_seconds).unsigned_abs()
}

fn grant(token: usize, form: usize, row: Row, keys: u64) -> Grant {
    Grant {
        id: id(token),
        owner: form.to_string().into(),
        name: keys.to_string().into(),
        kind: TokenKind::Jwt,
        scopes: Arc::default(),
        restrictions: None,
        standing: crate::token::Standing::UNTRACKED,
        meter: None,
        expires_at: Some(Timestamp::from_seconds(row.version.cast_signed())),
        ends_at: None,
        state: row.state,
        terms: Terms::default(),
        live: Live::new(None),
    }
}

/// Asks so many times about one of the first tokens, and holds on to what it was granted.
fn request(world: &World, tokens: usize, times: usize) {
    let mut held = None::<(usize, Arc<Grant>)>;
    for _ in 0..times {
        let token = any(tokens);
        if let Some((token, grant)) = &held
            && any(3) == 0
        {
            world.ask_again(*token, grant);
        } else if let Some(grant) = world.ask(token, any(FORMS)) {
            held = Some((token, grant));
        }
    }
}

/// Half of the orders take any thread's next step, half hold threads up for as long as others can go on.
fn check(work: fn()) {
    shuttle::check_random(work, ORDERS / 2);
    shuttle::check_pct(work, ORDERS / 2, 3);
}

fn administer(world: &World) {
    match any(8) {
        0 => world.edit(0),
        1 => world.refuse(0, Revoked),
        2..5 => world.refuse(0, Suspended),
        _ => world.resume(0),
    }
}

/// Other tokens that nobody holds, as many as are known at most.
fn crowd(world: &World) {
    let others = (100..165).map(|row| (TokenId::from_row(row), Forms::One(Weak::new())));
    world.cache.gate.lock().tokens.extend(others);
}

fn run(world: &Arc<World>, threads: Vec<thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    world.settle();
}

#[test]
fn no_answer_is_older_than_a_change_that_was_made_before_it_was_asked_for() {
    check(|| {
        let world = World::new(4, Some(8));
        let administrator = world.start(|world| {
            world.refuse(0, Suspended);
            world.resume(0);
            world.edit(0);
            world.refuse(0, Revoked);
        });
        let readers = [(); 2].map(|()| world.start(|world| request(world, 1, 4)));
        run(&world, [administrator].into_iter().chain(readers).collect());
    });
}

#[test]
fn administrators_who_disagree_are_both_told_the_truth() {
    check(|| {
        let world = World::new(4, Some(6));
        if any(2) == 0 {
            world.refuse(0, Suspended);
        }
        let administrators =
            [(); 2].map(|()| world.start(|world| (0..2).for_each(|_| administer(world))));
        let reader = world.start(|world| request(world, 1, 4));
        run(&world, administrators.into_iter().chain([reader]).collect());
    });
}

#[test]
fn token_that_is_revoked_while_it_is_issued_is_refused_whatever_fails() {
    check(|| {
        let world = World::new(4, Some(4));
        let issues = world.start(|world| world.issue(TOKENS - 1));
        let revokes = [(); 2].map(|()| world.start(|world| world.refuse(TOKENS - 1, Revoked)));
        let reader = world.start(|world| {
            (0..3).for_each(|form| drop(world.ask(TOKENS - 1, form % FORMS)));
        });
        run(&world, revokes.into_iter().chain([issues, reader]).collect());
    });
}

#[test]
fn what_another_process_changed_is_answered_with_once_it_was_followed() {
    check(|| {
        let world = World::new(4, Some(8));
        let elsewhere = world.start(|world| {
            world.change_elsewhere(0, Suspended);
            world.change_elsewhere(0, Active);
            world.change_elsewhere(0, [Active, Revoked][any(2)]);
        });
        let follower = world.start(|world| (0..2).for_each(|_| world.follow()));
        let administrator = world.start(|world| (0..any(3)).for_each(|_| administer(world)));
        let reader = world.start(|world| request(world, 1, 4));
        run(&world, vec![elsewhere, follower, administrator, reader]);
    });
}

#[test]
fn nothing_outlives_its_keys_or_its_place_in_the_cache_or_the_refusals_that_are_kept() {
    check(|| {
        let world = World::new(1, None);
        world.cache.gate.lock().refusals_kept = 0;
        let crowd = world.start(crowd);
        let keys = world.start(|world| world.replace_keys());
        let administrator = world.start(|world| {
            world.refuse(0, Suspended);
            world.refuse(1, Revoked);
            world.edit(0);
            world.resume(0);
        });
        let readers = [(); 2].map(|()| world.start(|world| request(world, 2, 4)));
        run(&world, [crowd, keys, administrator].into_iter().chain(readers).collect());
        assert!(world.cache.len() <= 1);
    });
}

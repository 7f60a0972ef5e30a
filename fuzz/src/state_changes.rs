//! Changes of tokens, made in a tracker and in the model.

use std::fmt::Debug;
use std::time::Duration;

use token_tracker::{
    Act, CredentialState, Error, ErrorKind, Issued, NewToken, Revoked, Rotation, TokenKind,
    TokenStatus, TokenUpdate, Tokens,
};

use crate::bench::instant;
use crate::state_bench::StateBench;
use crate::state_model::{Now, Token};
use crate::state_plan::{Change, Edit, Fault, Kind, New, Rotate, Side};
use crate::token_model::{Phase, Standing, State, Version};

const OWNER: &str = "alice";
const MOST_TOKENS: usize = 24;

/// How often something is asked that comes with time.
const LOOKS: u32 = 100;

/// What a change must come to while the storage works.
#[derive(Debug)]
enum Due {
    /// There is nothing to change.
    Nothing,
    Version(Version, Act),
}

impl StateBench {
    pub fn issue(&mut self, at: Side, new: &New) {
        if self.tokens.len() - self.first >= MOST_TOKENS {
            return;
        }
        let now = self.now();
        let name = format!("token {}", self.tokens.len());
        let asked = match new.kind {
            Kind::Jwt => NewToken::jwt(OWNER, name),
            Kind::LegacyJwt => NewToken::legacy_jwt(OWNER, name),
            Kind::Opaque => NewToken::opaque(OWNER, name),
        };
        let (scopes, limits) = (new.scopes.list(), new.narrowed.limits(now.wall));
        let asked = asked.scopes(scopes.clone()).restrictions(limits.told());
        let lifetime = new.lifetime.map(|seconds| u64::from(seconds) + 1);
        let asked = match lifetime {
            Some(seconds) => asked.expires_in(Duration::from_secs(seconds)),
            None => asked,
        };
        let expires_at = lifetime.map(|seconds| whole(now.wall + seconds as i64 * 1_000_000));
        let issued = self.ask(at, |tokens| tokens.issue(asked.clone()));
        let Some(issued) = self.stored(issued) else { return };
        let of_jwt = expires_at.filter(|_| !matches!(new.kind, Kind::Opaque));
        let credentials = vec![Standing::new(Phase::Current, of_jwt)];
        let version = Version {
            state: State::Active,
            scopes,
            expires_at,
            is_marked: false,
            limits,
            credentials,
        };
        self.tokens.push(Token::new(&issued, version, at, now));
    }

    /// The answer, asked for again where only the machine is slow.
    fn ask<T>(&self, at: Side, ask: impl Fn(&Tokens<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let tokens = self.trackers[at.place()].tokens();
        let mut answer = ask(&tokens);
        for _ in 0..LOOKS {
            match &answer {
                Err(error) if self.trouble.is_none() && is_failure(error) => {}
                _ => break,
            }
            answer = ask(&tokens);
        }
        answer
    }

    /// What succeeded, and must where nothing hinders it.
    fn stored<T: Debug>(&self, answer: Result<T, Error>) -> Option<T> {
        let fault = self.trouble.as_ref().map(|trouble| trouble.fault);
        match answer {
            Ok(answer) => {
                assert!(!fault.is_some_and(|fault| fault.hinders_changes()), "stored: {answer:?}");
                Some(answer)
            }
            Err(error) => {
                assert!(fault.is_some() && is_failure(&error), "{error:?}");
                None
            }
        }
    }

    pub fn change(&mut self, at: Side, token: usize, change: &Change) {
        let now = self.now();
        match change {
            Change::ResetQuota => self.reset_quota(at, token, now),
            Change::Resume => self.resume(at, token, now),
            Change::Revoke => self.revoke(at, token, now),
            Change::Rotate { credential, rotation } => {
                self.rotate(at, token, *credential, *rotation, now);
            }
            Change::Suspend => self.suspend(at, token, now),
            Change::Update(edit) => self.update(at, token, edit, now),
        }
        self.compare(token, at.other());
    }

    /// Takes in a change and its answer. Returns whether it was made, `None` where the storage failed.
    fn settle_change<T: Debug>(
        &mut self,
        at: Side,
        token: usize,
        now: Now,
        due: Result<Due, ErrorKind>,
        answer: &Result<T, Error>,
    ) -> Option<bool> {
        let fault = self.trouble.as_ref().map(|trouble| trouble.fault);
        let is_hindered = fault.is_some_and(|fault| fault.hinders_changes());
        match (due, answer) {
            (_, Err(error)) if is_hindered && is_failure(error) => None,
            (Err(kind), Err(error)) => {
                assert_eq!(error.kind(), kind, "{error:?}");
                Some(false)
            }
            (Ok(Due::Nothing), Ok(_)) => Some(true),
            (Ok(Due::Version(version, act)), Ok(_)) => {
                assert!(!is_hindered, "stored while it cannot be");
                self.tokens[token].change(version, at, now, act);
                Some(true)
            }
            (due, answer) => panic!("{answer:?}, not {due:?}, with {:?}", self.tokens[token]),
        }
    }

    fn reset_quota(&mut self, at: Side, token: usize, now: Now) {
        let id = self.tokens[token].id;
        let answer = self.ask(at, |tokens| tokens.reset_quota(id));
        if self.trouble.is_some() && answer.is_err() {
            return;
        }
        answer.expect("the token is known");
        let token = &mut self.tokens[token];
        token.acts.push(Act::ResetQuota);
        token.windows.reset(at, now.wall);
        let rate = &mut token.rates[at.place()];
        rate.bucket = Default::default();
        rate.resets += 1;
    }

    fn resume(&mut self, at: Side, token: usize, now: Now) {
        let id = self.tokens[token].id;
        let answer = self.ask(at, |tokens| tokens.resume(id));
        let refused = self.tokens[token].refused[at.place()];
        let mut version = self.tokens[token].current().clone();
        let due = if State::Revoked == version.state || refused == Some(State::Revoked) {
            Err(ErrorKind::Revoked)
        } else {
            if version.state == State::Suspended {
                version.state = State::Active;
            }
            Ok(Due::Version(version, Act::Resume))
        };
        if self.settle_change(at, token, now, due, &answer) == Some(true) {
            self.tokens[token].refused[at.place()] = None;
        }
    }

    fn revoke(&mut self, at: Side, token: usize, now: Now) {
        let id = self.tokens[token].id;
        let answer = self.ask(at, |tokens| tokens.revoke(id, "fuzzed"));
        let mut version = self.tokens[token].current().clone();
        let due = if version.state == State::Revoked {
            if let Ok(told) = &answer {
                assert_eq!(*told, Revoked::Already);
            }
            Due::Nothing
        } else {
            version.state = State::Revoked;
            Due::Version(version, Act::Revoke)
        };
        let made = self.settle_change(at, token, now, Ok(due), &answer);
        let refused = &mut self.tokens[token].refused[at.place()];
        *refused = if made.is_some() { None } else { Some(State::Revoked) };
        if made.is_none() {
            assert_eq!(answer.expect_err("it failed").kind(), ErrorKind::NotDurable);
        }
    }

    fn suspend(&mut self, at: Side, token: usize, now: Now) {
        let id = self.tokens[token].id;
        let answer = self.ask(at, |tokens| tokens.suspend(id));
        let mut version = self.tokens[token].current().clone();
        let due = if version.state == State::Revoked {
            Err(ErrorKind::Revoked)
        } else {
            version.state = State::Suspended;
            Ok(Due::Version(version, Act::Suspend))
        };
        let made = self.settle_change(at, token, now, due, &answer);
        let refused = &mut self.tokens[token].refused[at.place()];
        match (made, *refused) {
            (Some(true), Some(State::Suspended)) => *refused = None,
            (None, None) => *refused = Some(State::Suspended),
            _ => {}
        }
        if made.is_none() {
            assert_eq!(answer.expect_err("it failed").kind(), ErrorKind::NotDurable);
        }
    }

    fn update(&mut self, at: Side, token: usize, edit: &Edit, now: Now) {
        let mut update = TokenUpdate::new();
        let mut version = self.tokens[token].current().clone();
        if let Some(scopes) = edit.scopes {
            version.scopes = scopes.list();
            update = update.scopes(version.scopes.clone());
        }
        if let Some(expiry) = edit.expiry {
            let at = expiry.map(|seconds| now.wall + i64::from(seconds) * 1_000_000);
            update = update.expires_at(at.map(|at| instant(at.into())));
            version.expires_at = at.map(whole);
            let is_past = version.expires_at.is_some_and(|at| at <= now.wall);
            version.is_marked &= is_past;
        }
        if let Some(narrowed) = edit.narrowed {
            version.limits = narrowed.limits(now.wall);
            update = update.restrictions(version.limits.told());
        }
        let id = self.tokens[token].id;
        let answer = self.ask(at, |tokens| tokens.update(id, update.clone()));
        let due = match version.state {
            State::Revoked => Err(ErrorKind::Revoked),
            _ => Ok(Due::Version(version, Act::Update)),
        };
        self.settle_change(at, token, now, due, &answer);
    }

    fn rotate(&mut self, at: Side, token: usize, credential: u8, rotation: Rotate, now: Now) {
        let known = &self.tokens[token];
        let named = usize::from(credential) % known.secrets.len();
        let answer = self.ask(at, |tokens| tokens.rotate(known.secrets[named].0, told(rotation)));
        let mut due = known.current().rotated(named, rotation, now.wall);
        let is_revoked = known.refused[at.place()] == Some(State::Revoked);
        if is_revoked && !matches!(rotation, Rotate::TooLong) {
            due = Err(ErrorKind::Revoked);
        }
        let due = due.map(|mut version| {
            let new = version.credentials.last_mut().expect("the new one");
            new.expires_at = version.expires_at.filter(|_| known.kind != TokenKind::Opaque);
            Due::Version(version, Act::Rotate)
        });
        if self.settle_change(at, token, now, due, &answer) != Some(true) {
            return;
        }
        let Ok(Issued { secret, .. }) = answer else { return };
        let id = self.trackers[at.place()].tokens().credentials(self.tokens[token].id);
        let id = id.expect("the token is known")[0].id;
        self.tokens[token].secrets.push((id, secret.expose().to_owned()));
    }

    pub fn mark_expired(&mut self, at: Side) {
        let now = self.now();
        let marked = match self.ask(at, |tokens| tokens.mark_expired()) {
            // Nothing was to be stored.
            Ok(0) => 0,
            answer => match self.stored(answer) {
                Some(marked) => marked,
                None => return,
            },
        };
        let mut due = 0;
        for token in &mut self.tokens {
            let mut version = token.current().clone();
            let is_living = matches!(version.state, State::Active | State::Suspended);
            if is_living && !version.is_marked && version.is_expired(now.wall) {
                version.is_marked = true;
                token.change(version, at, now, Act::Expire);
                due += 1;
            }
        }
        assert_eq!(marked, due, "marked as expired");
    }

    /// A credential that nobody had used was let through, so that those end that wait for it.
    ///
    /// Whether that is stored. It must be, but where the machine is slow.
    pub fn first_use(&mut self, at: Side, token: usize, credential: usize, now: Now) -> bool {
        let fault = self.trouble.as_ref().map(|trouble| trouble.fault);
        let is_hindered = fault.is_some_and(Fault::hinders_changes);
        let is = |other| fault == Some(other);
        let known = &self.tokens[token];
        let (id, number) = (known.id, known.secrets[credential].0);
        for _ in 0..LOOKS {
            let found = self.trackers[at.place()].tokens().credentials(id).expect("it is known");
            let found = found.iter().find(|found| found.id == number).expect("it is known");
            if found.state == CredentialState::Current {
                let (version, ended) = known.current().after_use(credential, now.wall);
                // Where nothing ends with it, nothing is to go into the book.
                let is_possible = !is_hindered || (is(Fault::NoAudit) && ended == 0);
                assert!(is_possible, "stored while it cannot be");
                let known = &mut self.tokens[token];
                known.change(version, at, now, Act::Retire);
                known.acts.pop();
                known.acts.extend(std::iter::repeat_n(Act::Retire, ended));
                return true;
            }
            assert_eq!(found.state, CredentialState::New);
            if is_hindered {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    /// What the file says of a token, read by one of the trackers.
    pub fn compare(&self, token: usize, by: Side) {
        let (token, now) = (&self.tokens[token], self.now().wall);
        let version = token.current();
        let found = self.trackers[by.place()].tokens().get(token.id).expect("it can be read");
        let status = match version.state {
            State::Revoked => TokenStatus::Revoked,
            _ if version.is_expired(now) => TokenStatus::Expired,
            State::Suspended => TokenStatus::Suspended,
            State::Active => TokenStatus::Active,
        };
        assert_eq!(found.status, status, "{token:?}");
        assert_eq!(found.scopes, version.scopes);
        assert_eq!(found.restrictions, version.limits.told());
        assert_eq!(found.expires_at, version.expires_at.map(|at| instant(at.into())));
        let credentials = self.trackers[by.place()].tokens().credentials(token.id);
        let credentials = credentials.expect("they can be read");
        let states = credentials.iter().rev().map(|found| (found.id, found.state));
        let expected = version.credentials.iter().zip(&token.secrets).map(|(standing, (id, _))| {
            let ends_at = standing.ends_at.map(|at| instant(at.into()));
            let state = match standing.phase {
                _ if standing.is_over(now) => CredentialState::Retired,
                Phase::Current => CredentialState::Current,
                Phase::New => CredentialState::New,
                _ => CredentialState::Outgoing { ends_at },
            };
            (*id, state)
        });
        assert!(states.eq(expected), "{credentials:?}, not as in {token:?}");
    }
}

fn told(rotation: Rotate) -> Rotation {
    let seconds = |seconds: u16| Duration::from_secs(seconds.into());
    match rotation {
        Rotate::AtOnce => Rotation::within(Duration::ZERO),
        Rotate::TooLong => Rotation::within(Duration::from_secs(366 * 86_400 + 1)),
        Rotate::UntilUse => Rotation::until_first_use(),
        Rotate::UntilUseOr { seconds: after } => Rotation::until_first_use_or(seconds(after)),
        Rotate::Within { seconds: after } => Rotation::within(seconds(after)),
    }
}

fn is_failure(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Busy | ErrorKind::NotDurable | ErrorKind::Storage)
}

/// Without the fraction of a second.
fn whole(micros: i64) -> i64 {
    micros.div_euclid(1_000_000) * 1_000_000
}

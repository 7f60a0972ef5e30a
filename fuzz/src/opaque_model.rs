//! What is known of opaque tokens without looking at the library: which were issued, and what became of
//! each. A library that disagrees lets a dead token live or a living one die.

use std::time::Duration;

use arbitrary::Arbitrary;
use token_tracker::{
    AuthRequest, Clock as _, DenialReason, ErrorKind, ManualClock, NewToken, Revoked, TokenId,
    TokenTracker,
};

use crate::bench::{Answer, START, instant};

/// How many tokens an input begins with, and how many it may come to.
const FIRST: usize = 2;
const MOST: usize = 6;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What an input does next. Tokens are numbered round.
#[derive(Arbitrary, Debug)]
pub enum Step {
    Advance { seconds: u8 },
    Issue { seconds: Option<u8> },
    Present { token: u8, change: Change },
    Resume { token: u8 },
    Revoke { token: u8 },
    Suspend { token: u8 },
}

/// What a text differs in from the token that was issued.
#[derive(Arbitrary, Debug)]
pub enum Change {
    Append {
        byte: u8,
    },
    Case {
        at: u8,
    },
    Digit {
        at: u8,
        up: u8,
    },
    Insert {
        at: u8,
        byte: u8,
    },
    None,
    Prefix {
        byte: u8,
    },
    Remove {
        at: u8,
    },
    Replace {
        at: u8,
        byte: u8,
    },
    /// The start of one token and the end of another.
    Splice {
        other: u8,
        at: u8,
    },
    Swap {
        at: u8,
        with: u8,
    },
    Truncate {
        by: u8,
    },
}

/// A tracker and what it must say.
pub struct Model {
    tracker: TokenTracker,
    clock: ManualClock,
    tokens: Vec<Token>,
    issued: usize,
}

#[derive(Debug)]
struct Token {
    id: TokenId,
    name: String,
    secret: String,
    state: State,
    /// Seconds since 1970.
    expires_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Active,
    Revoked,
    Suspended,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    pub fn new() -> Self {
        let clock = ManualClock::new(instant(START));
        let builder = TokenTracker::builder().clock(clock.clone()).cache_capacity(16);
        let tracker = builder.in_memory().expect("the configuration is valid");
        Self { tracker, clock, tokens: Vec::new(), issued: 0 }
    }

    /// How many tokens the tracker has ever issued.
    pub fn issued(&self) -> usize {
        self.issued
    }

    /// Two tokens that live for ever, whatever the last input left behind. What has not changed is kept:
    /// issuing costs as much as many verdicts.
    pub fn start_afresh(&mut self) {
        self.tokens.retain(|token| token.state == State::Active && token.expires_at.is_none());
        self.tokens.truncate(FIRST);
        while self.tokens.len() < FIRST {
            self.issue(None);
        }
    }

    pub fn take(&mut self, step: &Step) {
        match *step {
            Step::Advance { seconds } => self.clock.advance(Duration::from_secs(seconds.into())),
            Step::Issue { seconds } if self.tokens.len() < MOST => self.issue(seconds),
            Step::Issue { .. } => {}
            Step::Present { token, ref change } => {
                let text = self.changed(self.at(token), change);
                self.present(&text);
            }
            Step::Resume { token } => self.resume(self.at(token)),
            Step::Revoke { token } => self.revoke(self.at(token)),
            Step::Suspend { token } => self.suspend(self.at(token)),
        }
    }

    /// Every token once more, as it was issued.
    pub fn check_all(&self) {
        self.tokens.iter().for_each(|token| self.present(&token.secret));
        let health = self.tracker.health();
        let accounted = health.stored + health.buffered + health.dropped;
        assert_eq!(health.accepted, accounted, "accounts do not balance: {health:?}");
    }

    fn at(&self, token: u8) -> usize {
        usize::from(token) % self.tokens.len()
    }

    fn now(&self) -> i64 {
        self.clock.now().unix_timestamp()
    }

    fn issue(&mut self, seconds: Option<u8>) {
        let name = format!("token {}", self.issued);
        let lifetime = seconds.map(|seconds| u64::from(seconds.max(1)));
        let new = NewToken::opaque("alice", name.as_str());
        let new = match lifetime {
            Some(lifetime) => new.expires_in(Duration::from_secs(lifetime)),
            None => new,
        };
        let issued = self.tracker.tokens().issue(new).expect("the name is new");
        let secret = issued.secret.expose().to_owned();
        assert!(self.tokens.iter().all(|token| token.secret != secret), "issued twice");
        let expires_at = lifetime.map(|lifetime| self.now() + lifetime as i64);
        self.tokens.push(Token {
            id: issued.token.id,
            name,
            secret,
            state: State::Active,
            expires_at,
        });
        self.issued += 1;
    }

    fn resume(&mut self, at: usize) {
        let token = &mut self.tokens[at];
        let resumed = self.tracker.tokens().resume(token.id);
        match token.state {
            State::Revoked => assert_revoked(resumed),
            State::Active | State::Suspended => {
                resumed.expect("a token that is not revoked");
                token.state = State::Active;
            }
        }
    }

    fn revoke(&mut self, at: usize) {
        let token = &mut self.tokens[at];
        let revoked = self.tracker.tokens().revoke(token.id, "fuzzed").expect("any token");
        let expected = if token.state == State::Revoked { Revoked::Already } else { Revoked::Now };
        assert_eq!(revoked, expected);
        token.state = State::Revoked;
    }

    fn suspend(&mut self, at: usize) {
        let token = &mut self.tokens[at];
        let suspended = self.tracker.tokens().suspend(token.id);
        match token.state {
            State::Revoked => assert_revoked(suspended),
            State::Active | State::Suspended => {
                suspended.expect("a token that is not revoked");
                token.state = State::Suspended;
            }
        }
    }

    /// The same answer three times: from wherever it comes first, again, and from memory.
    fn present(&self, text: &str) {
        let answer = Answer::of(self.tracker.authenticate(text));
        let expected = self.expected(text);
        match &answer {
            Answer::Denied(DenialReason::Malformed | DenialReason::UnknownToken) => {
                assert_eq!(expected, None, "refused as unknown: {text}");
            }
            known => assert_eq!(Some(known), expected.as_ref(), "{text}"),
        }
        assert_eq!(
            Answer::of(self.tracker.authenticate(text)),
            answer,
            "answered otherwise: {text}"
        );
        if let Some(cached) = self.tracker.authenticate_cached(&AuthRequest::new(text)) {
            assert_eq!(Answer::of(cached), answer, "answered otherwise from memory: {text}");
        }
    }

    /// `None` where nobody issued this text.
    fn expected(&self, text: &str) -> Option<Answer> {
        let token = self.tokens.iter().find(|token| token.secret == text)?;
        let is_expired = token.expires_at.is_some_and(|expires_at| self.now() >= expires_at);
        Some(match token.state {
            State::Revoked => Answer::Denied(DenialReason::Revoked),
            _ if is_expired => Answer::Denied(DenialReason::Expired),
            State::Suspended => Answer::Denied(DenialReason::Suspended),
            State::Active => Answer::Accepted(token.name.clone()),
        })
    }

    fn changed(&self, at: usize, change: &Change) -> String {
        let mut bytes = self.tokens[at].secret.clone().into_bytes();
        let length = bytes.len();
        let place = |at: u8| usize::from(at) % length;
        match *change {
            Change::Append { byte } => bytes.push(byte),
            Change::Case { at } => bytes[place(at)] ^= 0x20,
            Change::Digit { at, up } => {
                let at = place(at);
                bytes[at] = digit_after(bytes[at], up);
            }
            Change::Insert { at, byte } => bytes.insert(place(at), byte),
            Change::None => {}
            Change::Prefix { byte } => bytes.insert(0, byte),
            Change::Remove { at } => drop(bytes.remove(place(at))),
            Change::Replace { at, byte } => {
                let at = place(at);
                bytes[at] = byte;
            }
            Change::Splice { other, at } => {
                let at = place(at);
                let other = &self.tokens[self.at(other)].secret.as_bytes()[at..];
                bytes.splice(at.., other.iter().copied());
            }
            Change::Swap { at, with } => bytes.swap(place(at), place(with)),
            Change::Truncate { by } => bytes.truncate(bytes.len().saturating_sub(by.into())),
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Another digit, whatever `up` is.
fn digit_after(digit: u8, up: u8) -> u8 {
    let at = DIGITS.iter().position(|known| *known == digit).unwrap_or_default();
    DIGITS[(at + 1 + usize::from(up) % (DIGITS.len() - 1)) % DIGITS.len()]
}

fn assert_revoked<T: std::fmt::Debug>(answer: Result<T, token_tracker::Error>) {
    let error = answer.expect_err("a revoked token stays so");
    assert_eq!(error.kind(), ErrorKind::Revoked);
}

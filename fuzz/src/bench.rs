//! A tracker set up by the same policy as the reference. Were the two set up apart, every difference
//! would be the setting's.

use time::OffsetDateTime;
use token_tracker::{
    Access, Algorithm, AuthError, AuthRequest, DenialReason, JwtIssuer, JwtKey, ManualClock,
    NewToken, TokenTracker,
};

use crate::keys::KeyName;
use crate::oracle::{Issuer, Policy, Verdict};

/// Where the clock stands: 2026-01-01T00:00:00Z, in microseconds since 1970.
pub const START: i128 = 1_767_225_600_000_000;

/// Of one issuer without a name: a secret.
pub const SECRET: Policy = Policy {
    issuers: &[Issuer { name: None, audiences: &[], ..SECRET_ISSUER }],
    living: &["jti-1", "jti-2", "jti-é"],
    revoked: "jti-revoked",
};

/// Of one issuer without a name: public keys. A secret may not be among them.
pub const PUBLIC: Policy =
    Policy { issuers: &[Issuer { name: None, audiences: &[], ..PUBLIC_ISSUER }], ..SECRET };

/// Of two issuers with names and audiences.
pub const NAMED: Policy = Policy { issuers: &[PUBLIC_ISSUER, SECRET_ISSUER], ..SECRET };

/// The same, but only one of the keys has a name.
pub const NAMELESS_KEYS: Policy = Policy {
    issuers: &[
        Issuer { named_keys: &[KeyName::EdDsa], ..PUBLIC_ISSUER },
        Issuer { named_keys: &[], ..SECRET_ISSUER },
    ],
    ..SECRET
};

const PUBLIC_ISSUER: Issuer = Issuer {
    name: Some("https://public.example.com"),
    audiences: &["items", "reports"],
    keys: &[KeyName::EdDsa, KeyName::Es256],
    named_keys: &[KeyName::EdDsa, KeyName::Es256],
};

const SECRET_ISSUER: Issuer = Issuer {
    name: Some("https://secret.example.com"),
    audiences: &["items"],
    keys: &[KeyName::Hs256],
    named_keys: &[KeyName::Hs256],
};

/// A tracker with its clock and what it is to be judged by.
pub struct Bench {
    pub tracker: TokenTracker,
    pub clock: ManualClock,
    pub policy: Policy,
}

/// What the library says to a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// With the name of the token in the catalogue.
    Accepted(String),
    Denied(DenialReason),
}

impl Answer {
    /// # Panics
    /// Where the storage fails, which is in memory.
    pub fn of(answer: Result<Access, AuthError>) -> Self {
        match answer {
            Ok(access) => Self::Accepted(access.identity().name().to_owned()),
            Err(AuthError::Denied(denied)) => Self::Denied(denied.reason()),
            Err(error) => panic!("the storage failed: {error}"),
        }
    }
}

impl Bench {
    /// A tracker without background work, in which every living token is known under its `jti`.
    pub fn new(policy: Policy) -> Self {
        let clock = ManualClock::new(instant(START));
        let builder = TokenTracker::builder().clock(clock.clone());
        let builder = builder.without_usage_recording().without_last_used();
        let issuers = policy.issuers.iter();
        let builder =
            issuers.fold(builder, |builder, issuer| builder.jwt_issuer(configured(issuer)));
        let tracker = builder.in_memory().expect("the configuration is valid");
        policy.issuers.iter().for_each(|issuer| register(&tracker, &policy, issuer.name));
        Self { tracker, clock, policy }
    }

    /// The answer at `now`, which is the same again and from the cache.
    pub fn answer(&self, token: &str, now: i128) -> Answer {
        self.clock.set_wall(instant(now));
        let first = Answer::of(self.tracker.authenticate(token));
        let again = Answer::of(self.tracker.authenticate(token));
        assert_eq!(first, again, "answered otherwise the second time");
        if let Some(cached) = self.tracker.authenticate_cached(&AuthRequest::new(token)) {
            assert_eq!(first, Answer::of(cached), "answered otherwise from the cache");
        }
        let told = self.tracker.introspect(token).expect("the storage is in memory");
        assert_eq!(told.active, matches!(first, Answer::Accepted(_)), "told otherwise: {told:?}");
        first
    }

    /// The answer at `now`, and the assertion that the reference says the same.
    pub fn compare(&self, token: &str, now: i128) -> Answer {
        let answer = self.answer(token, now);
        let verdict = self.policy.judge(token, now);
        match (&answer, &verdict) {
            (Answer::Accepted(name), Verdict::Accepted(jti)) => assert_eq!(name, jti),
            (Answer::Denied(_), Verdict::Refused(_)) | (_, Verdict::Undecided) => {}
            _ => panic!("the library says {answer:?}, the reference {verdict:?}, of {token}"),
        }
        answer
    }
}

fn configured(issuer: &Issuer) -> JwtIssuer {
    let configured = issuer.name.map_or_else(JwtIssuer::unnamed, JwtIssuer::named);
    let audiences = issuer.audiences.iter();
    let configured = audiences.fold(configured, |issuer, audience| issuer.audience(*audience));
    issuer.keys.iter().fold(configured, |configured, key| {
        let kid = issuer.named_keys.contains(key).then_some(key.kid());
        let allowed = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Hs256];
        configured.key(JwtKey::from_jwk(&key.jwk(kid), &allowed).expect("the key is good"))
    })
}

fn register(tracker: &TokenTracker, policy: &Policy, issuer: Option<&str>) {
    for jti in policy.living.iter().chain([&policy.revoked]) {
        let owner = issuer.unwrap_or("alice");
        let new = NewToken::legacy_jwt(owner, *jti);
        let token = tracker.tokens().register(new, issuer, jti).expect("the `jti` is new");
        if *jti == policy.revoked {
            tracker.tokens().revoke(token.id, "fuzzed").expect("the token is known");
        }
    }
}

/// The instant so many microseconds after 1970.
pub fn instant(micros: i128) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(micros * 1_000).expect("an instant of this age")
}

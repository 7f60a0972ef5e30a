//! What a token may do, by the documentation: its states one after the other, and the judgement on a request.

use token_tracker::{DenialReason, ErrorKind, Network, Restrictions};

use crate::bench::instant;
use crate::rate_model::Rate;
use crate::state_plan::{Request, Rotate};

/// What a token can be limited to.
pub const RESOURCE: &str = "https://items.example.com";

/// The networks that a token can be limited to, by their bits.
const NETWORKS: [&str; 2] = ["192.0.2.0/24", "2001:db8::/48"];

/// A token as the file has it at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub state: State,
    pub scopes: Vec<&'static str>,
    /// Microseconds since 1970, as all times here.
    pub expires_at: Option<i64>,
    /// Marked as expired, so that a later expiry has to be set to bring it back.
    pub is_marked: bool,
    pub limits: Limits,
    /// In the order in which they were made.
    pub credentials: Vec<Standing>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    Active,
    Revoked,
    Suspended,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    pub has_resource: bool,
    /// A bit for each of the networks.
    pub networks: Option<u8>,
    pub not_before: Option<i64>,
    pub quota: Option<Quota>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quota {
    pub rate: Option<Rate>,
    /// Of a minute, an hour, a day and a month.
    pub counts: [Option<u64>; 4],
}

/// Where a credential is in its life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    pub phase: Phase,
    /// Of an outgoing one.
    pub ends_at: Option<i64>,
    pub ends_on_use: bool,
    /// Which one it took the place of.
    pub replaces: Option<usize>,
    /// The `exp` of a JWT.
    pub expires_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    Current,
    New,
    Outgoing,
    Retired,
}

impl Standing {
    pub fn new(phase: Phase, expires_at: Option<i64>) -> Self {
        Self { phase, ends_at: None, ends_on_use: false, replaces: None, expires_at }
    }

    pub fn is_over(&self, now: i64) -> bool {
        match self.phase {
            Phase::Current | Phase::New => false,
            Phase::Outgoing => self.ends_at.is_some_and(|ends_at| ends_at <= now),
            Phase::Retired => true,
        }
    }
}

impl Version {
    /// Whether it is past its expiry by the catalogue.
    pub fn is_expired(&self, now: i64) -> bool {
        self.is_marked || self.expires_at.is_some_and(|at| at <= now)
    }

    /// Why every request with a credential is refused. `refused` is what a tracker knows better than the file.
    pub fn dead(
        &self,
        credential: usize,
        refused: Option<State>,
        now: i64,
    ) -> Option<DenialReason> {
        let standing = &self.credentials[credential];
        let is = |state| self.state == state || refused == Some(state);
        if is(State::Revoked) {
            Some(DenialReason::Revoked)
        } else if standing.is_over(now) {
            Some(DenialReason::CredentialRetired)
        } else if self.is_expired(now) || standing.expires_at.is_some_and(|at| at <= now) {
            Some(DenialReason::Expired)
        } else if is(State::Suspended) {
            Some(DenialReason::Suspended)
        } else if self.limits.not_before.is_some_and(|at| now < at) {
            Some(DenialReason::NotYetValid)
        } else {
            None
        }
    }

    /// Why a request is refused, whatever its quota.
    pub fn refusal(
        &self,
        credential: usize,
        refused: Option<State>,
        request: &Request,
        now: i64,
    ) -> Option<DenialReason> {
        if let Some(reason) = self.dead(credential, refused, now) {
            return Some(reason);
        }
        let inside = request.address().map_or(0, |(_, networks)| networks);
        if self.limits.networks.is_some_and(|networks| networks & inside == 0) {
            return Some(DenialReason::WrongAddress);
        }
        if self.limits.has_resource && !request.names_resource {
            return Some(DenialReason::WrongResource);
        }
        let lacks = |wanted: &str| !self.scopes.iter().any(|granted| covers(granted, wanted));
        request.scope().is_some_and(lacks).then_some(DenialReason::MissingScope)
    }

    /// The same after a credential was used for the first time, and those that ended with that.
    pub fn after_use(&self, credential: usize, now: i64) -> (Self, usize) {
        let (mut after, mut ended) = (self.clone(), 0);
        after.credentials[credential].phase = Phase::Current;
        for other in &mut after.credentials {
            if other.phase == Phase::Outgoing && other.ends_on_use {
                ended += usize::from(!other.is_over(now));
                other.phase = Phase::Retired;
            }
        }
        (after, ended)
    }

    /// The same after a rotation that names a credential. The new one is the last.
    pub fn rotated(&self, named: usize, rotation: Rotate, now: i64) -> Result<Self, ErrorKind> {
        let (ends_at, on_use) = rotation.terms(now).ok_or(ErrorKind::InvalidInput)?;
        if self.state == State::Revoked {
            return Err(ErrorKind::Revoked);
        }
        if self.is_expired(now) {
            return Err(ErrorKind::Expired);
        }
        let is_immediate = ends_at == Some(now);
        let mut after = self.clone();
        let find = |phase| self.credentials.iter().position(|other| other.phase == phase);
        let replaced = match find(Phase::New) {
            Some(unused) => {
                let replaced = self.credentials[unused].replaces;
                if named != unused && Some(named) != replaced {
                    return Err(ErrorKind::AlreadyRotated);
                }
                after.credentials[unused].phase = Phase::Retired;
                replaced
            }
            None if find(Phase::Current) != Some(named) => return Err(ErrorKind::AlreadyRotated),
            None => {
                let lives =
                    |other: &Standing| other.phase == Phase::Outgoing && !other.is_over(now);
                if !is_immediate && self.credentials.iter().any(lives) {
                    return Err(ErrorKind::AlreadyRotated);
                }
                Some(named)
            }
        };
        for (at, other) in after.credentials.iter_mut().enumerate() {
            if is_immediate || (other.phase == Phase::Outgoing && other.is_over(now)) {
                other.phase = Phase::Retired;
            } else if Some(at) == replaced && other.phase != Phase::Retired {
                (other.phase, other.ends_at, other.ends_on_use) =
                    (Phase::Outgoing, ends_at, on_use);
            }
        }
        let new = Standing { replaces: replaced, ..Standing::new(Phase::New, None) };
        after.credentials.push(new);
        Ok(after)
    }
}

impl Rotate {
    /// When the one before ends, and whether it does with the first use; `None` where that is too far away.
    fn terms(self, now: i64) -> Option<(Option<i64>, bool)> {
        let after = |seconds: u16| Some(now + i64::from(seconds) * 1_000_000);
        Some(match self {
            Self::AtOnce => (after(0), false),
            Self::TooLong => return None,
            Self::UntilUse => (None, true),
            Self::UntilUseOr { seconds } => (after(seconds), true),
            Self::Within { seconds } => (after(seconds), false),
        })
    }
}

impl Limits {
    pub fn told(&self) -> Restrictions {
        let mut told = Restrictions::default();
        told.resource = self.has_resource.then(|| RESOURCE.to_owned());
        told.networks = self.networks.map(|bits| {
            let chosen = (0..NETWORKS.len()).filter(|at| bits & (1 << at) != 0);
            chosen.map(|at| NETWORKS[at].parse::<Network>().expect("a network")).collect()
        });
        told.not_before = self.not_before.map(|at| instant(at.into()));
        told.quota = self.quota.map(Quota::told);
        told
    }
}

impl Quota {
    fn told(self) -> token_tracker::Quota {
        let mut told = token_tracker::Quota::new();
        if let Some(Rate { units, seconds, burst }) = self.rate {
            told = told.rate(token_tracker::Rate::new(units, seconds).burst(burst));
        }
        let [minute, hour, day, month] = self.counts;
        told = minute.map_or(told, |units| told.per_minute(units));
        told = hour.map_or(told, |units| told.per_hour(units));
        told = day.map_or(told, |units| told.per_day(units));
        month.map_or(told, |units| told.per_month(units))
    }
}

/// Whether a granted scope is the wanted one, or has a star in the place of its end.
fn covers(granted: &str, wanted: &str) -> bool {
    let mut wanted = wanted.split(':');
    let mut granted = granted.split(':');
    loop {
        match (granted.next(), wanted.next()) {
            (None, None) => return true,
            (Some("*"), Some(part)) => return !part.is_empty() || wanted.next().is_some(),
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

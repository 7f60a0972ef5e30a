//! What an input of `state_machine` does: changes of tokens in two trackers on one file, requests between them, and
//! faults of the storage.

use std::net::IpAddr;

use arbitrary::{Arbitrary, Result, Unstructured};
use token_tracker::AuthRequest;

use crate::rate_model::Rate;
use crate::token_model::{Limits, Quota, RESOURCE};

const MOST_STEPS: usize = 40;

/// What costs milliseconds: reopened trackers, and steps under a fault.
const MOST_SLOW: usize = 4;
const LONGEST_FAULT: u8 = 4;

#[derive(Debug)]
pub struct Plan {
    pub steps: Vec<Step>,
}

/// Tokens, their credentials and open requests are numbered round.
#[derive(Clone, Debug)]
pub enum Step {
    Advance(Pause),
    Authenticate { at: Side, token: u8, credential: u8, request: Request, last: Last, times: u8 },
    Change { at: Side, token: u8, change: Change },
    Fault { fault: Fault, steps: u8 },
    Flush,
    Issue { at: Side, new: New },
    MarkExpired { at: Side },
    Reopen { at: Side },
    Settle { open: u8, last: Last },
    StillHolds { open: u8 },
    Upkeep { at: Side },
}

/// One of two trackers on the file.
#[derive(Arbitrary, Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    A,
    B,
}

#[derive(Clone, Copy, Debug)]
pub enum Pause {
    /// About as long as it takes until another process must know of a change.
    Bound(u8),
    Days(u8),
    Micros(u16),
    Millis(u16),
    Seconds(u16),
    /// Until something ends, or a microsecond before.
    To {
        end: u8,
        short: bool,
    },
}

#[derive(Clone, Debug)]
pub enum Change {
    ResetQuota,
    Resume,
    Revoke,
    Rotate { credential: u8, rotation: Rotate },
    Suspend,
    Update(Edit),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Rotate {
    AtOnce,
    TooLong,
    UntilUse,
    UntilUseOr { seconds: u16 },
    Within { seconds: u16 },
}

#[derive(Arbitrary, Clone, Debug)]
pub struct Edit {
    pub scopes: Option<Scopes>,
    pub expiry: Option<Option<i16>>,
    pub narrowed: Option<Narrowed>,
}

#[derive(Arbitrary, Clone, Debug)]
pub struct New {
    pub kind: Kind,
    pub scopes: Scopes,
    pub lifetime: Option<u16>,
    pub narrowed: Narrowed,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Kind {
    Jwt,
    LegacyJwt,
    Opaque,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Scopes(u8);

/// Restrictions: which there are, and how they are.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Narrowed {
    which: u8,
    networks: u8,
    not_before: i16,
    rate: [u8; 3],
    counts: [u8; 4],
}

#[derive(Clone, Copy, Debug)]
pub struct Request {
    scope: Option<u8>,
    address: Option<u8>,
    pub names_resource: bool,
    cost: Option<u8>,
    /// Asked of the cache first.
    pub is_cached: bool,
}

/// What becomes of an open request.
#[derive(Clone, Copy, Debug)]
pub enum Last {
    Drop,
    Finish { status: u8 },
    Keep,
    Record { status: Option<u8>, cost: Option<u8> },
}

#[derive(Arbitrary, Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Somebody else holds the lock for writing.
    Lock,
    /// A table is not there.
    NoAudit,
    NoChanges,
    NoQuotas,
}

impl<'a> Arbitrary<'a> for Plan {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let (mut steps, mut slow) = (Vec::new(), 0);
        while !input.is_empty() && steps.len() < MOST_STEPS {
            let step: Step = input.arbitrary()?;
            if matches!(step, Step::Fault { .. } | Step::Reopen { .. }) {
                slow += 1;
                if slow > MOST_SLOW {
                    continue;
                }
            }
            steps.push(step);
        }
        Ok(Self { steps })
    }
}

/// What matters most is most of it: the first byte of each says what it is.
impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind: u8 = input.arbitrary()?;
        let at = if kind & 1 == 0 { Side::A } else { Side::B };
        Ok(match kind {
            0..96 => Self::Authenticate {
                at,
                token: input.arbitrary()?,
                credential: input.arbitrary()?,
                request: input.arbitrary()?,
                last: input.arbitrary()?,
                times: if kind & 2 == 0 { 0 } else { input.arbitrary()? },
            },
            96..160 => Self::Change { at, token: input.arbitrary()?, change: input.arbitrary()? },
            160..192 => Self::Advance(input.arbitrary()?),
            192..208 => Self::Issue { at, new: input.arbitrary()? },
            208..220 => Self::Settle { open: input.arbitrary()?, last: input.arbitrary()? },
            220..228 => Self::StillHolds { open: input.arbitrary()? },
            228..231 => Self::Flush,
            231..244 => Self::Fault { fault: input.arbitrary()?, steps: input.arbitrary()? },
            244..247 => Self::Reopen { at },
            247..251 => Self::MarkExpired { at },
            251.. => Self::Upkeep { at },
        })
    }
}

impl<'a> Arbitrary<'a> for Change {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match input.arbitrary::<u8>()? % 16 {
            0..2 => Self::ResetQuota,
            2..5 => Self::Resume,
            5..7 => Self::Revoke,
            7..11 => Self::Rotate { credential: input.arbitrary()?, rotation: input.arbitrary()? },
            11..13 => Self::Suspend,
            _ => Self::Update(input.arbitrary()?),
        })
    }
}

impl<'a> Arbitrary<'a> for Pause {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match input.arbitrary::<u8>()? % 8 {
            0 => Self::Days(input.arbitrary()?),
            1 => Self::Micros(input.arbitrary()?),
            2 => Self::Millis(input.arbitrary()?),
            3 => Self::Seconds(input.arbitrary()?),
            4..6 => Self::Bound(input.arbitrary()?),
            _ => Self::To { end: input.arbitrary()?, short: input.arbitrary()? },
        })
    }
}

impl<'a> Arbitrary<'a> for Request {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let says: u8 = input.arbitrary()?;
        let mut number = |bits| (says & bits == bits).then(|| input.arbitrary()).transpose();
        Ok(Self {
            scope: number(0x03)?,
            address: number(0x04)?,
            cost: number(0x18)?,
            names_resource: says & 0x20 != 0,
            is_cached: says & 0x40 != 0,
        })
    }
}

impl<'a> Arbitrary<'a> for Last {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let says: u8 = input.arbitrary()?;
        let status = (says & 0x40 != 0).then_some(says);
        Ok(match says % 8 {
            0..2 => Self::Drop,
            2 => Self::Finish { status: says >> 4 },
            3..5 => Self::Keep,
            5..7 => {
                const COSTS: [u8; 8] = [0, 0, 0, 1, 2, 3, 7, 40];
                let cost = COSTS[usize::from(input.arbitrary::<u8>()? % 8)];
                Self::Record { status, cost: Some(cost) }
            }
            _ => Self::Record { status, cost: None },
        })
    }
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    pub fn place(self) -> usize {
        self as usize
    }

    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

pub fn fault_steps(steps: u8) -> u8 {
    steps % LONGEST_FAULT + 1
}

impl New {
    /// The tokens that every input begins with.
    pub const FIRST: [Self; 2] = [Self::plain(Kind::Opaque), Self::plain(Kind::Jwt)];

    const fn plain(kind: Kind) -> Self {
        let narrowed =
            Narrowed { which: 0, networks: 0, not_before: 0, rate: [0; 3], counts: [0; 4] };
        Self { kind, scopes: Scopes(2), lifetime: None, narrowed }
    }
}

impl Scopes {
    pub fn list(self) -> Vec<&'static str> {
        const LISTS: [&[&str]; 6] =
            [&[], &["a:read"], &["a:*"], &["*"], &["a:read", "b:write"], &["a:read:own"]];
        LISTS[usize::from(self.0) % LISTS.len()].to_vec()
    }
}

impl Narrowed {
    /// The restrictions as of `now`.
    pub fn limits(self, now: i64) -> Limits {
        let has = |bit: u8| self.which & (1 << bit) != 0;
        // Few are narrowed otherwise: of those, hardly a request is let through.
        let also = self.networks % 16;
        let count = |place: usize| {
            has(place as u8).then(|| match self.counts[place] {
                few @ 0..200 => u64::from(few % 12) + 1,
                many => u64::from(many) * 3,
            })
        };
        let counts = [count(0), count(1), count(2), count(3)];
        let rate = has(4).then(|| {
            let [units, seconds, burst] = self.rate;
            const SECONDS: [u32; 5] = [1, 2, 5, 60, 3_600];
            Rate {
                units: u32::from(units % 6) + 1,
                seconds: SECONDS[usize::from(seconds) % SECONDS.len()],
                burst: u32::from(burst % 6) + 1,
            }
        });
        let quota = Quota { rate, counts };
        let not_before = now + i64::from(self.not_before) * 1_000_000;
        Limits {
            has_resource: also == 1,
            networks: (2..5).contains(&also).then(|| self.networks % 3 + 1),
            not_before: (also == 5).then_some(not_before),
            quota: (has(7) && quota != Quota::default()).then_some(quota),
        }
    }
}

impl Request {
    /// With a cost of nothing.
    pub const FREE: Self = Self {
        scope: None,
        address: Some(0),
        names_resource: true,
        cost: Some(0),
        is_cached: false,
    };

    pub fn scope(&self) -> Option<&'static str> {
        const WANTED: [&str; 5] = ["a:read", "a:write", "a:read:own", "b:write", "c"];
        self.scope.map(|at| WANTED[usize::from(at) % WANTED.len()])
    }

    /// The address, and which of the networks it is in.
    pub fn address(&self) -> Option<(IpAddr, u8)> {
        const ADDRESSES: [(&str, u8); 5] = [
            ("192.0.2.7", 1),
            ("::ffff:192.0.2.9", 1),
            ("2001:db8::1", 2),
            ("192.0.3.7", 0),
            ("2001:db9::1", 0),
        ];
        let (text, networks) = ADDRESSES[usize::from(self.address?) % ADDRESSES.len()];
        Some((text.parse().expect("an address"), networks))
    }

    pub fn cost(&self) -> u32 {
        match self.cost {
            None => 1,
            Some(some @ 0..200) => u32::from(some % 5),
            Some(many) => u32::from(many - 200),
        }
    }

    pub fn ask<'r>(&self, secret: &'r str) -> AuthRequest<'r> {
        let mut request = AuthRequest::new(secret).cost(self.cost());
        if let Some(scope) = self.scope() {
            request = request.scope(scope);
        }
        if let Some((address, _)) = self.address() {
            request = request.client_address(address);
        }
        if self.names_resource { request.resource(RESOURCE) } else { request }
    }
}

/// A status to answer with.
pub fn status(of: u8) -> u16 {
    [200, 404, 503, 302][usize::from(of) % 4]
}

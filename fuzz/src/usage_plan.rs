//! What an input of `usage_record` does: requests, and all the ways in which they end.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use token_tracker::AuthRequest;

/// The scope that every token has.
pub const SCOPE: &str = "items:read";

/// What the second token is limited to.
pub const RESOURCE: &str = "https://items.example.com";

const DAY: i64 = 86_400_000_000;

/// The most steps of an input that are taken.
const MOST_STEPS: usize = 32;

/// The most bytes that an input spends on one text.
const MOST_BYTES: usize = 40;

/// What an input does, one after the other, to its last byte.
#[derive(Debug)]
pub struct Plan<'a> {
    pub steps: Vec<Step<'a>>,
}

/// What happens next. Tokens and open requests are numbered round.
#[derive(Arbitrary, Debug)]
pub enum Step<'a> {
    Advance(Time),
    Confirm,
    /// An open request goes on.
    Continue {
        open: u8,
        acts: Vec<Act<'a>>,
        last: Last<'a>,
    },
    Flush,
    Request {
        request: Request<'a>,
        acts: Vec<Act<'a>>,
        last: Last<'a>,
        times: u8,
    },
    Resume {
        token: u8,
    },
    /// The wall clock alone is set to so long before or after the start.
    SetWall {
        time: Time,
        before: bool,
    },
    Suspend {
        token: u8,
    },
    Upkeep,
}

#[derive(Arbitrary, Debug)]
pub struct Request<'a> {
    pub token: u8,
    pub method: Option<Method<'a>>,
    pub route: Option<Text<'a>>,
    pub user_agent: Option<Bytes<'a>>,
    pub address: Option<IpAddr>,
    pub cost: Option<u32>,
    pub scope: Option<Scope>,
    pub names_resource: bool,
    pub is_filtered: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Scope {
    Had,
    Missing,
}

#[derive(Arbitrary, Debug)]
pub enum Method<'a> {
    Known(u8),
    Other(Short<'a>),
}

/// A few bytes. Would each take as many as it likes, the first would leave nothing to the others.
#[derive(Clone, Copy, Debug)]
pub struct Short<'a>(&'a [u8]);

/// A text that can be long where the input is short.
#[derive(Arbitrary, Debug)]
pub struct Text<'a> {
    text: Short<'a>,
    times: u8,
}

#[derive(Arbitrary, Debug)]
pub struct Bytes<'a> {
    bytes: Short<'a>,
    times: u8,
    end: Short<'a>,
}

/// Of any size, small ones as likely as large ones.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Number {
    bits: u64,
    down: u8,
}

/// Less than 100 days.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Time(Number);

/// What an adapter tells an open request.
#[derive(Arbitrary, Debug)]
pub enum Act<'a> {
    Begin { status: u16, length: Option<Number> },
    Fail,
    Finish,
    Sent(Number),
    SetRoute(Text<'a>),
    Wait(Time),
}

/// What becomes of a request then.
#[derive(Arbitrary, Debug)]
pub enum Last<'a> {
    Drop,
    DropUsage(Said<'a>),
    Keep,
    Record(Said<'a>),
    RecordBlocking(Said<'a>),
}

/// What a usage says.
#[derive(Arbitrary, Debug)]
pub struct Said<'a> {
    pub route: Option<(Method<'a>, Text<'a>)>,
    pub status: Option<u16>,
    pub elapsed: Option<Elapsed>,
    pub response_bytes: Option<Number>,
    pub address: Option<IpAddr>,
    pub user_agent: Option<Bytes<'a>>,
    pub cost: Option<u32>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Elapsed {
    Longest,
    Nanos(Number),
    Seconds(Number),
}

impl<'a> Arbitrary<'a> for Plan<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let mut steps = Vec::new();
        while !input.is_empty() && steps.len() < MOST_STEPS {
            steps.push(input.arbitrary()?);
        }
        Ok(Self { steps })
    }
}

impl<'a> Arbitrary<'a> for Short<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let length = usize::from(input.arbitrary::<u8>()?) % MOST_BYTES;
        Ok(Self(input.bytes(length.min(input.len()))?))
    }
}

impl<'a> Short<'a> {
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// As much of it as is UTF-8.
    pub fn text(self) -> &'a str {
        self.0.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}

impl Request<'_> {
    /// The request as an adapter hands it in.
    pub fn ask<'r>(&'r self, secret: &'r str) -> AuthRequest<'r> {
        let mut request = AuthRequest::new(secret);
        if let Some(method) = &self.method {
            request = request.method(method.text());
        }
        if let Some(route) = &self.route {
            request = request.into_owned().route(&*route.text()).into_owned();
        }
        if let Some(agent) = &self.user_agent {
            // The request borrows its agent, so that a made-up one has to live as long as this.
            return self.rest(request.into_owned().user_agent(&agent.bytes()).into_owned());
        }
        self.rest(request)
    }

    fn rest<'r>(&self, mut request: AuthRequest<'r>) -> AuthRequest<'r> {
        if let Some(address) = self.address {
            request = request.client_address(address);
        }
        if let Some(cost) = self.cost {
            request = request.cost(cost);
        }
        request = match self.scope {
            Some(Scope::Had) => request.scope(SCOPE),
            Some(Scope::Missing) => request.scope("items:write"),
            None => request,
        };
        if self.names_resource {
            request = request.resource(RESOURCE);
        }
        request.path(if self.is_filtered { "/healthz" } else { "/items/7" })
    }
}

impl Method<'_> {
    pub fn text(&self) -> &str {
        const KNOWN: [&str; 10] = [
            "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
        ];
        match self {
            Self::Known(at) => KNOWN[usize::from(*at) % KNOWN.len()],
            Self::Other(text) => text.text(),
        }
    }
}

impl Text<'_> {
    pub fn text(&self) -> Cow<'_, str> {
        match self.times {
            0 => Cow::Borrowed(self.text.text()),
            times => Cow::Owned(self.text.text().repeat(usize::from(times) + 1)),
        }
    }
}

impl Bytes<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.0.repeat(usize::from(self.times) + 1);
        bytes.extend_from_slice(self.end.0);
        bytes
    }
}

impl Number {
    pub fn value(self) -> u64 {
        self.bits >> (self.down % 64)
    }
}

impl Time {
    /// In microseconds.
    pub fn micros(self) -> i64 {
        (self.0.value() % (100 * DAY) as u64) as i64
    }
}

impl Elapsed {
    pub fn duration(self) -> Duration {
        match self {
            Self::Longest => Duration::MAX,
            Self::Nanos(nanos) => Duration::from_nanos(nanos.value()),
            Self::Seconds(seconds) => Duration::from_secs(seconds.value()),
        }
    }
}

//! The record of a request: how it ended, on its way to the store and as it is read back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::address::ClientAddress;
use crate::reason::DenialReason;
use crate::timestamp::Timestamp;
use crate::token::{CredentialId, TokenId};

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// Answered with a 4xx status by the service.
    ClientError,
    /// Refused by this library.
    Denied(DenialReason),
    /// Answered with a 5xx status, or the handler panicked, or the body failed.
    ServerError,
    /// Answered with a status below 400, to the end.
    Success,
    /// Never ended: the client left, the handler was cancelled, or nobody recorded it.
    Unfinished,
}

/// Codes from here up are those of the denial reasons, shifted.
const DENIED: u8 = 16;

impl Outcome {
    /// The outcome of a response that was sent to its end.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            0..400 => Self::Success,
            400..500 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::ClientError => 1,
            Self::ServerError => 2,
            Self::Unfinished => 3,
            Self::Denied(reason) => DENIED + reason.code(),
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::ClientError),
            2 => Some(Self::ServerError),
            3 => Some(Self::Unfinished),
            _ => DenialReason::from_code(code.checked_sub(DENIED)?).map(Self::Denied),
        }
    }

    /// The outcome as it appears in answers, such as `client_error`; the reason of a denial is apart.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientError => "client_error",
            Self::Denied(_) => "denied",
            Self::ServerError => "server_error",
            Self::Success => "success",
            Self::Unfinished => "unfinished",
        }
    }

    /// Why the request was denied, if it was.
    #[must_use]
    pub fn reason(self) -> Option<DenialReason> {
        match self {
            Self::Denied(reason) => Some(reason),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request method. Those of RFC 9110 §9, PATCH and QUERY are known by name; clients can make up others without
/// end. The code in the store is the place in the list, never used again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Method(u8);

const METHODS: [&str; 12] = [
    "", "<other>", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY",
    "TRACE",
];

impl Method {
    pub(crate) const OTHER: Self = Self(1);
    pub(crate) const CONNECT: Self = Self(2);
    pub(crate) const HEAD: Self = Self(5);

    pub(crate) fn named(name: &str) -> Self {
        let known = (2_u8..).zip(&METHODS[2..]).find(|(_, known)| **known == name);
        known.map_or(Self::OTHER, |(code, _)| Self(code))
    }

    pub(crate) fn code(self) -> u8 {
        self.0
    }

    pub(crate) fn from_code(code: u8) -> Self {
        if usize::from(code) < METHODS.len() { Self(code) } else { Self::OTHER }
    }

    /// Empty where none was said.
    pub(crate) fn as_str(self) -> &'static str {
        METHODS[usize::from(self.0)]
    }
}

/// A record on its way to the store.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) at: Timestamp,
    pub(crate) token: TokenId,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) method: Method,
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
    pub(crate) duration_us: i64,
    pub(crate) response_bytes: u64,
    pub(crate) client_address: Option<ClientAddress>,
    pub(crate) user_agent: Option<Arc<str>>,
    pub(crate) cost: u64,
    /// How many requests it stands for; its bytes and its cost are then their sums.
    pub(crate) weight: u32,
    /// Few records have it: a hit is not to pay for it.
    pub(crate) late: Option<Box<Late>>,
}

/// What there is to say of a request with a credential that is dead or on its way out.
#[derive(Clone, Debug)]
pub(crate) struct Late {
    pub(crate) credential: CredentialId,
    /// The newest of the requests that the record stands for, where it stands for several.
    pub(crate) newest: Option<Sighting>,
}

/// When a credential was seen, and where.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub(crate) at: Timestamp,
    pub(crate) address: Option<ClientAddress>,
    pub(crate) user_agent: Option<Arc<str>>,
    pub(crate) route: Option<Arc<str>>,
}

impl Record {
    pub(crate) fn sighting(&self) -> Sighting {
        Sighting {
            at: self.at,
            address: self.client_address,
            user_agent: self.user_agent.clone(),
            route: self.route.clone(),
        }
    }
}

/// A record as it is read back.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct UsageRecord {
    /// When the request was settled.
    pub at: OffsetDateTime,
    /// The token it was made with.
    pub token_id: TokenId,
    /// The method; `<other>` for one that is not of RFC 9110, PATCH or QUERY, empty where none was said.
    pub method: String,
    /// The route template; `<unmatched>` where there was none, `<other>` past the dictionary's cap.
    pub route: String,
    /// The status that was sent or, for a denial, suggested; 499 where the client left before one.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// From `authenticate` to the end of the body.
    pub duration: Duration,
    /// The bytes of the body that were handed to the transport.
    pub response_bytes: u64,
    /// The client's address, where the adapter knew it, as far as [it is kept](crate::ClientAddresses).
    pub client_address: Option<ClientAddress>,
    /// The `User-Agent`, where there was one; `<other>` past the dictionary's cap.
    pub user_agent: Option<String>,
    /// What the request was worth.
    pub cost: u64,
    /// How many requests the record stands for: 1, or more where a token was denied for one reason over ten
    /// times a minute. Bytes and cost are then their sums, the duration is that of the first.
    pub weight: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_their_codes() {
        for code in 0..=u8::MAX {
            if let Some(outcome) = Outcome::from_code(code) {
                assert_eq!(outcome.code(), code);
            }
        }
        let denied = Outcome::Denied(DenialReason::Revoked);
        assert_eq!(Outcome::from_code(denied.code()), Some(denied));
    }

    #[test]
    fn methods_survive_their_codes_and_what_is_made_up_is_other() {
        for name in &METHODS[2..] {
            let method = Method::named(name);
            assert_eq!((method.as_str(), Method::from_code(method.code())), (*name, method));
        }
        assert_eq!((Method::HEAD.as_str(), Method::CONNECT.as_str()), ("HEAD", "CONNECT"));
        for made_up in ["get", "", "<other>", "BREW"] {
            assert_eq!(Method::named(made_up).as_str(), "<other>");
        }
        assert_eq!(Method::from_code(200), Method::OTHER);
    }

    #[test]
    fn a_404_is_the_clients_error_and_no_denial() {
        assert_eq!(Outcome::of_status(404), Outcome::ClientError);
        assert_eq!(Outcome::of_status(399), Outcome::Success);
        assert_eq!(Outcome::of_status(500), Outcome::ServerError);
    }
}

//! The record of a request: how it ended, on its way to the store and as it is read back.

mod cursor;
mod filter;
mod shown;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::address::ClientAddress;
use crate::error::Error;
use crate::reason::DenialReason;
use crate::timestamp::Timestamp;
use crate::token::{CredentialId, TokenId};
pub(crate) use cursor::Place;
pub use cursor::RecordCursor;
pub use filter::RecordFilter;
pub use shown::{RecordPage, UsageRecord};

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
        self.kind().as_str()
    }

    /// The outcome without the reason of a denial.
    #[must_use]
    pub fn kind(self) -> OutcomeKind {
        match self {
            Self::ClientError => OutcomeKind::ClientError,
            Self::Denied(_) => OutcomeKind::Denied,
            Self::ServerError => OutcomeKind::ServerError,
            Self::Success => OutcomeKind::Success,
            Self::Unfinished => OutcomeKind::Unfinished,
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

/// An [`Outcome`] without the reason of a denial: what a [`RecordFilter`] asks for.
///
/// As text, which is also its form in JSON, in snake case: `client_error`.
///
/// ```
/// use token_tracker::OutcomeKind;
///
/// assert_eq!("client_error".parse::<OutcomeKind>()?, OutcomeKind::ClientError);
/// assert_eq!("lost".parse::<OutcomeKind>().unwrap_err().field(), Some("outcome"));
/// # Ok::<(), token_tracker::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutcomeKind {
    /// Answered with a 4xx status by the service.
    ClientError,
    /// Refused by this library.
    Denied,
    /// Answered with a 5xx status, or failed half-way.
    ServerError,
    /// Answered with a status below 400, to the end.
    Success,
    /// Never ended.
    Unfinished,
}

impl OutcomeKind {
    const ALL: [Self; 5] =
        [Self::ClientError, Self::Denied, Self::ServerError, Self::Success, Self::Unfinished];

    /// The kind as it appears in answers, such as `client_error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientError => "client_error",
            Self::Denied => "denied",
            Self::ServerError => "server_error",
            Self::Success => "success",
            Self::Unfinished => "unfinished",
        }
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OutcomeKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            Error::invalid("outcome", format!("must be one of {names}"))
        })
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

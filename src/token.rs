//! Tokens as the catalogue keeps them, and what can be asked of it.

mod bounds;
mod credential;
mod filter;
mod new;

use std::collections::BTreeMap;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::restrictions::Restrictions;
use crate::secret::Secret;
use crate::timestamp::Timestamp;
pub use credential::CredentialId;
pub(crate) use credential::{Phase, Standing};
pub use filter::TokenFilter;
pub(crate) use filter::check_span;
pub use new::{NewToken, TokenUpdate};

/// The number of a token in its file. Assigned by the store and never used again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct TokenId(i64);

impl TokenId {
    /// The number of tokens that are in no catalogue.
    pub(crate) const UNTRACKED: Self = Self(0);
    /// No token comes after it.
    pub(crate) const LAST: Self = Self(i64::MAX);

    pub(crate) const fn from_row(id: i64) -> Self {
        Self(id)
    }

    pub(crate) const fn as_row(self) -> i64 {
        self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TokenId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The owner of tokens whose owner was erased. Nobody else can be called so.
pub(crate) const ERASED: &str = "<erased>";

/// What kind of credential a token is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenKind {
    /// A JWT that carries the API-token mark.
    Jwt,
    /// A JWT without the mark, known by its `jti` alone.
    LegacyJwt,
    /// A random text, known by its hash.
    Opaque,
    /// A JWT of an outside issuer that was let through without being in the catalogue.
    Outside,
}

impl TokenKind {
    const NAMES: [(Self, &'static str); 4] = [
        (Self::Jwt, "jwt"),
        (Self::LegacyJwt, "legacy_jwt"),
        (Self::Opaque, "opaque"),
        (Self::Outside, "outside"),
    ];

    /// The kind as it appears in answers: `jwt`, `legacy_jwt`, `opaque` or `outside`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self.code() as usize].1
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Jwt => 0,
            Self::LegacyJwt => 1,
            Self::Opaque => 2,
            Self::Outside => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::NAMES.get(usize::from(code)).map(|(kind, _)| *kind)
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a token can be used. Revoked beats expired, expired beats suspended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenStatus {
    /// Can be used.
    Active,
    /// Past its expiry. An edit of the expiry brings it back.
    Expired,
    /// Refused for good; the row stays as a tombstone, until [`upkeep`](crate::TokenTracker::upkeep) removes what
    /// nothing depends on any longer.
    Revoked,
    /// Refused until resumed.
    Suspended,
}

impl TokenStatus {
    /// The status as it appears in answers, such as `active`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Suspended => "suspended",
        }
    }
}

impl fmt::Display for TokenStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state that an administrator put a token in. [`TokenStatus`] follows from it and the time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TokenState {
    Active,
    Suspended,
    Revoked,
    MarkedExpired,
    /// Marked expired, and suspended before or since.
    ExpiredSuspended,
}

impl TokenState {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Active => 0,
            Self::Suspended => 1,
            Self::Revoked => 2,
            Self::MarkedExpired => 3,
            Self::ExpiredSuspended => 4,
        }
    }

    /// The state as it appears in the audit.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::MarkedExpired => "expired",
            Self::ExpiredSuspended => "expired_suspended",
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Revoked, Self::MarkedExpired, Self::ExpiredSuspended]
            .into_iter()
            .find(|state| state.code() == code)
    }

    pub(crate) fn marked_expired(self) -> Self {
        match self {
            Self::Active => Self::MarkedExpired,
            Self::Suspended => Self::ExpiredSuspended,
            other => other,
        }
    }

    /// Alive again, with another expiry: a suspension lasts until it is ended.
    pub(crate) fn revived(self) -> Self {
        match self {
            Self::MarkedExpired => Self::Active,
            Self::ExpiredSuspended => Self::Suspended,
            other => other,
        }
    }

    pub(crate) fn suspended(self) -> Self {
        match self {
            Self::Active => Self::Suspended,
            Self::MarkedExpired => Self::ExpiredSuspended,
            other => other,
        }
    }

    pub(crate) fn resumed(self) -> Self {
        match self {
            Self::Suspended => Self::Active,
            Self::ExpiredSuspended => Self::MarkedExpired,
            other => other,
        }
    }

    pub(crate) fn status(self, expires_at: Option<Timestamp>, now: Timestamp) -> TokenStatus {
        match self {
            Self::Revoked => TokenStatus::Revoked,
            Self::MarkedExpired | Self::ExpiredSuspended => TokenStatus::Expired,
            _ if expires_at.is_some_and(|expires_at| now >= expires_at) => TokenStatus::Expired,
            Self::Suspended => TokenStatus::Suspended,
            Self::Active => TokenStatus::Active,
        }
    }
}

/// When a token was last used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LastUsed {
    /// Then, to within the last-used interval.
    At(OffsetDateTime),
    /// Never: its use has been tracked since it was made.
    Never,
    /// Not known: it may have been used while last-use tracking was off, or before it was known here.
    NotTracked,
}

impl LastUsed {
    /// The instant, where there is one.
    #[must_use]
    pub fn at(self) -> Option<OffsetDateTime> {
        match self {
            Self::At(at) => Some(at),
            Self::Never | Self::NotTracked => None,
        }
    }
}

/// When, by whom and why a token was revoked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Revocation {
    /// When.
    pub at: OffsetDateTime,
    /// The actor, as given to [`Tokens::acting_as`](crate::Tokens::acting_as).
    pub by: Option<String>,
    /// The reason that was given.
    pub reason: Option<String>,
}

/// A token as the catalogue has it: everything but the secret, which is not kept.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Token {
    /// Its number.
    pub id: TokenId,
    /// Whom it belongs to.
    pub owner: String,
    /// Unique among the living tokens of its owner.
    pub name: String,
    /// What kind of credential it is.
    pub kind: TokenKind,
    /// Whether it can be used, at the time of the answer.
    pub status: TokenStatus,
    /// Free text.
    pub description: Option<String>,
    /// For grouping.
    pub tags: Vec<String>,
    /// What it may do; nothing where empty.
    pub scopes: Vec<String>,
    /// What narrows it beside its scopes.
    pub restrictions: Restrictions,
    /// The service's own data about it.
    pub metadata: BTreeMap<String, String>,
    /// A part of the token that helps its owner recognise it and nobody to use it.
    pub fragment: String,
    /// The credential that its clients surely have: the current one, or while a rotation waits for the first use of
    /// the new one, the one before it.
    pub credential_id: CredentialId,
    /// When it was issued or registered.
    pub created_at: OffsetDateTime,
    /// When it expires; `None` for never.
    pub expires_at: Option<OffsetDateTime>,
    /// When it was last used.
    pub last_used: LastUsed,
    /// Its revocation, if it is revoked.
    pub revocation: Option<Revocation>,
}

/// A fresh token and, this once, its secret.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Issued {
    /// The catalogue's record.
    pub token: Token,
    /// The token in the clear. It is not stored and cannot be had again.
    pub secret: Secret,
}

/// Some tokens, oldest first, and where to go on. Tokens issued or revoked between two pages neither
/// shift nor repeat a row.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct TokenPage {
    /// The tokens of this page.
    pub tokens: Vec<Token>,
    /// What to give to [`TokenFilter::after`] for the next page; `None` at the end.
    pub next: Option<TokenId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_900_000);

    #[test]
    fn revoked_beats_expired_and_expired_beats_suspended() {
        let past = Some(NOW);
        let future = Some(NOW.saturating_add(std::time::Duration::from_secs(1)));
        assert_eq!(TokenState::Revoked.status(past, NOW), TokenStatus::Revoked);
        assert_eq!(TokenState::Suspended.status(past, NOW), TokenStatus::Expired);
        assert_eq!(TokenState::Suspended.status(future, NOW), TokenStatus::Suspended);
        assert_eq!(TokenState::Active.status(future, NOW), TokenStatus::Active);
        assert_eq!(TokenState::MarkedExpired.status(future, NOW), TokenStatus::Expired);
        assert_eq!(TokenState::ExpiredSuspended.status(future, NOW), TokenStatus::Expired);
    }
}

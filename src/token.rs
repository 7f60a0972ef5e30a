//! Tokens as the catalogue keeps them, and what can be asked of it.

use std::collections::BTreeMap;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::error::Error;
use crate::secret::Secret;
use crate::timestamp::Timestamp;

/// The number of a token in its file. Assigned by the store and never used again.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct TokenId(i64);

impl TokenId {
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
}

impl TokenKind {
    const NAMES: [(Self, &'static str); 3] =
        [(Self::Jwt, "jwt"), (Self::LegacyJwt, "legacy_jwt"), (Self::Opaque, "opaque")];

    /// The kind as it appears in answers: `jwt`, `legacy_jwt` or `opaque`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self.code() as usize].1
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Jwt => 0,
            Self::LegacyJwt => 1,
            Self::Opaque => 2,
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
    /// Refused for good; the row stays as a tombstone.
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
}

impl TokenState {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Active => 0,
            Self::Suspended => 1,
            Self::Revoked => 2,
            Self::MarkedExpired => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Revoked, Self::MarkedExpired]
            .into_iter()
            .find(|state| state.code() == code)
    }

    pub(crate) fn status(self, expires_at: Option<Timestamp>, now: Timestamp) -> TokenStatus {
        match self {
            Self::Revoked => TokenStatus::Revoked,
            Self::MarkedExpired => TokenStatus::Expired,
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
    /// The one resource that it is limited to.
    pub resource: Option<String>,
    /// The service's own data about it.
    pub metadata: BTreeMap<String, String>,
    /// A part of the token that helps its owner recognise it and nobody to use it.
    pub fragment: String,
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

/// How long a new or edited token lives.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Expiry {
    At(OffsetDateTime),
    In(Duration),
    #[default]
    Never,
}

impl Expiry {
    /// The instant of expiry, on a whole second so that it equals a JWT's `exp`.
    pub(crate) fn resolve(self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let last = Timestamp::from(time::macros::datetime!(9999-12-31 23:59:59 UTC));
        let at = match self {
            Self::Never => return Ok(None),
            Self::At(at) => Timestamp::from(at).whole_second(),
            Self::In(lifetime) if lifetime < Duration::from_secs(1) => {
                return Err(Error::invalid("expires_in", "must be a second or more"));
            }
            Self::In(lifetime) => now.saturating_add(lifetime).whole_second(),
        };
        if at > last {
            return Err(Error::invalid("expires_at", "must be in the year 9999 or before"));
        }
        Ok(Some(at))
    }
}

/// A token to be made.
///
/// Bounds: owner 1 to 320 bytes, name 1 to 200, description 2,000, resource 512; 64 scopes of 1 to 128
/// characters (RFC 6749 §3.3), 32 tags of 1 to 64 bytes, 32 metadata entries of at most 64 and 1,024
/// bytes; no control characters but line breaks in the description and the metadata.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub(crate) kind: TokenKind,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) resource: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) expiry: Expiry,
}

impl NewToken {
    /// A signed JWT with the API-token mark. Needs a signing key.
    #[must_use]
    pub fn jwt(owner: impl Into<String>, name: impl Into<String>) -> Self {
        Self::of(TokenKind::Jwt, owner.into(), name.into())
    }

    /// A JWT without the mark: to register one that was issued elsewhere, or to issue one for a client
    /// that cannot have the mark.
    #[must_use]
    pub fn legacy_jwt(owner: impl Into<String>, name: impl Into<String>) -> Self {
        Self::of(TokenKind::LegacyJwt, owner.into(), name.into())
    }

    /// A random text with a recognisable prefix and a checksum. Needs no key.
    #[must_use]
    pub fn opaque(owner: impl Into<String>, name: impl Into<String>) -> Self {
        Self::of(TokenKind::Opaque, owner.into(), name.into())
    }

    fn of(kind: TokenKind, owner: String, name: String) -> Self {
        Self {
            kind,
            owner,
            name,
            description: None,
            tags: Vec::new(),
            scopes: Vec::new(),
            resource: None,
            metadata: BTreeMap::new(),
            expiry: Expiry::Never,
        }
    }

    /// Free text.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// One more tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// One more scope. A token without scopes may do nothing that needs one.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Several more scopes.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Limits the token to one resource.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// One more entry of the service's own data.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Expires at this instant, its fraction of a second cut off. Never, unless said.
    #[must_use]
    pub fn expires_at(mut self, at: OffsetDateTime) -> Self {
        self.expiry = Expiry::At(at);
        self
    }

    /// Expires after this time, from the whole second of issue; a second at least.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.expiry = Expiry::In(lifetime);
        self
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        check_text("owner", &self.owner, 1, 320)?;
        check_text("name", &self.name, 1, 200)?;
        check_details(
            self.description.as_deref(),
            &self.tags,
            &self.scopes,
            self.resource.as_deref(),
            &self.metadata,
        )
    }
}

/// Changes to a token; what is not said stays as it is. The bounds are those of [`NewToken`].
#[derive(Clone, Debug, Default)]
pub struct TokenUpdate {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<Option<String>>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) resource: Option<Option<String>>,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
    pub(crate) expiry: Option<Expiry>,
}

impl TokenUpdate {
    /// No change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Another description, or none.
    #[must_use]
    pub fn description(mut self, description: Option<String>) -> Self {
        self.description = Some(description);
        self
    }

    /// These tags instead.
    #[must_use]
    pub fn tags<S: Into<String>>(mut self, tags: impl IntoIterator<Item = S>) -> Self {
        self.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// These scopes instead, from the token's next request on.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Another resource, or no limit.
    #[must_use]
    pub fn resource(mut self, resource: Option<String>) -> Self {
        self.resource = Some(resource);
        self
    }

    /// This data instead.
    #[must_use]
    pub fn metadata(mut self, metadata: BTreeMap<String, String>) -> Self {
        self.metadata = Some(metadata);
        self
    }

    /// Another expiry, or none. A JWT that carries an earlier `exp` still ends there.
    #[must_use]
    pub fn expires_at(mut self, at: Option<OffsetDateTime>) -> Self {
        self.expiry = Some(at.map_or(Expiry::Never, Expiry::At));
        self
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if let Some(name) = &self.name {
            check_text("name", name, 1, 200)?;
        }
        check_details(
            self.description.as_ref().and_then(Option::as_deref),
            self.tags.as_deref().unwrap_or_default(),
            self.scopes.as_deref().unwrap_or_default(),
            self.resource.as_ref().and_then(Option::as_deref),
            self.metadata.as_ref().unwrap_or(&BTreeMap::new()),
        )
    }
}

/// Which tokens to list: all of them, unless narrowed.
#[derive(Clone, Debug, Default)]
pub struct TokenFilter {
    pub(crate) owner: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) status: Option<TokenStatus>,
    pub(crate) after: Option<TokenId>,
    pub(crate) limit: Option<u32>,
}

impl TokenFilter {
    /// How many tokens a page has unless said.
    pub const DEFAULT_LIMIT: u32 = 100;
    /// How many tokens a page can have.
    pub const MAX_LIMIT: u32 = 1_000;

    /// All tokens.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of this owner.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Those of exactly this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Those of this status now.
    #[must_use]
    pub fn status(mut self, status: TokenStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Those after this one: the [`TokenPage::next`] of the page before.
    #[must_use]
    pub fn after(mut self, id: TokenId) -> Self {
        self.after = Some(id);
        self
    }

    /// At most this many, 1 to [`TokenFilter::MAX_LIMIT`].
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(crate) fn page_size(&self) -> Result<u32, Error> {
        let limit = self.limit.unwrap_or(Self::DEFAULT_LIMIT);
        if limit == 0 || limit > Self::MAX_LIMIT {
            return Err(Error::invalid("limit", format!("must be 1 to {}", Self::MAX_LIMIT)));
        }
        Ok(limit)
    }
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

fn check_details(
    description: Option<&str>,
    tags: &[String],
    scopes: &[String],
    resource: Option<&str>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    check_prose("description", description.unwrap_or_default(), 2_000)?;
    if let Some(resource) = resource {
        check_text("resource", resource, 1, 512)?;
    }
    check_count("tags", tags.len(), 32)?;
    tags.iter().try_for_each(|tag| check_text("tags", tag, 1, 64))?;
    check_count("scopes", scopes.len(), 64)?;
    scopes.iter().try_for_each(|scope| check_scope(scope))?;
    check_count("metadata", metadata.len(), 32)?;
    metadata.iter().try_for_each(|(key, value)| {
        check_text("metadata", key, 1, 64)?;
        check_prose("metadata", value, 1_024)
    })
}

fn check_count(field: &'static str, count: usize, most: usize) -> Result<(), Error> {
    if count > most {
        return Err(Error::invalid(field, format!("may have {most} entries, not {count}")));
    }
    Ok(())
}

/// A line of text.
pub(crate) fn check_text(
    field: &'static str,
    text: &str,
    least: usize,
    most: usize,
) -> Result<(), Error> {
    if text.len() < least || text.len() > most {
        let length = text.len();
        return Err(Error::invalid(
            field,
            format!("must be {least} to {most} bytes, not {length}"),
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(field, "must not have control characters"));
    }
    Ok(())
}

/// Text of several lines.
fn check_prose(field: &'static str, text: &str, most: usize) -> Result<(), Error> {
    if text.len() > most {
        return Err(Error::invalid(field, format!("may have {most} bytes, not {}", text.len())));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(Error::invalid(field, "must not have control characters but line breaks"));
    }
    Ok(())
}

/// `scope-token` of RFC 6749 §3.3: visible ASCII but `"` and `\`.
pub(crate) fn check_scope(scope: &str) -> Result<(), Error> {
    let well_formed = (1..=128).contains(&scope.len())
        && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if !well_formed {
        return Err(Error::invalid(
            "scopes",
            "must be 1 to 128 visible ASCII characters each, without space, `\"` and `\\`",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_900_000);

    fn field_of(token: &NewToken) -> Option<&'static str> {
        token.validate().err().and_then(|error| error.field())
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let good = NewToken::jwt("alice", "nightly");
        assert_eq!(field_of(&good), None);
        assert_eq!(field_of(&NewToken::jwt("", "x")), Some("owner"));
        assert_eq!(field_of(&NewToken::jwt("a", "x".repeat(10_000))), Some("name"));
        assert_eq!(field_of(&NewToken::jwt("a", "x\0")), Some("name"));
        assert_eq!(field_of(&good.clone().scope("two words")), Some("scopes"));
        assert_eq!(field_of(&good.clone().scope("")), Some("scopes"));
        assert_eq!(field_of(&good.clone().scope("a\"b")), Some("scopes"));
        assert_eq!(field_of(&good.clone().tag("")), Some("tags"));
        assert_eq!(field_of(&good.clone().resource("\n")), Some("resource"));
        assert_eq!(field_of(&good.clone().metadata("k", "v".repeat(2_000))), Some("metadata"));
        assert_eq!(field_of(&good.clone().description("a\u{7}")), Some("description"));
        assert_eq!(field_of(&good.description("two\nlines")), None);
    }

    #[test]
    fn a_lifetime_ends_on_a_whole_second() {
        let resolve = |expiry: Expiry| expiry.resolve(NOW).map_err(|error| error.field());
        assert_eq!(resolve(Expiry::Never), Ok(None));
        assert_eq!(
            resolve(Expiry::In(Duration::from_secs(10))),
            Ok(Some(Timestamp::from_seconds(1_010)))
        );
        assert_eq!(resolve(Expiry::In(Duration::from_millis(10))), Err(Some("expires_in")));
        assert_eq!(resolve(Expiry::In(Duration::MAX)), Err(Some("expires_at")));
    }

    #[test]
    fn revoked_beats_expired_and_expired_beats_suspended() {
        let past = Some(NOW);
        let future = Some(NOW.saturating_add(Duration::from_secs(1)));
        assert_eq!(TokenState::Revoked.status(past, NOW), TokenStatus::Revoked);
        assert_eq!(TokenState::Suspended.status(past, NOW), TokenStatus::Expired);
        assert_eq!(TokenState::Suspended.status(future, NOW), TokenStatus::Suspended);
        assert_eq!(TokenState::Active.status(future, NOW), TokenStatus::Active);
        assert_eq!(TokenState::MarkedExpired.status(future, NOW), TokenStatus::Expired);
    }
}

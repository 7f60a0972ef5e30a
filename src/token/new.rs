//! Tokens to be made, and changes to those that are.

use std::collections::BTreeMap;
use std::time::Duration;

use time::OffsetDateTime;

use super::bounds::check_details;
use super::{ERASED, TokenKind};
use crate::bounds::check_text;
use crate::error::Error;
use crate::network::Network;
use crate::quota::Quota;
use crate::restrictions::Restrictions;
use crate::timestamp::Timestamp;

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
/// Bounds: owner 1 to 320 bytes, name 1 to 200, description 2,000; 64 scopes of 1 to 128 characters (RFC 6749
/// §3.3; a `*` alone or after the last `:` stands for everything in its place), 32 tags of 1 to 64 bytes, 32 metadata entries of at most 64 and 1,024
/// bytes; no control characters but line breaks in the description and the metadata.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub(crate) kind: TokenKind,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) restrictions: Restrictions,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) expiry: Expiry,
    pub(crate) kid: Option<String>,
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
            restrictions: Restrictions::default(),
            metadata: BTreeMap::new(),
            expiry: Expiry::Never,
            kid: None,
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

    /// What narrows the token, all of it.
    #[must_use]
    pub fn restrictions(mut self, restrictions: Restrictions) -> Self {
        self.restrictions = restrictions;
        self
    }

    /// Limits the token to one resource.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.restrictions.resource = Some(resource.into());
        self
    }

    /// Limits the token to clients in these networks.
    #[must_use]
    pub fn networks(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.restrictions.networks = Some(networks.into_iter().collect());
        self
    }

    /// The token cannot be used before this instant.
    #[must_use]
    pub fn not_before(mut self, at: OffsetDateTime) -> Self {
        self.restrictions.not_before = Some(at);
        self
    }

    /// Limits how much the token may do.
    #[must_use]
    pub fn quota(mut self, quota: Quota) -> Self {
        self.restrictions.quota = Some(quota);
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

    /// The key that signed a JWT which is [registered](crate::Tokens::register), by its `kid`, 1 to 256 bytes, so
    /// that what was signed with one key can be revoked together. Of a token that is issued here it is known.
    #[must_use]
    pub fn signing_key(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        self.kid.as_deref().map_or(Ok(()), |kid| check_text("signing_key", kid, 1, 256))?;
        check_text("owner", &self.owner, 1, 320)?;
        if self.owner == ERASED {
            return Err(Error::invalid("owner", format!("must not be `{ERASED}`")));
        }
        check_text("name", &self.name, 1, 200)?;
        check_details(self.description.as_deref(), &self.tags, &self.scopes, &self.metadata)?;
        self.restrictions.check()
    }
}

/// Changes to a token; what is not said stays as it is. The bounds are those of [`NewToken`].
#[derive(Clone, Debug, Default)]
pub struct TokenUpdate {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<Option<String>>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) scopes: Option<Vec<String>>,
    pub(crate) restrictions: Option<Restrictions>,
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

    /// These restrictions instead, all of them, from the token's next request on. To change one, begin with
    /// those of [`Token::restrictions`](crate::Token::restrictions).
    #[must_use]
    pub fn restrictions(mut self, restrictions: Restrictions) -> Self {
        self.restrictions = Some(restrictions);
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
            self.metadata.as_ref().unwrap_or(&BTreeMap::new()),
        )?;
        self.restrictions.as_ref().map_or(Ok(()), Restrictions::check)
    }
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
}

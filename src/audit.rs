//! The book of administration: who did what to which token, when, and why.

use std::fmt;

use time::OffsetDateTime;

use crate::bounds::check_text;
use crate::error::Error;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// What was done. The code in the store is the place in the list, never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Act {
    /// A token of an outside issuer was taken into the catalogue at its first sight.
    Adopt,
    /// Everything of an owner was erased.
    Erase,
    /// A token was marked as expired.
    Expire,
    /// A token was issued.
    Issue,
    /// A token was registered that had been issued elsewhere.
    Register,
    /// A token that was dead long enough was removed, with what was known of it; or one of its credentials, which the
    /// detail names.
    Remove,
    /// What a token had used of its quota was set to nothing.
    ResetQuota,
    /// A suspension was ended.
    Resume,
    /// The credential before the last ended, because the last was used.
    Retire,
    /// A token was revoked.
    Revoke,
    /// A token was given another credential.
    Rotate,
    /// A token was suspended.
    Suspend,
    /// A token was edited.
    Update,
}

impl Act {
    const NAMES: [(Self, &'static str); 13] = [
        (Self::Issue, "issue"),
        (Self::Register, "register"),
        (Self::Adopt, "adopt"),
        (Self::Update, "update"),
        (Self::Revoke, "revoke"),
        (Self::Suspend, "suspend"),
        (Self::Resume, "resume"),
        (Self::Rotate, "rotate"),
        (Self::Retire, "retire"),
        (Self::Expire, "expire"),
        (Self::ResetQuota, "reset_quota"),
        (Self::Remove, "remove"),
        (Self::Erase, "erase"),
    ];

    /// The act as it appears in answers, such as `revoke`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[usize::from(self.code())].1
    }

    pub(crate) fn code(self) -> u8 {
        let place = Self::NAMES.iter().position(|(act, _)| *act == self);
        place.and_then(|place| u8::try_from(place).ok()).expect("every act has its place")
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::NAMES.get(usize::from(code)).map(|(act, _)| *act)
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In whose name something is done, and why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behalf {
    pub(crate) actor: Option<String>,
    /// The token that its bearer acts with.
    pub(crate) token: Option<TokenId>,
    pub(crate) reason: Option<String>,
}

impl Behalf {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_text("actor", self.actor.as_deref().unwrap_or_default(), 0, 320)?;
        check_text("reason", self.reason.as_deref().unwrap_or_default(), 0, 500)
    }

    /// The same for another reason, if there is one.
    pub(crate) fn because(&self, reason: &str) -> Self {
        let given = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        Self { reason: given.or_else(|| self.reason.clone()), ..self.clone() }
    }
}

/// One act on one token, on its way into the book.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) act: Act,
    pub(crate) token: Option<TokenId>,
    /// What changed, as a JSON object. Never a secret.
    pub(crate) detail: Option<String>,
}

impl Deed {
    pub(crate) fn of(act: Act, token: TokenId) -> Self {
        Self { act, token: Some(token), detail: None }
    }

    pub(crate) fn with(mut self, detail: Option<String>) -> Self {
        self.detail = detail;
        self
    }
}

/// An entry of the [audit](crate::Tokens::audit), the book of administration.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Its number: entries are numbered in the order of their commits.
    pub id: i64,
    /// When.
    pub at: OffsetDateTime,
    /// In whose name, as given to [`Tokens::acting_as`](crate::Tokens::acting_as); `None` where nobody was named,
    /// and for what happens by itself.
    pub actor: Option<String>,
    /// The token that the actor acted with, if he acted [on behalf of](crate::Tokens::on_behalf_of) one.
    pub actor_token: Option<TokenId>,
    /// What was done.
    pub act: Act,
    /// To which token.
    pub token_id: Option<TokenId>,
    /// Why, as given.
    pub reason: Option<String>,
    /// What changed, as a JSON object: for an update each field with its values before and after, for a mass revocation
    /// its filter. Times are RFC 3339, in UTC; durations end in `_s`, in seconds. Never a secret.
    pub detail: Option<String>,
}

/// Which entries of the [audit](crate::Tokens::audit) to show: all of them, unless narrowed.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub(crate) token: Option<TokenId>,
    pub(crate) actor: Option<String>,
    pub(crate) act: Option<Act>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) before: Option<i64>,
    pub(crate) limit: Option<u32>,
}

impl AuditFilter {
    /// How many entries a page has unless said.
    pub const DEFAULT_LIMIT: u32 = 100;
    /// How many entries a page can have.
    pub const MAX_LIMIT: u32 = 1_000;

    /// All entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was done to this token.
    #[must_use]
    pub fn token(mut self, id: TokenId) -> Self {
        self.token = Some(id);
        self
    }

    /// What was done in this name.
    #[must_use]
    pub fn actor(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// Acts of this kind.
    #[must_use]
    pub fn act(mut self, act: Act) -> Self {
        self.act = Some(act);
        self
    }

    /// What was done at this instant or later.
    #[must_use]
    pub fn from(mut self, at: OffsetDateTime) -> Self {
        self.from = Some(at.into());
        self
    }

    /// What was done before this instant.
    #[must_use]
    pub fn until(mut self, at: OffsetDateTime) -> Self {
        self.until = Some(at.into());
        self
    }

    /// Entries before this one: the [`AuditPage::next`] of the page before.
    #[must_use]
    pub fn before(mut self, entry: i64) -> Self {
        self.before = Some(entry);
        self
    }

    /// At most this many, 1 to [`AuditFilter::MAX_LIMIT`].
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

/// Some entries, newest first, and where to go on.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AuditPage {
    /// The entries of this page.
    pub entries: Vec<AuditEntry>,
    /// What to give to [`AuditFilter::before`] for the next page; `None` at the end.
    pub next: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_survive_their_codes() {
        for (place, (act, name)) in Act::NAMES.iter().enumerate() {
            assert_eq!(usize::from(act.code()), place);
            assert_eq!((Act::from_code(act.code()), act.as_str()), (Some(*act), *name));
        }
        assert_eq!(Act::from_code(200), None);
    }
}

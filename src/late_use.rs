//! Who still uses what is dead: requests with credentials that are over, or on their way out.

use time::OffsetDateTime;

use crate::address::ClientAddress;
use crate::error::Error;
use crate::reason::DenialReason;
use crate::timestamp::Timestamp;
use crate::token::{CredentialId, TokenId};

/// Requests with one credential that was dead or on its way out, for one reason.
///
/// Counted from what is recorded, exactly: also where a flood of denials is thinned out to rows with a weight. Forgotten
/// once the newest of them is older than daily sums are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LateUse {
    /// The token.
    pub token_id: TokenId,
    /// The credential.
    pub credential_id: CredentialId,
    /// Why it was refused: `Revoked`, `Expired` or `CredentialRetired`. `None` where it was let through, because
    /// the overlap of its rotation was not over.
    pub reason: Option<DenialReason>,
    /// How many requests.
    pub count: u64,
    /// The first of them.
    pub first_at: OffsetDateTime,
    /// The newest of them.
    pub last_at: OffsetDateTime,
    /// From where the newest came, where that is known.
    pub last_address: Option<ClientAddress>,
    /// The `User-Agent` of the newest, if it had one.
    pub last_user_agent: Option<String>,
    /// The route template of the newest, where that is known.
    pub last_route: Option<String>,
}

/// Which of two kinds of late use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lateness {
    Dead,
    Overlap,
}

/// Which late use to show: all of it, unless narrowed.
#[derive(Clone, Debug, Default)]
pub struct LateUseFilter {
    pub(crate) token: Option<TokenId>,
    pub(crate) owner: Option<String>,
    pub(crate) lateness: Option<Lateness>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) after: Option<i64>,
    pub(crate) limit: Option<u32>,
}

impl LateUseFilter {
    /// How many entries a page has unless said.
    pub const DEFAULT_LIMIT: u32 = 100;
    /// How many entries a page can have.
    pub const MAX_LIMIT: u32 = 1_000;

    /// All late use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// That of this token.
    #[must_use]
    pub fn token(mut self, id: TokenId) -> Self {
        self.token = Some(id);
        self
    }

    /// That of this owner's tokens.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Only what was refused: revoked, expired or replaced.
    #[must_use]
    pub fn dead(mut self) -> Self {
        self.lateness = Some(Lateness::Dead);
        self
    }

    /// Only what was let through while a rotation's overlap lasted.
    #[must_use]
    pub fn overlap(mut self) -> Self {
        self.lateness = Some(Lateness::Overlap);
        self
    }

    /// Only where the newest request was at this instant or later.
    #[must_use]
    pub fn since(mut self, at: OffsetDateTime) -> Self {
        self.since = Some(at.into());
        self
    }

    /// Entries after these: the [`LateUsePage::next`] of the page before.
    #[must_use]
    pub fn after(mut self, next: i64) -> Self {
        self.after = Some(next);
        self
    }

    /// At most this many, 1 to [`LateUseFilter::MAX_LIMIT`].
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

    /// The place after which to go on: a credential and the code of a reason.
    pub(crate) fn place(&self) -> (i64, i64) {
        self.after.map_or((0, -1), |next| (next >> REASON_BITS, next & REASON_MASK))
    }
}

/// Codes of reasons take a byte.
const REASON_BITS: u32 = 8;
const REASON_MASK: i64 = 0xff;

impl LateUse {
    /// Where the entry stands in the order of pages.
    pub(crate) fn place(&self) -> i64 {
        let code = self.reason.map_or(0, DenialReason::code);
        (self.credential_id.as_row() << REASON_BITS) | i64::from(code)
    }
}

/// Some late use, in the order of credentials, and where to go on. What is counted between two pages neither
/// shifts nor repeats an entry.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LateUsePage {
    /// The entries of this page.
    pub late_uses: Vec<LateUse>,
    /// What to give to [`LateUseFilter::after`] for the next page; `None` at the end.
    pub next: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_of_an_entry_leads_back_to_its_credential_and_reason() {
        let late = LateUse {
            token_id: TokenId::from_row(1),
            credential_id: CredentialId::from_row(77),
            reason: Some(DenialReason::CredentialRetired),
            count: 1,
            first_at: OffsetDateTime::UNIX_EPOCH,
            last_at: OffsetDateTime::UNIX_EPOCH,
            last_address: None,
            last_user_agent: None,
            last_route: None,
        };
        let place = LateUseFilter::new().after(late.place()).place();
        assert_eq!(place, (77, i64::from(DenialReason::CredentialRetired.code())));
        let overlap = LateUse { reason: None, ..late };
        assert_eq!(LateUseFilter::new().after(overlap.place()).place(), (77, 0));
        assert_eq!(LateUseFilter::new().place(), (0, -1), "before the first");
    }
}

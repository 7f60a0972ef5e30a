//! The secrets of a token, one after the other, and how one gives way to the next.

use std::time::Duration;

use time::OffsetDateTime;

use crate::error::Error;
use crate::late_use::LateUse;
use crate::timestamp::Timestamp;
use crate::token::{CredentialId, Phase, TokenKind};

/// How long the credential before lives on beside a new one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rotation {
    deadline: Option<Duration>,
    on_use: bool,
}

/// The longest overlap.
const MAX_OVERLAP: Duration = Duration::from_secs(366 * 86_400);

impl Rotation {
    /// The old credential lives until the new one is first used: a client that never gets the new one, or never
    /// takes it up, is not broken.
    #[must_use]
    pub fn until_first_use() -> Self {
        Self { deadline: None, on_use: true }
    }

    /// The old credential lives until the new one is first used, and not longer than this, up to 366 days.
    #[must_use]
    pub fn until_first_use_or(overlap: Duration) -> Self {
        Self { deadline: Some(overlap), on_use: true }
    }

    /// The old credential lives for this time, up to 366 days, whoever uses the new one: for a secret that many
    /// clients share. With zero it ends at once, and so does every other: for a secret that leaked.
    #[must_use]
    pub fn within(overlap: Duration) -> Self {
        Self { deadline: Some(overlap), on_use: false }
    }

    pub(crate) fn check(self) -> Result<(), Error> {
        if self.deadline.is_some_and(|deadline| deadline > MAX_OVERLAP) {
            return Err(Error::invalid("overlap", "must be 366 days or less"));
        }
        Ok(())
    }

    /// Whether nothing of before lives on.
    pub(crate) fn is_immediate(self) -> bool {
        self.deadline.is_some_and(|deadline| deadline.is_zero())
    }

    /// When a credential that is replaced now ends, if there is a deadline.
    pub(crate) fn ends_at(self, now: Timestamp) -> Option<Timestamp> {
        self.deadline.map(|deadline| now.saturating_add(deadline))
    }

    pub(crate) fn ends_on_use(self) -> bool {
        self.on_use
    }
}

/// Where a credential is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CredentialState {
    /// In use, and not to be replaced.
    Current,
    /// Handed out by a rotation, and not used yet.
    New,
    /// Replaced, and still good.
    Outgoing {
        /// Until then; `None` where only the first use of the new one ends it.
        ends_at: Option<OffsetDateTime>,
    },
    /// Refused for good.
    Retired,
}

/// One secret of a token: everything but the secret, which is not kept.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Credential {
    /// Its number.
    pub id: CredentialId,
    /// A part of it that helps its owner recognise it and nobody to use it.
    pub fragment: String,
    /// What kind it is.
    pub kind: TokenKind,
    /// Where it is in its life, at the time of the answer.
    pub state: CredentialState,
    /// When it was made or registered.
    pub created_at: OffsetDateTime,
    /// When it was first used, where it came by a rotation; the first use of a token's first credential is not noted.
    pub first_used_at: Option<OffsetDateTime>,
    /// When its overlap ends or ended, if it was replaced with a deadline.
    pub ends_at: Option<OffsetDateTime>,
    /// When it ended, if it has.
    pub retired_at: Option<OffsetDateTime>,
    /// How it was used after it was replaced, or the token dead: an entry a reason.
    pub late_uses: Vec<LateUse>,
}

/// The state that is shown of a credential, and when it ended: by its deadline, if nobody ended it before.
pub(crate) fn shown_state(
    phase: Phase,
    ends_at: Option<Timestamp>,
    retired_at: Option<Timestamp>,
    now: Timestamp,
) -> (CredentialState, Option<Timestamp>) {
    match phase {
        Phase::Current => (CredentialState::Current, None),
        Phase::New => (CredentialState::New, None),
        Phase::Outgoing if ends_at.is_some_and(|ends_at| now >= ends_at) => {
            (CredentialState::Retired, ends_at)
        }
        Phase::Outgoing => {
            (CredentialState::Outgoing { ends_at: ends_at.map(Timestamp::to_date_time) }, None)
        }
        Phase::Retired => (CredentialState::Retired, retired_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    #[test]
    fn overlap_is_a_year_at_most_and_is_named() {
        let field = |rotation: Rotation| rotation.check().err().and_then(|error| error.field());
        assert_eq!(field(Rotation::until_first_use()), None);
        assert_eq!(field(Rotation::within(Duration::ZERO)), None);
        assert_eq!(field(Rotation::within(MAX_OVERLAP)), None);
        let longer = MAX_OVERLAP + Duration::from_nanos(1);
        assert_eq!(field(Rotation::within(longer)), Some("overlap"));
        assert_eq!(field(Rotation::until_first_use_or(longer)), Some("overlap"));
    }

    #[test]
    fn outgoing_credential_is_shown_as_retired_from_its_deadline_on() {
        let shown = |ends_at| shown_state(Phase::Outgoing, Some(ends_at), None, NOW);
        assert_eq!(shown(NOW), (CredentialState::Retired, Some(NOW)));
        let later = NOW.saturating_add(Duration::from_secs(1));
        let ends_at = Some(later.to_date_time());
        assert_eq!(shown(later), (CredentialState::Outgoing { ends_at }, None));
    }
}

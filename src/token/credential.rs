//! What a token is known by: the number of a credential, and where it is in its life.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The number of a credential in its file: of one secret of a token. Assigned by the store and never used again.
///
/// ```
/// # use token_tracker::{CredentialId, NewToken, TokenTracker};
/// # let tracker = TokenTracker::builder().in_memory()?;
/// let issued = tracker.tokens().issue(NewToken::opaque("alice", "laptop"))?;
/// let id: CredentialId = issued.token.credential_id.to_string().parse()?;
/// assert_eq!(id, tracker.authenticate(&issued.secret)?.identity().credential_id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct CredentialId(i64);

impl CredentialId {
    pub(crate) const fn from_row(id: i64) -> Self {
        Self(id)
    }

    pub(crate) const fn as_row(self) -> i64 {
        self.0
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CredentialId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Where a credential is in its life, as the store has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    Current,
    /// Handed out by a rotation, and not used yet.
    New,
    Outgoing,
    Retired,
}

impl Phase {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Current => 0,
            Self::New => 1,
            Self::Outgoing => 2,
            Self::Retired => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Current, Self::New, Self::Outgoing, Self::Retired]
            .into_iter()
            .find(|phase| phase.code() == code)
    }
}

/// One credential, as requests with it are judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Standing {
    pub(crate) id: CredentialId,
    pub(crate) phase: Phase,
    /// When an outgoing one ends; at the end of time where there is no deadline, which saves eight bytes of what
    /// every hit reads.
    ends_at: Timestamp,
}

impl Standing {
    /// That of a token that is in no catalogue.
    pub(crate) const UNTRACKED: Self =
        Self { id: CredentialId(0), phase: Phase::Current, ends_at: Timestamp::LAST };

    pub(crate) fn new(id: CredentialId, phase: Phase, ends_at: Option<Timestamp>) -> Self {
        Self { id, phase, ends_at: ends_at.unwrap_or(Timestamp::LAST) }
    }

    /// When an outgoing one ends, if there is a deadline.
    pub(crate) fn ends_at(self) -> Option<Timestamp> {
        Some(self.ends_at).filter(|ends_at| *ends_at != Timestamp::LAST)
    }

    pub(crate) fn is_new(self) -> bool {
        self.phase == Phase::New
    }

    /// Whether it was replaced and its time is over: at the deadline itself it is.
    pub(crate) fn is_over(self, now: Timestamp) -> bool {
        match self.phase {
            Phase::Current | Phase::New => false,
            Phase::Outgoing => now >= self.ends_at && self.ends_at != Timestamp::LAST,
            Phase::Retired => true,
        }
    }

    /// The credential, if it was replaced already.
    pub(crate) fn outgoing(self) -> Option<CredentialId> {
        (self.phase == Phase::Outgoing).then_some(self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000);

    #[test]
    fn phases_survive_their_codes() {
        for code in 0..4 {
            assert_eq!(Phase::from_code(code).map(Phase::code), Some(code));
        }
        assert_eq!(Phase::from_code(4), None);
    }

    #[test]
    fn outgoing_credential_is_over_at_its_deadline_and_others_have_none() {
        let at = |phase, ends_at| Standing::new(CredentialId(1), phase, ends_at).is_over(NOW);
        assert!(at(Phase::Outgoing, Some(NOW)));
        assert!(!at(Phase::Outgoing, Some(Timestamp::from_micros(NOW.as_micros() + 1))));
        assert!(!at(Phase::Outgoing, None), "until another is used");
        assert!(at(Phase::Retired, None));
        assert!(!at(Phase::Current, Some(NOW)) && !at(Phase::New, Some(NOW)));
    }
}

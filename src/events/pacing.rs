//! How many events of one kind are told.

use std::collections::HashMap;
use std::hash::Hash;

use crate::timestamp::Timestamp;

/// Of one kind, in one minute of the wall clock.
const A_MINUTE: u32 = 10;

/// Kinds that are told apart in a minute. Past this those of a new kind are not told.
const MAX_KINDS: usize = 4_096;

const MINUTE: i64 = 60_000_000;

/// Knows how many were told in the present minute.
pub(super) struct Pacing<K> {
    minute: i64,
    told: HashMap<K, u32>,
}

impl<K> Default for Pacing<K> {
    fn default() -> Self {
        Self { minute: 0, told: HashMap::new() }
    }
}

impl<K: Eq + Hash> Pacing<K> {
    pub(super) fn admits(&mut self, kind: K, at: Timestamp) -> bool {
        let minute = at.as_micros().div_euclid(MINUTE);
        if minute != self.minute {
            (self.minute, self.told) = (minute, HashMap::new());
        }
        if self.told.len() >= MAX_KINDS && !self.told.contains_key(&kind) {
            return false;
        }
        let told = self.told.entry(kind).or_default();
        let admits = *told < A_MINUTE;
        *told += u32::from(admits);
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::DenialReason;
    use crate::token::TokenId;

    #[test]
    fn ten_a_minute_of_a_kind_are_told_and_memory_is_bounded() {
        let mut pacing = Pacing::default();
        let mut told = |token: i64, reason, second: i64| {
            let (token, at) = (TokenId::from_row(token), Timestamp::from_seconds(second));
            (0..100).filter(|_| pacing.admits((token, reason), at)).count()
        };
        assert_eq!(told(1, DenialReason::Revoked, 59), 10);
        assert_eq!(told(1, DenialReason::Revoked, 59), 0);
        assert_eq!(told(1, DenialReason::Expired, 59), 10, "another reason");
        assert_eq!(told(2, DenialReason::Revoked, 59), 10, "another token");
        assert_eq!(told(1, DenialReason::Revoked, 60), 10, "another minute");
        let kinds = MAX_KINDS as i64;
        assert_eq!(
            (2..=2 * kinds).filter(|token| told(*token, DenialReason::Revoked, 61) > 0).count(),
            4_095
        );
        assert_eq!(told(2 * kinds, DenialReason::Revoked, 120), 10);
        assert_eq!(pacing.told.len(), 1);
    }
}

//! A client with a dead token in a retry loop must not fill the log: of the denials of one token for one
//! reason, ten a minute are rows of their own, and the rest is one row with a weight. Dead credentials of one token
//! are told apart.

use std::collections::HashMap;

use crate::reason::DenialReason;
use crate::record::Record;
use crate::token::{CredentialId, TokenId};

/// Denials of one token, for one reason, in one minute of the wall clock.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Kind {
    pub(crate) token: TokenId,
    pub(crate) reason: DenialReason,
    pub(crate) minute: i64,
    /// The credential, where its use is late.
    pub(crate) late: Option<CredentialId>,
}

/// Denials that are rows of their own, of a kind.
const ROWS: u32 = 10;

/// Kinds that are told apart. Past this all denials of a new kind count as too many.
const MAX_KINDS: usize = 4_096;

impl Kind {
    /// The kind of a record, if it is a denial.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let reason = record.outcome.reason()?;
        let minute = record.at.as_micros().div_euclid(60_000_000);
        let late = record.late.as_ref().map(|late| late.credential);
        Some(Self { token: record.token, reason, minute, late })
    }
}

/// Knows how many rows each kind had, and collects what is too much until it is taken.
#[derive(Default)]
pub(crate) struct Thinning {
    rows: HashMap<Kind, u32>,
    excess: HashMap<Kind, Record>,
    /// How many requests are in it.
    waiting: u64,
}

impl Thinning {
    /// Takes a record that is too much. Gives back one that is to be a row of its own.
    pub(crate) fn sift(&mut self, record: Record) -> Option<Record> {
        let Some(kind) = Kind::of(&record) else { return Some(record) };
        if self.rows.len() >= MAX_KINDS && !self.rows.contains_key(&kind) {
            self.rows.retain(|known, _| known.minute == kind.minute);
        }
        if self.rows.len() < MAX_KINDS || self.rows.contains_key(&kind) {
            let rows = self.rows.entry(kind).or_default();
            if *rows < ROWS {
                *rows += 1;
                return Some(record);
            }
        }
        if self.excess.len() >= MAX_KINDS && !self.excess.contains_key(&kind) {
            return Some(record);
        }
        self.waiting += u64::from(record.weight);
        match self.excess.get_mut(&kind) {
            Some(merged) => merged.absorb(&record),
            None => drop(self.excess.insert(kind, record)),
        }
        None
    }

    /// The rows with a weight that came together since the last time.
    pub(crate) fn take(&mut self) -> Vec<Record> {
        self.waiting = 0;
        self.excess.drain().map(|(_, record)| record).collect()
    }

    /// How many requests wait to be taken.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }
}

impl Record {
    /// Counts another request into this row.
    fn absorb(&mut self, other: &Self) {
        self.weight = self.weight.saturating_add(other.weight);
        self.response_bytes = self.response_bytes.saturating_add(other.response_bytes);
        self.cost = self.cost.saturating_add(other.cost);
        if let Some(late) = &mut self.late {
            let newest_at = late.newest.as_ref().map_or(self.at, |newest| newest.at);
            if other.at >= newest_at {
                late.newest = Some(other.sighting());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Late, Method, Outcome};
    use crate::timestamp::Timestamp;

    fn denial(token: i64, second: i64) -> Record {
        Record {
            at: Timestamp::from_seconds(second),
            token: TokenId::from_row(token),
            route: None,
            method: Method::default(),
            status: 401,
            outcome: Outcome::Denied(DenialReason::Revoked),
            duration_us: 5,
            response_bytes: 2,
            client_address: None,
            user_agent: None,
            cost: 3,
            weight: 1,
            late: None,
        }
    }

    #[test]
    fn ten_a_minute_are_rows_and_the_rest_is_one_with_their_sums() {
        let mut thinning = Thinning::default();
        let rows = (0..100).filter_map(|_| thinning.sift(denial(1, 59))).count();
        assert_eq!((rows, thinning.waiting()), (10, 90));
        let merged = thinning.take();
        assert_eq!(merged.len(), 1);
        let sums = (merged[0].weight, merged[0].response_bytes, merged[0].cost);
        assert_eq!((sums, merged[0].duration_us), ((90, 180, 270), 5));
        assert!(thinning.sift(denial(1, 59)).is_none(), "taking them starts no new minute");
        assert!(thinning.sift(denial(1, 60)).is_some(), "a new minute does");
        assert!(thinning.sift(denial(2, 59)).is_some(), "and so does another token");
    }

    #[test]
    fn late_use_is_kept_apart_by_credential_and_with_the_newest_of_its_requests() {
        let late = |credential, second: i64| Record {
            user_agent: Some(second.to_string().into()),
            late: Some(Box::new(Late {
                credential: CredentialId::from_row(credential),
                newest: None,
            })),
            ..denial(1, second)
        };
        let mut thinning = Thinning::default();
        for credential in [1, 2] {
            let rows = (0..20).filter_map(|_| thinning.sift(late(credential, 30))).count();
            assert_eq!(rows, 10, "of each");
        }
        for second in [50, 40] {
            assert!(thinning.sift(late(1, second)).is_none());
        }
        let merged = thinning.take();
        let seen = |credential| {
            let late = |record: &Record| record.late.clone().map(|late| (record.weight, late));
            let mut found = merged.iter().filter_map(late);
            let (weight, late) = found.find(|(_, late)| late.credential.as_row() == credential)?;
            let newest = late.newest?;
            Some((weight, newest.at, newest.user_agent?.to_string()))
        };
        assert_eq!(seen(1), Some((12, Timestamp::from_seconds(50), "50".to_owned())));
        assert_eq!(seen(2), Some((10, Timestamp::from_seconds(30), "30".to_owned())));
    }

    #[test]
    fn other_outcomes_are_never_thinned() {
        let mut thinning = Thinning::default();
        let success = Record { outcome: Outcome::Success, ..denial(1, 0) };
        assert_eq!((0..50).filter_map(|_| thinning.sift(success.clone())).count(), 50);
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_lost_whoever_is_denied() {
        let mut thinning = Thinning::default();
        let tokens = 3 * MAX_KINDS as i64;
        let mut rows = 0;
        for _ in 0..20 {
            rows += (0..tokens).filter_map(|token| thinning.sift(denial(token, 0))).count() as u64;
        }
        assert!(thinning.rows.len() <= MAX_KINDS && thinning.excess.len() <= MAX_KINDS);
        assert_eq!(rows + thinning.waiting(), 20 * tokens.unsigned_abs());
        assert!(thinning.sift(denial(1, 60)).is_some(), "the next minute is counted anew");
        assert_eq!(thinning.rows.len(), 1);
    }
}

//! What the log must say of requests, kept without looking at the library: rows in the order in which
//! they were settled, and the denials that share a row.

use std::collections::HashMap;
use std::net::IpAddr;

use token_tracker::{DenialReason, Outcome};

/// The most that the store can hold of anything.
const MOST: u64 = i64::MAX as u64;

/// Denials of one token and reason in one minute that have rows of their own.
const ROWS_A_MINUTE: usize = 10;

const MINUTE: i64 = 60_000_000;

/// A row of the log. Times are in microseconds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    pub at: i64,
    pub token: usize,
    pub method: String,
    pub route: String,
    pub status: u16,
    pub outcome: Outcome,
    pub duration: u64,
    pub bytes: u64,
    pub address: Option<IpAddr>,
    pub user_agent: Option<String>,
    pub cost: u64,
    pub weight: u32,
}

/// Denials that are counted together.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Kind {
    token: usize,
    reason: DenialReason,
    minute: i64,
}

/// The rows of one input.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Each of one request, in the order of settlement.
    plain: Vec<Row>,
    /// Each of all denials of a kind but the first ten; somewhere among the others.
    shared: HashMap<Kind, Row>,
    denials: HashMap<Kind, usize>,
}

impl Ledger {
    /// Enters the row of a request.
    pub fn enter(&mut self, row: Row) {
        let Outcome::Denied(reason) = row.outcome else { return self.plain.push(row) };
        let kind = Kind { token: row.token, reason, minute: row.at.div_euclid(MINUTE) };
        let denials = self.denials.entry(kind).or_default();
        *denials += 1;
        if *denials <= ROWS_A_MINUTE {
            return self.plain.push(row);
        }
        match self.shared.get_mut(&kind) {
            None => drop(self.shared.insert(kind, row)),
            Some(shared) => {
                shared.weight += 1;
                shared.bytes = shared.bytes.saturating_add(row.bytes).min(MOST);
                shared.cost = shared.cost.saturating_add(row.cost).min(MOST);
            }
        }
    }

    /// How many kinds of denials there are.
    pub fn kinds(&self) -> usize {
        self.denials.len()
    }

    pub fn requests(&self) -> u64 {
        self.rows().map(|row| u64::from(row.weight)).sum()
    }

    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.plain.iter().chain(self.shared.values())
    }

    /// Whether any row stands for several requests that the store could have forgotten meanwhile.
    pub fn has_shared(&self) -> bool {
        !self.shared.is_empty()
    }

    /// Asserts that these are the rows that `counts`, newest first. Where some are `forgotten`, those that
    /// are there may be the newest only.
    ///
    /// # Panics
    /// Where they are not.
    pub fn check(&self, found: &[Row], counts: impl Fn(&Row) -> bool, forgotten: bool) {
        let mut plain = self.plain.iter().rev().filter(|row| counts(row)).peekable();
        let mut shared: Vec<&Row> = self.shared.values().filter(|row| counts(row)).collect();
        for row in found {
            if plain.next_if(|next| *next == row).is_some() {
                continue;
            }
            // What is forgotten of a shared row begins another one.
            let is_same = |known: &&Row| *known == row || (forgotten && is_part(row, known));
            let Some(at) = shared.iter().position(is_same) else {
                panic!("read back {row:?}, where {:?} or one of {shared:?} is due", plain.peek())
            };
            shared.swap_remove(at);
        }
        if !forgotten {
            assert_eq!(plain.peek(), None, "a row is not there");
            assert!(shared.is_empty(), "not there: {shared:?}");
        }
    }
}

fn is_part(row: &Row, whole: &Row) -> bool {
    (row.token, row.outcome) == (whole.token, whole.outcome)
        && row.at.div_euclid(MINUTE) == whole.at.div_euclid(MINUTE)
        && row.weight <= whole.weight
}

/// What rows come to. Exact: nothing is cut off.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub total: u64,
    pub success: u64,
    pub client_error: u64,
    pub server_error: u64,
    pub denied: u64,
    pub unfinished: u64,
    pub below_400: u64,
    pub bytes: u128,
    pub cost: u128,
    pub duration: u128,
    pub max: u64,
    /// Ascending, each with how many requests took so long.
    durations: Vec<(u64, u64)>,
}

impl Sums {
    pub fn of<'r>(rows: impl Iterator<Item = &'r Row>) -> Self {
        let mut sums = Self::default();
        for row in rows {
            let weight = u64::from(row.weight);
            sums.total += weight;
            *match row.outcome {
                Outcome::ClientError => &mut sums.client_error,
                Outcome::Denied(_) => &mut sums.denied,
                Outcome::ServerError => &mut sums.server_error,
                Outcome::Success => &mut sums.success,
                Outcome::Unfinished => &mut sums.unfinished,
                other => panic!("there is no such outcome: {other}"),
            } += weight;
            sums.below_400 += if row.status < 400 { weight } else { 0 };
            sums.bytes += u128::from(row.bytes);
            sums.cost += u128::from(row.cost);
            sums.duration += u128::from(row.duration) * u128::from(weight);
            sums.max = sums.max.max(row.duration);
            sums.durations.push((row.duration, weight));
        }
        sums.durations.sort_unstable();
        sums
    }

    /// The value that so many percent do not exceed, by nearest rank.
    pub fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.durations.iter().find(|(_, weight)| {
            seen += weight;
            seen >= rank
        });
        found.expect("there is a request").0
    }
}

/// Whether the library's sum is this one. Of a sum that the store cannot hold it is only asked to be as
/// large as the store can tell.
pub fn is_sum(told: u64, exact: u128) -> bool {
    if exact <= u128::from(MOST) { u128::from(told) == exact } else { told >= MOST }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: Outcome, duration: u64) -> Row {
        Row {
            at: 59_999_999,
            token: 0,
            method: "GET".to_owned(),
            route: "/".to_owned(),
            status: 200,
            outcome,
            duration,
            bytes: 2,
            address: None,
            user_agent: None,
            cost: MOST,
            weight: 1,
        }
    }

    #[test]
    fn denials_beyond_ten_share_a_row_that_may_stand_anywhere() {
        let mut ledger = Ledger::default();
        let denied = Outcome::Denied(DenialReason::MissingScope);
        (0..13).for_each(|duration| ledger.enter(row(denied, duration)));
        ledger.enter(Row { at: 60_000_000, ..row(denied, 13) });
        ledger.enter(row(Outcome::Success, 14));
        let shared = Row { weight: 3, bytes: 6, ..row(denied, 10) };
        let mut plain: Vec<_> = ledger.plain.iter().rev().cloned().collect();
        assert_eq!((plain.len(), ledger.requests(), ledger.kinds()), (12, 15, 2));
        for at in [0, 2, 12] {
            let mut found = plain.clone();
            found.insert(at, shared.clone());
            ledger.check(&found, |_| true, false);
            ledger.check(&found[..9], |_| true, true);
            found.swap(3, 5);
            assert!(std::panic::catch_unwind(|| ledger.check(&found, |_| true, false)).is_err());
        }
        let sees = |found: &[Row]| {
            std::panic::catch_unwind(|| ledger.check(found, |_| true, false)).is_err()
        };
        assert!(sees(&plain), "the shared row is not there");
        plain.push(Row { weight: 2, ..shared });
        assert!(sees(&plain), "the shared row is another");
    }

    #[test]
    fn percentiles_are_by_nearest_rank_and_weight() {
        let mut rows: Vec<_> = (1..=10).map(|us| row(Outcome::Success, us)).collect();
        rows[0].weight = 90;
        let sums = Sums::of(rows.iter());
        assert_eq!([50, 90, 91, 92, 99].map(|percent| sums.percentile(percent)), [1, 1, 2, 3, 10]);
        assert_eq!((sums.total, sums.duration, sums.cost), (99, 144, 10 * u128::from(MOST)));
    }
}

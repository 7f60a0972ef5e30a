//! What many requests come to: totals with latencies, and counts by route, agent, method, status and reason.
//!
//! Everything here only adds, so that any number of parts may be merged in any order.

use crate::clients::Client;
use crate::record::{Method, Outcome};
use crate::sketch::{Histogram, merge_counts};
use crate::varint;

/// One row of the log, as far as sums need it. A row that stands for several requests has the sums of their
/// bytes and costs, and the duration of the first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fact {
    pub(crate) outcome: Outcome,
    pub(crate) status: u16,
    pub(crate) duration_us: u64,
    pub(crate) response_bytes: u64,
    pub(crate) cost: u64,
    pub(crate) weight: u64,
    pub(crate) route: Option<i64>,
    pub(crate) user_agent: Option<i64>,
    pub(crate) method: Method,
    pub(crate) client: Option<Client>,
}

/// The largest sum, which is the largest number that a column holds.
const LARGEST: u64 = i64::MAX as u64;

fn sum(one: u64, two: u64) -> u64 {
    one.saturating_add(two).min(LARGEST)
}

/// Totals. Sums stop at their largest value instead of wrapping.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) success: u64,
    pub(crate) client_error: u64,
    pub(crate) server_error: u64,
    pub(crate) denied: u64,
    pub(crate) unfinished: u64,
    /// With a status below 400, whatever became of them after the head.
    pub(crate) below_400: u64,
    pub(crate) response_bytes: u64,
    pub(crate) cost: u64,
    pub(crate) duration_us: u64,
    pub(crate) longest_us: u64,
    pub(crate) latency: Histogram,
}

impl Tally {
    pub(crate) fn add(&mut self, fact: &Fact) {
        let counter = match fact.outcome {
            Outcome::ClientError => &mut self.client_error,
            Outcome::Denied(_) => &mut self.denied,
            Outcome::ServerError => &mut self.server_error,
            Outcome::Success => &mut self.success,
            Outcome::Unfinished => &mut self.unfinished,
        };
        *counter = sum(*counter, fact.weight);
        if fact.status < 400 {
            self.below_400 = sum(self.below_400, fact.weight);
        }
        self.response_bytes = sum(self.response_bytes, fact.response_bytes);
        self.cost = sum(self.cost, fact.cost);
        let duration = fact.duration_us.saturating_mul(fact.weight);
        self.duration_us = sum(self.duration_us, duration);
        self.longest_us = self.longest_us.max(fact.duration_us).min(LARGEST);
        self.latency.add(fact.duration_us, fact.weight);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (total, part) in [
            (&mut self.success, other.success),
            (&mut self.client_error, other.client_error),
            (&mut self.server_error, other.server_error),
            (&mut self.denied, other.denied),
            (&mut self.unfinished, other.unfinished),
            (&mut self.below_400, other.below_400),
            (&mut self.response_bytes, other.response_bytes),
            (&mut self.cost, other.cost),
            (&mut self.duration_us, other.duration_us),
        ] {
            *total = sum(*total, part);
        }
        self.longest_us = self.longest_us.max(other.longest_us);
        self.latency.merge(&other.latency);
    }

    /// All requests, whatever their outcome.
    pub(crate) fn total(&self) -> u64 {
        let outcomes =
            [self.success, self.client_error, self.server_error, self.denied, self.unfinished];
        outcomes.into_iter().fold(0, sum)
    }
}

/// What requests are counted by. The discriminant is the code in the store, never used again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dimension {
    Route = 0,
    UserAgent = 1,
    Method = 2,
    Status = 3,
    Reason = 4,
}

impl Dimension {
    const COUNT: usize = 5;
}

impl Fact {
    /// What the row counts as in a dimension, if it does.
    #[inline]
    pub(crate) fn value(&self, dimension: Dimension) -> Option<Value> {
        Some(match dimension {
            Dimension::Route => Value::of_name(self.route),
            Dimension::UserAgent => Value::of_name(self.user_agent),
            Dimension::Method => Value::of(self.method.code().into()),
            Dimension::Status => Value::of(self.status.into()),
            Dimension::Reason => Value::of(self.outcome.reason()?.code().into()),
        })
    }
}

/// A value that requests are counted by: the number of a text, a status, or the code of a reason.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Value(u64);

impl Value {
    /// Everything that was more than could be told apart.
    pub(crate) const OTHER: Self = Self(0);
    /// Nothing was said.
    pub(crate) const NONE: Self = Self(1);

    fn of(number: u64) -> Self {
        Self(number.saturating_add(2))
    }

    /// The value of a dictionary column: 0 in it stands for other, NULL for none.
    pub(crate) fn of_name(id: Option<i64>) -> Self {
        match id {
            None => Self::NONE,
            Some(id) if id <= 0 => Self::OTHER,
            Some(id) => Self::of(id.unsigned_abs()),
        }
    }

    /// What it was made of; `None` for the two that stand for no number.
    pub(crate) fn number(self) -> Option<i64> {
        self.0.checked_sub(2).and_then(|number| i64::try_from(number).ok())
    }
}

/// Counts by value, ascending by value.
type Counts = Vec<(Value, u64)>;

/// Counts of requests by each dimension for itself. Each sums up to all requests, but for reasons, which only
/// denials have.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Breakdown {
    dimensions: [Counts; Dimension::COUNT],
}

impl Breakdown {
    pub(crate) fn add(&mut self, fact: &Fact) {
        // One by one: in a loop over the dimensions it took twice as long.
        self.add_to(Dimension::Route, fact);
        self.add_to(Dimension::UserAgent, fact);
        self.add_to(Dimension::Method, fact);
        self.add_to(Dimension::Status, fact);
        if fact.outcome.reason().is_some() {
            self.add_to(Dimension::Reason, fact);
        }
    }

    #[inline]
    fn add_to(&mut self, dimension: Dimension, fact: &Fact) {
        if let Some(value) = fact.value(dimension) {
            self.count(dimension, value, fact.weight);
        }
    }

    fn count(&mut self, dimension: Dimension, value: Value, count: u64) {
        let counts = &mut self.dimensions[dimension as usize];
        match counts.binary_search_by_key(&value, |(value, _)| *value) {
            Ok(at) => counts[at].1 = counts[at].1.saturating_add(count),
            Err(at) => counts.insert(at, (value, count)),
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (counts, others) in self.dimensions.iter_mut().zip(&other.dimensions) {
            merge_counts(counts, others);
        }
    }

    pub(crate) fn counts(&self, dimension: Dimension) -> &[(Value, u64)] {
        &self.dimensions[dimension as usize]
    }

    /// Where a dimension has more than twice `most` counts, keeps the `most` largest and puts the rest together as
    /// other. Sums stay. Twice, so that it is not done for each count that comes new.
    pub(crate) fn trim(&mut self, most: usize) {
        for counts in &mut self.dimensions {
            if counts.len() <= 2 * most.max(1) {
                continue;
            }
            counts.sort_unstable_by_key(|(value, count)| {
                (*value != Value::OTHER, std::cmp::Reverse(*count), *value)
            });
            if counts[0].0 != Value::OTHER {
                counts.insert(0, (Value::OTHER, 0));
            }
            let rest = counts.split_off(most.max(1));
            counts[0].1 =
                rest.iter().fold(counts[0].1, |sum, (_, count)| sum.saturating_add(*count));
            counts.sort_unstable_by_key(|(value, _)| *value);
        }
    }

    /// Of each dimension that has counts: its code, how many, and each value (as the distance to the one
    /// before it) with its count.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let filled = self.dimensions.iter().enumerate().filter(|(_, counts)| !counts.is_empty());
        for (code, counts) in filled {
            varint::write(bytes, code as u64);
            varint::write(bytes, counts.len() as u64);
            let mut last = 0;
            for (value, count) in counts {
                varint::write(bytes, value.0 - last);
                varint::write(bytes, *count);
                last = value.0;
            }
        }
    }

    /// What [`Breakdown::encode`] wrote; `None` where something else did.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut breakdown = Self::default();
        while !bytes.is_empty() {
            let code = usize::try_from(varint::read(&mut bytes)?).ok()?;
            let counts = breakdown.dimensions.get_mut(code).filter(|counts| counts.is_empty())?;
            let mut last = None::<u64>;
            for _ in 0..varint::read(&mut bytes)? {
                let step = varint::read(&mut bytes)?;
                let value = match last {
                    Some(last) => last.checked_add(step).filter(|_| step > 0)?,
                    None => step,
                };
                counts.push((Value(value), varint::read(&mut bytes)?));
                last = Some(value);
            }
        }
        Some(breakdown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::DenialReason;

    fn fact(number: u64) -> Fact {
        let outcome = match number % 5 {
            0 => Outcome::Success,
            1 => Outcome::ClientError,
            2 => Outcome::ServerError,
            3 => Outcome::Unfinished,
            _ => Outcome::Denied(DenialReason::Revoked),
        };
        Fact {
            outcome,
            status: 200 + (number % 7 * 50) as u16,
            duration_us: number * 31,
            response_bytes: number,
            cost: 1,
            weight: 1 + number % 3,
            route: (!number.is_multiple_of(4)).then_some((number % 40) as i64),
            user_agent: Some((number % 6) as i64),
            method: Method::default(),
            client: None,
        }
    }

    fn of(facts: impl Iterator<Item = u64>) -> (Tally, Breakdown) {
        let mut sum = (Tally::default(), Breakdown::default());
        for fact in facts.map(fact) {
            sum.0.add(&fact);
            sum.1.add(&fact);
        }
        sum
    }

    #[test]
    fn parts_merged_in_any_order_equal_the_whole() {
        let parts = [of(0..100), of(100..350), of(350..351), of(351..1_000)];
        let whole = of(0..1_000);
        for order in [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]] {
            let mut sum = (Tally::default(), Breakdown::default());
            for at in order {
                sum.0.merge(&parts[at].0);
                sum.1.merge(&parts[at].1);
            }
            assert_eq!(sum, whole);
        }
        assert_eq!(whole.0.total(), (0..1_000).map(|number| fact(number).weight).sum::<u64>());
        assert_eq!(whole.0.latency.count(), whole.0.total());
    }

    #[test]
    fn each_dimension_sums_up_to_all_requests_whatever_is_trimmed() {
        let (tally, mut breakdown) = of(0..1_000);
        let sum = |breakdown: &Breakdown, dimension| {
            breakdown.counts(dimension).iter().map(|(_, count)| count).sum::<u64>()
        };
        for most in [100, 20, 7, 3, 2, 1, 1] {
            breakdown.trim(most);
            for dimension in [Dimension::Route, Dimension::UserAgent, Dimension::Status] {
                assert_eq!(sum(&breakdown, dimension), tally.total());
                assert!(breakdown.counts(dimension).len() <= 2 * most);
            }
            assert_eq!(sum(&breakdown, Dimension::Reason), tally.denied);
        }
    }

    #[test]
    fn what_is_too_much_is_trimmed_to_the_largest() {
        let mut breakdown = Breakdown::default();
        for (value, count) in [(1, 5), (2, 50), (3, 2), (4, 20), (0, 1), (5, 3), (6, 4)] {
            breakdown.count(Dimension::Route, Value::of_name(Some(value)), count);
        }
        let all = breakdown.clone();
        breakdown.trim(4);
        assert_eq!(breakdown, all, "it is not too much yet");
        breakdown.trim(3);
        let kept: Vec<_> = breakdown.counts(Dimension::Route).to_vec();
        assert_eq!(kept, [(Value::OTHER, 15), (Value::of(2), 50), (Value::of(4), 20)]);
    }

    #[test]
    fn breakdown_survives_its_bytes_and_other_bytes_are_none() {
        let (_, breakdown) = of(0..1_000);
        let mut bytes = Vec::new();
        breakdown.encode(&mut bytes);
        assert_eq!(Breakdown::decode(&bytes), Some(breakdown));
        assert_eq!(Breakdown::decode(&bytes[..bytes.len() - 1]), None);
        for wrong in [&[9, 1, 1, 1][..], &[0, 2, 1, 1, 0, 1], &[0, 1, 1, 1, 0, 1, 1, 1], &[0]] {
            assert_eq!(Breakdown::decode(wrong), None, "{wrong:?}");
        }
        assert_eq!(Breakdown::decode(&[]), Some(Breakdown::default()));
    }

    #[test]
    fn sums_stop_at_their_largest_value() {
        let huge = Fact { duration_us: u64::MAX, weight: u64::MAX, ..fact(1) };
        let mut tally = Tally::default();
        tally.add(&huge);
        tally.add(&huge);
        assert_eq!((tally.duration_us, tally.total()), (LARGEST, LARGEST));
    }
}

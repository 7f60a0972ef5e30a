//! How long requests took, as counts in buckets: small, mergeable, and with a stated error.
//!
//! Sixteen buckets to each doubling, and one for each microsecond below 32. A percentile is the middle of
//! the bucket that holds it, so it is off by at most 1/32 (3.2 %) of its value; below 32 µs it is exact.
//! Merging adds counts: the order does not matter, and nothing is lost by it.

use std::time::Duration;

use crate::varint;

/// Buckets to a doubling, as a power of two.
const PRECISION: u32 = 4;
const BUCKETS: u64 = 1 << PRECISION;

/// Counts by bucket, ascending, none of them 0.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Histogram {
    buckets: Vec<(u16, u64)>,
}

impl Histogram {
    /// Counts `weight` requests that took `us` microseconds each.
    pub(crate) fn add(&mut self, us: u64, weight: u64) {
        self.add_to_bucket(bucket(us), weight);
    }

    fn add_to_bucket(&mut self, bucket: u16, count: u64) {
        if count == 0 {
            return;
        }
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        merge_counts(&mut self.buckets, &other.buckets);
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The nearest-rank percentile, but for the error; `None` where nothing was counted.
    pub(crate) fn percentile(&self, percent: u64) -> Option<Duration> {
        let wanted = (u128::from(self.count()) * u128::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            seen += u128::from(*count);
            seen >= wanted
        });
        found.map(|(bucket, _)| Duration::from_micros(middle(*bucket)))
    }

    /// Runs of neighbouring buckets: how many are skipped before it, how many it has, and their counts.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let mut next = 0;
        for run in self.buckets.chunk_by(|one, two| one.0 + 1 == two.0) {
            varint::write(bytes, u64::from(run[0].0 - next));
            varint::write(bytes, run.len() as u64);
            run.iter().for_each(|(_, count)| varint::write(bytes, *count));
            next = run[run.len() - 1].0 + 1;
        }
    }

    /// What [`Histogram::encode`] wrote; `None` where something else did.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let (mut buckets, mut next) = (Vec::with_capacity(bytes.len() / 2), 0_u64);
        while !bytes.is_empty() {
            next = next.checked_add(varint::read(&mut bytes)?)?;
            let length = varint::read(&mut bytes)?;
            for _ in 0..length {
                let bucket = u16::try_from(next).ok().filter(|bucket| *bucket <= LAST)?;
                buckets.push((bucket, Some(varint::read(&mut bytes)?).filter(|count| *count > 0)?));
                next += 1;
            }
        }
        Some(Self { buckets })
    }
}

/// Adds counts to others, both ascending by what they are of. Few are looked up one by one; many are merged from
/// the end, in place.
pub(crate) fn merge_counts<K: Copy + Ord>(counts: &mut Vec<(K, u64)>, others: &[(K, u64)]) {
    let is_known = |counts: &[(K, u64)], key| counts.binary_search_by_key(key, |(key, _)| *key);
    let mut missing = 0;
    for (key, count) in others {
        match is_known(counts, key) {
            Ok(at) => counts[at].1 = counts[at].1.saturating_add(*count),
            Err(_) => missing += 1,
        }
    }
    if missing == 0 {
        return;
    }
    let known = counts.len();
    let Some(filler) = others.first() else { return };
    counts.resize(known + missing, *filler);
    let (mut from, mut to) = (known, known + missing);
    for (key, count) in others.iter().rev() {
        while from > 0 && counts[from - 1].0 > *key {
            (from, to) = (from - 1, to - 1);
            counts[to] = counts[from];
        }
        if from == 0 || counts[from - 1].0 != *key {
            to -= 1;
            counts[to] = (*key, *count);
        }
    }
}

/// The bucket of the longest duration that there is.
const LAST: u16 = ((63 - PRECISION as u64) * BUCKETS + 2 * BUCKETS - 1) as u16;

fn bucket(us: u64) -> u16 {
    let doublings = us.max(1).ilog2().saturating_sub(PRECISION);
    let within = us >> doublings;
    (u64::from(doublings) * BUCKETS + within) as u16
}

/// The middle of a bucket, which it is named by.
fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let doublings = (bucket / BUCKETS).saturating_sub(1);
    let within = bucket - doublings * BUCKETS;
    (within << doublings) + ((1 << doublings) - 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        durations.iter().for_each(|us| histogram.add(*us, 1));
        histogram
    }

    /// Numbers of every size, the same in each run.
    fn durations(count: usize, mut seed: u64) -> Vec<u64> {
        let step = |seed: &mut u64| {
            *seed =
                seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            *seed >> (*seed >> 58)
        };
        (0..count).map(|_| step(&mut seed)).collect()
    }

    #[test]
    fn every_duration_is_within_a_thirty_second_of_the_middle_of_its_bucket() {
        let edges = (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1, (1 << bit) + 1]);
        for us in edges.chain(durations(100_000, 7)).chain(0..70_000).chain([u64::MAX]) {
            let shown = middle(bucket(us));
            assert!(us.abs_diff(shown) <= us / 32, "{us} is shown as {shown}");
            assert!(bucket(us) <= LAST);
        }
        assert_eq!(bucket(u64::MAX), LAST);
    }

    #[test]
    fn buckets_ascend_with_what_is_in_them() {
        (0..100_000_u64).for_each(|us| assert!(bucket(us) <= bucket(us + 1)));
        (0..LAST).for_each(|bucket| assert!(middle(bucket) < middle(bucket + 1)));
    }

    #[test]
    fn percentiles_of_any_durations_are_within_the_stated_error_of_the_nearest_rank() {
        for seed in 0..50 {
            let mut durations = durations(1 + seed as usize * 37, seed);
            let histogram = of(&durations);
            durations.sort_unstable();
            for percent in [1, 50, 90, 95, 99, 100] {
                let rank = (durations.len() as u64 * percent).div_ceil(100).max(1);
                let exact = durations[rank as usize - 1];
                let shown = histogram.percentile(percent).unwrap().as_micros() as u64;
                assert!(exact.abs_diff(shown) <= exact / 32, "{percent} %: {exact}, not {shown}");
            }
        }
    }

    #[test]
    fn merging_is_associative_and_order_free_and_equals_counting_at_once() {
        let parts: Vec<Vec<u64>> = (0..4).map(|seed| durations(500, seed)).collect();
        let merged = |order: &[usize]| {
            let mut sum = Histogram::default();
            order.iter().for_each(|at| sum.merge(&of(&parts[*at])));
            sum
        };
        let at_once = of(&parts.concat());
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            assert_eq!(merged(&order), at_once);
        }
        let (mut left, mut right) = (merged(&[0, 1]), merged(&[1]));
        left.merge(&merged(&[2, 3]));
        right.merge(&merged(&[2, 3]));
        let mut first = merged(&[0]);
        first.merge(&right);
        assert_eq!(left, first);
        assert_eq!(at_once.count(), 2_000);
    }

    #[test]
    fn histogram_survives_its_bytes_and_other_bytes_are_none() {
        for seed in 0..20 {
            let histogram = of(&durations(300, seed));
            let mut bytes = Vec::new();
            histogram.encode(&mut bytes);
            assert_eq!(Histogram::decode(&bytes), Some(histogram));
            assert_eq!(Histogram::decode(&bytes[..bytes.len() - 1]), None);
        }
        for wrong in [&[0x80][..], &[0, 1], &[0, 1, 0], &[0xff, 0xff, 0x7f, 1, 1], &[0, 200, 1]] {
            assert_eq!(Histogram::decode(wrong), None, "{wrong:?}");
        }
        assert_eq!(Histogram::decode(&[]), Some(Histogram::default()));
        assert_eq!(Histogram::default().percentile(50), None);
    }
}

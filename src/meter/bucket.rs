//! The cell of a rate: a leaky bucket as a meter, which is GCRA.

use std::time::Duration;

use crate::quota::Rate;

/// What is in the bucket. A unit is as many drops as the rate's time has nanoseconds, and in each nanosecond as many
/// drops flow off as the rate has units: whole numbers, so that nothing is rounded however long it goes on.
pub(super) struct Bucket {
    level: u128,
    /// The monotonic time that the level is of. Never moves back.
    at: Duration,
    /// What it was filled by last.
    rate: Rate,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { level: 0, at: Duration::ZERO, rate: Rate::per_second(1) }
    }
}

impl Bucket {
    /// Whether so much goes in; if not, how long until it does, unless it never can.
    pub(super) fn has_room(
        &mut self,
        rate: Rate,
        units: u32,
        now: Duration,
    ) -> Result<(), Option<Duration>> {
        self.go_by(rate, now);
        if units > rate.burst_units() {
            return Err(None);
        }
        let most = u128::from(rate.burst_units()) * drops(rate);
        let filled = self.level.saturating_add(u128::from(units) * drops(rate));
        match filled.saturating_sub(most) {
            0 => Ok(()),
            excess => Err(Some(self.time_for(excess))),
        }
    }

    /// Puts units in, whatever room there is.
    pub(super) fn add(&mut self, units: u32, now: Duration) {
        self.flow(now);
        self.level = self.level.saturating_add(u128::from(units) * drops(self.rate));
    }

    /// Takes units out that did not belong in.
    pub(super) fn remove(&mut self, units: u32) {
        self.level = self.level.saturating_sub(u128::from(units) * drops(self.rate));
    }

    /// The units that are free, and how long until all are.
    pub(super) fn state(&mut self, rate: Rate, now: Duration) -> (u64, Duration) {
        self.go_by(rate, now);
        let taken = self.level.div_ceil(drops(rate));
        let burst = u64::from(rate.burst_units());
        (burst.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX)), self.time_for(self.level))
    }

    /// Whether it is as good as one that was never used.
    pub(super) fn is_empty(&mut self, now: Duration) -> bool {
        self.flow(now);
        self.level == 0
    }

    /// From now on at this rate: as many units as before, in drops of another size.
    pub(super) fn go_by(&mut self, rate: Rate, now: Duration) {
        self.flow(now);
        let (before, after) = (drops(self.rate), drops(rate));
        if before != after {
            let whole = (self.level / before).saturating_mul(after);
            let part = ((self.level % before) * after).div_ceil(before);
            self.level = whole.saturating_add(part);
        }
        self.rate = rate;
    }

    fn flow(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_nanos();
        self.level = self.level.saturating_sub(passed.saturating_mul(self.rate.units().into()));
        self.at = self.at.max(now);
    }

    fn time_for(&self, drops: u128) -> Duration {
        let nanos = drops.div_ceil(u128::from(self.rate.units().max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// To a unit.
fn drops(rate: Rate) -> u128 {
    rate.period().as_nanos().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern, the same each time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end
        }
    }

    fn take(bucket: &mut Bucket, rate: Rate, units: u32, now: Duration) -> bool {
        let fits = bucket.has_room(rate, units, now).is_ok();
        if fits {
            bucket.add(units, now);
        }
        fits
    }

    /// What a rate with a burst means: however a stretch of time that ends now is chosen, no more than the burst
    /// and what the rate gives in that time was let through in it.
    fn conforms(passed: &[(u64, u32)], rate: Rate, units: u32, now: u64) -> bool {
        let (period, a_period) = (rate.period().as_nanos(), u128::from(rate.units()));
        let mut sum = u128::from(units);
        let burst = u128::from(rate.burst_units());
        let fits = |sum: u128, since: u64| {
            sum * period <= burst * period + u128::from(now - since) * a_period
        };
        fits(sum, now)
            && passed.iter().rev().all(|(at, units)| {
                sum += u128::from(*units);
                fits(sum, *at)
            })
    }

    #[test]
    fn what_is_let_through_is_what_a_naive_model_lets_through() {
        let rates = [
            Rate::per_second(3),
            Rate::per_second(1).burst(1),
            Rate::per_second(700_000_001).burst(5),
            Rate::per_minute(7).burst(20),
            Rate::new(11, 86_400).burst(4),
        ];
        for (seed, rate) in (1..).zip(rates) {
            let mut numbers = Numbers(0x9e37_79b9 + seed);
            let (mut bucket, mut passed, mut now) = (Bucket::default(), Vec::new(), 0);
            let a_unit = u64::try_from(rate.period().as_nanos()).unwrap() / u64::from(rate.units());
            for _ in 0..3_000 {
                now += match numbers.below(4) {
                    0 => 0,
                    1 => numbers.below(3),
                    2 => a_unit,
                    _ => numbers.below(a_unit * 3 + 2),
                };
                let units = u32::try_from(numbers.below(7)).unwrap();
                let expected = conforms(&passed, rate, units, now);
                assert_eq!(take(&mut bucket, rate, units, Duration::from_nanos(now)), expected);
                if expected {
                    passed.push((now, units));
                }
            }
            assert!(passed.len() > 300, "{rate:?} {}", passed.len());
        }
    }

    #[test]
    fn time_that_is_told_is_the_first_at_which_it_goes_in() {
        let rate = Rate::per_second(3).burst(2);
        let mut bucket = Bucket::default();
        assert!(take(&mut bucket, rate, 2, Duration::ZERO));
        let wait = bucket.has_room(rate, 1, Duration::ZERO).unwrap_err().unwrap();
        assert_eq!(wait, Duration::from_nanos(333_333_334));
        assert!(!take(&mut bucket, rate, 1, wait - Duration::from_nanos(1)));
        assert!(take(&mut bucket, rate, 1, wait));
        assert_eq!(bucket.has_room(rate, 3, wait), Err(None), "more than the burst never does");
    }

    #[test]
    fn another_rate_finds_as_many_units_taken() {
        let (slow, fast) = (Rate::new(10, 3_600), Rate::per_second(1_000).burst(10));
        let mut bucket = Bucket::default();
        assert!(take(&mut bucket, slow, 7, Duration::ZERO));
        assert_eq!(bucket.state(fast, Duration::ZERO), (3, Duration::from_millis(7)));
        assert_eq!(bucket.state(slow, Duration::ZERO), (3, Duration::from_secs(7 * 360)));
    }

    #[test]
    fn time_that_went_back_gives_nothing() {
        let rate = Rate::per_second(1);
        let (mut bucket, late) = (Bucket::default(), Duration::from_secs(100));
        assert!(take(&mut bucket, rate, 1, late));
        assert!(!take(&mut bucket, rate, 1, late - Duration::from_secs(50)));
        assert!(!take(&mut bucket, rate, 1, late));
        assert!(take(&mut bucket, rate, 1, late + Duration::from_secs(1)));
    }

    #[test]
    fn what_is_charged_without_end_does_not_wrap() {
        let rate = Rate::new(1, 86_400).burst(366);
        let mut bucket = Bucket::default();
        assert!(take(&mut bucket, rate, 366, Duration::ZERO));
        (0..1_000).for_each(|_| bucket.add(u32::MAX, Duration::ZERO));
        bucket.level = u128::MAX - 1;
        bucket.add(u32::MAX, Duration::ZERO);
        assert_eq!(bucket.state(rate, Duration::ZERO).0, 0);
        assert_eq!(bucket.state(Rate::per_second(1), Duration::ZERO).0, 0);
        assert!(bucket.has_room(rate, 1, Duration::ZERO).is_err());
    }
}

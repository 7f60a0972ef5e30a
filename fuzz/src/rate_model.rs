//! An even rate, computed without a fraction: how full a leaky bucket is, whatever rates it had.

/// So many units each so many seconds, and so many at once after a pause. An hour is a multiple of the seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    pub units: u32,
    pub seconds: u32,
    pub burst: u32,
}

/// A unit in parts that each nanosecond of each rate empties a whole number of.
const UNIT: u128 = HOUR * 1_000_000_000;
const HOUR: u128 = 3_600;

/// What the library may round up by when a rate is exchanged.
const ROUNDING: u128 = 2 * HOUR;

#[derive(Clone, Debug, Default)]
pub struct Bucket {
    level: u128,
    /// Monotonic microseconds.
    at: i64,
    rate: Option<Rate>,
    rounding: u128,
}

impl Bucket {
    /// From now on at this rate.
    pub fn go_by(&mut self, rate: Rate, now: i64) {
        self.flow(now);
        if self.rate.is_some_and(|before| before.seconds != rate.seconds) {
            self.rounding += ROUNDING;
        }
        self.rate = Some(rate);
    }

    fn flow(&mut self, now: i64) {
        let passed = u128::from(now.abs_diff(self.at)) * 1_000;
        if let Some(rate) = self.rate {
            let each = u128::from(rate.units) * HOUR / u128::from(rate.seconds);
            self.level = self.level.saturating_sub(passed * each);
        }
        self.at = now;
    }

    /// Whether a grant of so much is right.
    pub fn may_grant(&self, units: u32) -> bool {
        units == 0 || self.excess(units, 0) == 0
    }

    /// Whether a refusal of so much is right.
    pub fn may_refuse(&self, units: u32) -> bool {
        units > 0 && self.excess(units, self.rounding) > 0
    }

    fn excess(&self, units: u32, more: u128) -> u128 {
        let Some(rate) = self.rate else { return 0 };
        let most = u128::from(rate.burst) * UNIT;
        (self.level + u128::from(units) * UNIT + more).saturating_sub(most)
    }

    pub fn add(&mut self, units: u32, now: i64) {
        self.flow(now);
        self.level += u128::from(units) * UNIT;
    }

    pub fn remove(&mut self, units: u32) {
        self.level = self.level.saturating_sub(u128::from(units) * UNIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn burst_is_free_at_once_and_then_a_unit_comes_back_with_each_part_of_the_time() {
        let rate = Rate { units: 2, seconds: 60, burst: 3 };
        let mut bucket = Bucket::default();
        bucket.go_by(rate, 5);
        assert!(bucket.may_grant(3) && !bucket.may_refuse(3) && bucket.may_refuse(4));
        bucket.add(3, 5);
        assert!(bucket.may_refuse(1));
        bucket.go_by(rate, 30 * SECOND + 4);
        assert!(bucket.may_refuse(1));
        bucket.go_by(rate, 30 * SECOND + 5);
        assert!(bucket.may_grant(1) && bucket.may_refuse(2));
    }

    #[test]
    fn what_is_in_it_stays_when_the_rate_is_exchanged() {
        let mut bucket = Bucket::default();
        bucket.go_by(Rate { units: 1, seconds: 1, burst: 4 }, 0);
        bucket.add(4, 0);
        bucket.go_by(Rate { units: 1, seconds: 60, burst: 4 }, SECOND);
        assert!(bucket.may_grant(1) && bucket.may_refuse(2));
    }
}

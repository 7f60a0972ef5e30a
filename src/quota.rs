//! How much a token may do: a rate, and counts for each minute, hour, day and month.

mod window;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::objects::only_from_objects;
pub(crate) use window::Period;
pub use window::{QuotaState, QuotaWindow};

/// The most units that a window may have.
const MAX_UNITS: u64 = 1_000_000_000_000_000;

/// The most units of a rate and of its burst.
const MAX_RATE_UNITS: u32 = 1_000_000_000;

/// The longest time that a rate is told for.
const MAX_RATE_SECONDS: u32 = 86_400;

/// The longest that a rate may take to fill its burst again.
const MAX_REFILL: u64 = 366 * 86_400;

/// So many units each time, as an even rate with a burst.
///
/// It is a leaky bucket (GCRA): after a pause `burst` units are free at once, and one more with each
/// `per / units` of time. A rate holds for a token in one process: each process that shares the file counts for
/// itself.
///
/// As JSON `{"units": 100, "per_s": 60, "burst": 20}`: so many `units` each `per_s` seconds, 1 unless said; `burst` may
/// be left out.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Rate {
    units: u32,
    #[serde(default = "one", rename = "per_s")]
    seconds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
}

fn one() -> u32 {
    1
}

only_from_objects!(Rate, "an object of a rate");

impl Rate {
    /// So many units a second, 1 to 1,000,000,000.
    #[must_use]
    pub fn per_second(units: u32) -> Self {
        Self::new(units, 1)
    }

    /// So many units a minute, with the same bounds.
    #[must_use]
    pub fn per_minute(units: u32) -> Self {
        Self::new(units, 60)
    }

    /// So many units each so many seconds, 1 to 86,400.
    #[must_use]
    pub fn new(units: u32, seconds: u32) -> Self {
        Self { units, seconds, burst: None }
    }

    /// How many units may be used at once after a pause; as many as the rate gives in its time, unless said.
    #[must_use]
    pub fn burst(mut self, units: u32) -> Self {
        self.burst = Some(units);
        self
    }

    /// How many units may be used at once.
    pub(crate) fn burst_units(&self) -> u32 {
        self.burst.unwrap_or(self.units)
    }

    /// Whether it gives no more than another in the same time, however long that is.
    fn is_at_most(&self, other: Self) -> bool {
        let given = |units: u32, seconds: u32| u64::from(units) * u64::from(seconds);
        given(self.units, other.seconds) <= given(other.units, self.seconds)
    }

    /// The time that the rate is told for.
    #[must_use]
    pub fn period(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// The units in that time.
    #[must_use]
    pub fn units(&self) -> u32 {
        self.units
    }

    fn check(&self) -> Result<(), Error> {
        let within = |units| (1..=MAX_RATE_UNITS).contains(&units);
        if !within(self.units) || !within(self.burst_units()) {
            let message = format!("must have a rate and a burst of 1 to {MAX_RATE_UNITS} units");
            return Err(Error::invalid("quota", message));
        }
        if !(1..=MAX_RATE_SECONDS).contains(&self.seconds) {
            let message = format!("must have a rate for 1 to {MAX_RATE_SECONDS} seconds");
            return Err(Error::invalid("quota", message));
        }
        let refill = u64::from(self.burst_units()) * u64::from(self.seconds);
        if refill > MAX_REFILL * u64::from(self.units) {
            return Err(Error::invalid("quota", "must give back its burst within 366 days"));
        }
        Ok(())
    }
}

/// How much a token may do. What is not said is not limited.
///
/// Counts are for each calendar minute, hour, day and month of UTC. They hold across all processes that share the
/// file, and are never exceeded: a process takes units out of the file, a hundredth of the limit at a time (one at
/// least, and what the request needs), before it grants them. A process that is killed forfeits what it took and did
/// not grant; one that is closed puts it back. A request is worth its [`cost`](crate::AuthRequest::cost). What is
/// refused uses nothing, and all limits together let a request through or none does.
///
/// Windows never move back: where the clock was set back, the newest window that anybody took units of goes on. The
/// way out after a clock that was ahead is [`reset_quota`](crate::Tokens::reset_quota). An edit keeps what is used: a
/// limit that is lowered below that refuses until the window ends.
///
/// Cost: a request is counted in memory; one that has to take units out of the file waits for a commit, and is
/// [`Unavailable`](crate::Unavailable) where that fails. Memory: half a kibibyte for each token with a quota that is in
/// use, and for up to 16,384 that are not.
///
/// ```
/// use token_tracker::{NewToken, Quota, Rate};
///
/// let quota = Quota::new().rate(Rate::per_second(10).burst(20)).per_day(50_000);
/// let new = NewToken::opaque("alice", "nightly export").quota(quota);
/// # let _ = new;
/// let read: Quota = serde_json::from_str(r#"{"rate": {"units": 10, "burst": 20}, "per_day": 50000}"#)?;
/// assert_eq!(read, quota);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct Quota {
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_minute: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_hour: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_day: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_month: Option<u64>,
}

only_from_objects!(Quota, "an object of a quota");

impl Quota {
    /// No limit yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An even rate.
    #[must_use]
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Units each minute of the clock, 1 to 10^15.
    #[must_use]
    pub fn per_minute(mut self, units: u64) -> Self {
        self.per_minute = Some(units);
        self
    }

    /// Units each hour of the clock, 1 to 10^15.
    #[must_use]
    pub fn per_hour(mut self, units: u64) -> Self {
        self.per_hour = Some(units);
        self
    }

    /// Units each day of UTC, 1 to 10^15.
    #[must_use]
    pub fn per_day(mut self, units: u64) -> Self {
        self.per_day = Some(units);
        self
    }

    /// Units each calendar month of UTC, 1 to 10^15.
    #[must_use]
    pub fn per_month(mut self, units: u64) -> Self {
        self.per_month = Some(units);
        self
    }

    pub(crate) fn rate_limit(&self) -> Option<Rate> {
        self.rate
    }

    /// The counts, in the order of [`Period::ALL`].
    pub(crate) fn counts(&self) -> [Option<u64>; 4] {
        [self.per_minute, self.per_hour, self.per_day, self.per_month]
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.rate.map_or(Ok(()), |rate| rate.check())?;
        if self.rate.is_none() && self.counts() == [None; 4] {
            return Err(Error::invalid("quota", "must limit something"));
        }
        if self.counts().into_iter().flatten().any(|units| !(1..=MAX_UNITS).contains(&units)) {
            return Err(Error::invalid("quota", format!("must be 1 to {MAX_UNITS} units each")));
        }
        Ok(())
    }

    /// Whether it allows nothing that `other` does not.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let counts = self.counts().into_iter().zip(other.counts());
        let mut counts = counts.map(|(ours, theirs)| is_at_most(ours, theirs));
        let rate = match (self.rate, other.rate) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(ours), Some(theirs)) => {
                ours.is_at_most(theirs) && ours.burst_units() <= theirs.burst_units()
            }
        };
        rate && counts.all(|within| within)
    }
}

fn is_at_most(ours: Option<u64>, theirs: Option<u64>) -> bool {
    theirs.is_none_or(|theirs| ours.is_some_and(|ours| ours <= theirs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_nothing_and_overflow_are_refused_by_name() {
        for bad in [
            Quota::new(),
            Quota::new().per_day(0),
            Quota::new().per_minute(u64::MAX),
            Quota::new().per_month(1).per_hour(MAX_UNITS + 1),
            Quota::new().rate(Rate::per_second(0)),
            Quota::new().rate(Rate::per_second(1).burst(0)),
            Quota::new().rate(Rate::new(1, 0)),
            Quota::new().rate(Rate::new(1, MAX_RATE_SECONDS + 1)),
            Quota::new().rate(Rate::per_second(u32::MAX)),
            Quota::new().rate(Rate::new(1, 86_400).burst(367)),
        ] {
            assert_eq!(bad.check().unwrap_err().field(), Some("quota"), "{bad:?}");
        }
        assert!(Quota::new().rate(Rate::new(1, 86_400).burst(366)).per_day(1).check().is_ok());
    }

    #[test]
    fn rate_is_written_as_it_is_read() {
        let text = r#"{"rate":{"units":5,"per_s":60}}"#;
        let quota: Quota = serde_json::from_str(text).unwrap();
        assert_eq!(quota, Quota::new().rate(Rate::per_minute(5)));
        assert_eq!(serde_json::to_string(&quota).unwrap(), text);
    }

    #[test]
    fn unknown_fields_are_refused() {
        for text in [
            r#"{"per_week": 1}"#,
            r#"{"rate": {"units": 1, "x": 2}}"#,
            "1",
            "[]",
            "[null, 1]",
            r#"{"rate": [1]}"#,
        ] {
            assert!(serde_json::from_str::<Quota>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quota_is_within_another_where_it_allows_nothing_more() {
        let wide = Quota::new().per_day(100).rate(Rate::per_second(10));
        assert!(wide.is_within(&wide));
        assert!(wide.is_within(&Quota::new().per_day(100)));
        assert!(!Quota::new().per_day(100).is_within(&wide), "it has no rate");
        assert!(wide.per_hour(1).is_within(&wide));
        assert!(!wide.per_day(101).is_within(&wide));
        assert!(!wide.rate(Rate::per_second(10).burst(11)).is_within(&wide));
        assert!(!wide.rate(Rate::per_second(11).burst(1)).is_within(&wide));
        assert!(wide.rate(Rate::per_minute(600).burst(10)).is_within(&wide));
        assert!(!wide.rate(Rate::per_minute(601).burst(10)).is_within(&wide));
        let (more, less) = (Rate::per_second(700_000_000), Rate::per_second(600_000_000));
        assert!(!wide.rate(more.burst(1)).is_within(&Quota::new().rate(less)));
    }
}

//! How a period is put together: hours and days that are summed up, and at its edges rows of the log.

use time::UtcOffset;

use crate::error::Error;
use crate::query::{Period, Source, Unit, Wanted};
use crate::store::rollup::{HOURS_A_DAY, Progress};
use crate::timestamp::Timestamp;

pub(super) struct Plan {
    /// Whole hours: from the first to before the second.
    pub(super) hours: (i64, i64),
    /// Parts of hours, to be read from the log.
    pub(super) edges: Vec<(Timestamp, Timestamp)>,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Plan {
    /// Parts of hours are read from the log if that still has them, else the hours are whole; hours that are
    /// kept as days only make whole days.
    pub(super) fn of(progress: &Progress, period: Period) -> Self {
        let has = |at: Timestamp| progress.log_from <= at;
        let Period { from, until, .. } = period;
        let (mut first, mut end) = (from.next_hour(), until.hour());
        if first > end && has(from) {
            return Self { hours: (end, end), edges: vec![(from, until)], from, until };
        }
        let mut left = Some((from, Timestamp::of_hour(first))).filter(|_| has(from));
        let mut right = Some(Timestamp::of_hour(end)).filter(|at| has(*at)).map(|at| (at, until));
        if left.is_none() || first > end {
            (first, left) = (from.hour(), None);
        }
        if right.is_none() || first > end {
            (end, right) = (until.next_hour(), None);
        }
        if first < progress.hourly_from && first < end {
            (first, left) = (day_of(from.hour()), None);
            if end < progress.hourly_from {
                (end, right) = (day_of(until.next_hour() + HOURS_A_DAY - 1), None);
            }
        }
        let starts = left.map_or(Timestamp::of_hour(first), |edge| edge.0);
        let ends = right.map_or(Timestamp::of_hour(end), |edge| edge.1);
        let edges = left.into_iter().chain(right).filter(|(from, until)| from < until).collect();
        Self { hours: (first, end), edges, from: starts, until: ends }
    }

    /// One plan for each part of a period. Only at the ends of the whole may a part be longer than it was asked for.
    pub(super) fn of_parts(progress: &Progress, parts: &[Period]) -> Result<Vec<Self>, Error> {
        let plans: Vec<Self> = parts.iter().map(|part| Self::of(progress, *part)).collect();
        if plans.windows(2).any(|pair| pair[0].until != pair[1].from) {
            let kept = text(progress.log_from.max(Timestamp::of_hour(progress.hourly_from)));
            let message =
                format!("cuts hours or days of which only sums are kept: ask from {kept} on");
            return Err(Error::invalid("by", message));
        }
        Ok(plans)
    }

    /// All of the plans together, as far as their ends go.
    pub(super) fn around(plans: &[Self]) -> Self {
        let ends = plans.first().zip(plans.last()).map(|(first, last)| (first.from, last.until));
        let (from, until) = ends.unwrap_or((Timestamp::LAST, Timestamp::LAST));
        Self { hours: (0, 0), edges: Vec::new(), from, until }
    }

    /// The rows of the log in a period.
    pub(super) fn exactly(Period { from, until, .. }: Period) -> Self {
        Self { hours: (0, 0), edges: vec![(from, until)], from, until }
    }

    pub(super) fn has_whole(&self, hour: i64) -> bool {
        (self.hours.0..self.hours.1).contains(&hour)
    }
}

/// What an answer is made of at least.
#[derive(Clone, Copy, Debug)]
pub(super) enum Grain {
    Days,
    Hours,
    /// Hours, and records of those that are cut.
    Parts,
    Records,
}

impl Grain {
    pub(super) fn of(wanted: &Wanted, offset: UtcOffset) -> Self {
        let is_whole = |unit: i32| offset.whole_seconds() % unit == 0;
        match (wanted.source, wanted.by.unit()) {
            (Source::Records, _) => Self::Records,
            (_, Some(Unit::Day)) if is_whole(86_400) => Self::Days,
            (_, Some(_)) if is_whole(3_600) => Self::Hours,
            (_, Some(_)) => Self::Parts,
            _ => Self::Days,
        }
    }
}

/// What of a period is kept. Up to now it is cut to that; what was said to begin earlier is refused.
pub(super) fn kept(progress: &Progress, period: Period, grain: Grain) -> Result<Period, Error> {
    let first_day = progress.daily_from.saturating_mul(HOURS_A_DAY);
    let (kept, what) = match grain {
        Grain::Days => (Timestamp::of_hour(first_day), "sums"),
        Grain::Hours => (Timestamp::of_hour(progress.hourly_from), "sums of hours"),
        Grain::Parts => (
            progress.log_from.max(Timestamp::of_hour(progress.hourly_from)),
            "records and sums of hours",
        ),
        Grain::Records => (progress.log_from, "records"),
    };
    if period.from >= kept {
        return Ok(period);
    }
    match period.begins {
        // The last part of it is always there, if nothing else is.
        None => Ok(Period { from: kept.min(period.until), ..period }),
        Some(field) => {
            let message =
                format!("reaches back before {}, where {what} that are kept begin", text(kept));
            Err(Error::invalid(field, message))
        }
    }
}

fn text(at: Timestamp) -> String {
    at.to_text().unwrap_or_else(|| at.to_date_time().to_string())
}

/// The hour in which the day of an hour begins.
fn day_of(hour: i64) -> i64 {
    hour.div_euclid(HOURS_A_DAY) * HOURS_A_DAY
}

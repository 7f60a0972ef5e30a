//! What a process knows and has of one period of a token.

use std::time::Duration;

use super::Serial;
use super::lease::{Ask, Holding, Lease};
use crate::quota::Period;
use crate::timestamp::Timestamp;

pub(super) struct Count {
    /// The newest window that was seen: by the clock, or in the file, whose word counts.
    number: i64,
    ends_at: Timestamp,
    /// What the file said of the window; `None` before it was asked.
    seen: Option<Seen>,
    /// Units that were leased and are not granted yet; negative where more was charged than there was.
    left: i64,
    /// Changes with every window and reset: what was reserved before is not given back to what comes after.
    serial: Serial,
}

#[derive(Clone, Copy)]
struct Seen {
    granted: u64,
    resets: i64,
    /// What was leased was leased, and looked at, by this limit.
    limit: u64,
    /// The file may say better by now.
    is_old: bool,
}

/// How a request stands to what is left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stand {
    Enough,
    /// Until the window ends.
    Exhausted,
    /// The file is to be asked.
    Lease,
    /// In no window.
    Never,
}

impl Default for Count {
    fn default() -> Self {
        let ends_at = Timestamp::from_micros(i64::MIN);
        Self { number: i64::MIN, ends_at, seen: None, left: 0, serial: Serial::default() }
    }
}

impl Count {
    /// Goes on to the window of the clock, where that is newer. Never back.
    pub(super) fn go_on(&mut self, period: Period, now: Timestamp) {
        if now >= self.ends_at {
            let number = period.number(now);
            self.begin(period, number);
        }
    }

    fn begin(&mut self, period: Period, number: i64) {
        (self.number, self.ends_at) = (number, period.end(number));
        self.forget();
    }

    fn forget(&mut self) {
        (self.seen, self.left) = (None, 0);
        self.serial.step();
    }

    /// To be asked after [`Count::go_on`].
    pub(super) fn stand(&self, limit: u64, cost: u32) -> Stand {
        if u64::from(cost) > limit {
            return Stand::Never;
        }
        let Some(seen) = self.seen.filter(|seen| limit >= seen.limit) else { return Stand::Lease };
        let free = i64::try_from(limit.saturating_sub(seen.granted)).unwrap_or(i64::MAX);
        match i64::from(cost) {
            cost if cost <= self.left => Stand::Enough,
            cost if seen.is_old || cost <= self.left.saturating_add(free) => Stand::Lease,
            _ => Stand::Exhausted,
        }
    }

    pub(super) fn ask(&self, period: Period, limit: u64, cost: u32, now: Timestamp) -> Ask {
        let resets = self.seen.map(|seen| seen.resets);
        let has = Holding { number: self.number, resets, left: self.left };
        Ask { period, number: period.number(now), limit, cost, has }
    }

    /// Takes in what the file said.
    pub(super) fn receive(&mut self, lease: &Lease) {
        // The clock may have gone on meanwhile: the file's word counts, and the clock's again with the next request.
        if !lease.goes_on || self.number != lease.row.number {
            self.begin(lease.period, lease.row.number);
        }
        self.left = self.left.saturating_add(lease.change);
        self.seen = Some(Seen {
            granted: lease.row.granted,
            resets: lease.row.resets,
            limit: lease.limit,
            is_old: false,
        });
    }

    /// Grants, which is to be found possible first; or charges for what was granted.
    pub(super) fn take(&mut self, units: u32) {
        self.left = self.left.saturating_sub(units.into());
    }

    pub(super) fn give_back(&mut self, units: u32) {
        self.left = self.left.saturating_add(units.into());
    }

    pub(super) fn serial(&self) -> Serial {
        self.serial
    }

    /// The file is to be asked before anything more is refused.
    pub(super) fn doubt(&mut self) {
        self.seen.iter_mut().for_each(|seen| seen.is_old = true);
    }

    /// The file was set to nothing, so often by now: what is here may be of before that. `None` where the file had
    /// nothing: whatever is known of it is newer.
    pub(super) fn reset(&mut self, resets: Option<i64>) {
        let seen = self.seen.map(|seen| seen.resets);
        if seen.is_none() || resets.is_some_and(|resets| seen != Some(resets)) {
            self.forget();
        }
    }

    pub(super) fn remaining(&self, limit: u64) -> u64 {
        let granted = self.seen.map_or(0, |seen| seen.granted);
        let free = i64::try_from(limit).unwrap_or(i64::MAX).saturating_sub_unsigned(granted);
        u64::try_from(free.saturating_add(self.left)).unwrap_or(0).min(limit)
    }

    pub(super) fn time_left(&self, now: Timestamp) -> Duration {
        self.ends_at.since(now)
    }

    /// Takes everything out that is still good for something in the file.
    pub(super) fn drain(&mut self) -> Option<Holding> {
        let seen = self.seen.as_mut()?;
        // With what goes back there is more in the file than is known here.
        seen.is_old = true;
        let resets = seen.resets;
        let left = std::mem::take(&mut self.left);
        (left != 0).then_some(Holding { number: self.number, resets: Some(resets), left })
    }

    /// Whether it is as good as one that was never used.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        now >= self.ends_at || self.left == 0
    }
}

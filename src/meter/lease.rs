//! How many units a process takes out of the file, and what it may do with those that it has.

use crate::quota::Period;
use crate::timestamp::Timestamp;

/// The file's word on one period of a token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct WindowRow {
    /// The newest window that anybody took units of.
    pub(crate) number: i64,
    /// What was taken of it, by all processes.
    pub(crate) granted: u64,
    /// The threshold in percent that was told of.
    pub(crate) told: u8,
    /// How often it was set to nothing.
    pub(crate) resets: i64,
}

/// What a process wants of one period.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) period: Period,
    /// The window by the clock. That of the file is used where it is newer.
    pub(crate) number: i64,
    pub(crate) limit: u64,
    pub(crate) cost: u32,
    pub(crate) has: Holding,
}

/// What a process has of one window. It is worth something only in that window, and until that is reset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    pub(crate) number: i64,
    /// As of the last look into the file; `None` before the first.
    pub(crate) resets: Option<i64>,
    /// Negative where more was charged than there was.
    pub(crate) left: i64,
}

/// What a process got of one period.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lease {
    pub(crate) period: Period,
    pub(crate) limit: u64,
    /// The row as it is now.
    pub(crate) row: WindowRow,
    /// Whether what the process had is of this window.
    pub(crate) goes_on: bool,
    /// By how much it has more; less where the limit was lowered below what was taken.
    pub(crate) change: i64,
    /// The threshold in percent that was crossed with this.
    pub(crate) crossed: Option<u8>,
}

/// What the token holds in the current windows before a lease of each period is made.
#[derive(Clone, Copy, Debug)]
struct Standing {
    row: WindowRow,
    goes_on: bool,
    left: i64,
    free: i64,
}

/// What is leased for the asks, given the row of each: all that is asked for, or where one period cannot give it,
/// nothing but what pays a debt.
pub(crate) fn leases(asks: &[(Ask, Option<WindowRow>)]) -> Vec<Lease> {
    let standings: Vec<_> = asks.iter().map(|(ask, row)| (ask, standing(ask, *row))).collect();
    let enough = standings
        .iter()
        .all(|(ask, standing)| standing.left.saturating_add(standing.free) >= ask.cost.into());
    standings.into_iter().map(|(ask, standing)| lease(ask, standing, enough)).collect()
}

fn standing(ask: &Ask, row: Option<WindowRow>) -> Standing {
    let before = row.unwrap_or(WindowRow { number: i64::MIN, ..WindowRow::default() });
    let row = if before.number >= ask.number {
        before
    } else {
        WindowRow { number: ask.number, granted: 0, told: 0, ..before }
    };
    let goes_on = ask.has.number == row.number
        && ask.has.resets.is_none_or(|resets| resets == row.resets && before.number == row.number);
    let left = if goes_on { ask.has.left } else { 0 };
    // Where the limit was lowered below what is taken, each process gives up as much: together they cannot use what
    // is over it.
    let over = signed(row.granted).saturating_sub(signed(ask.limit)).max(0);
    Standing {
        row,
        goes_on,
        left: left.saturating_sub(over.min(left.max(0))),
        free: signed(ask.limit).saturating_sub(signed(row.granted)).max(0),
    }
}

fn lease(ask: &Ask, standing: Standing, enough: bool) -> Lease {
    let Standing { mut row, goes_on, left, free } = standing;
    let wanted = i64::from(ask.cost).saturating_sub(left).max(0);
    let leased = match (enough, wanted) {
        (true, 0) => 0,
        (true, wanted) => wanted.max(a_hundredth(ask.limit)).min(free),
        (false, _) => left.min(0).saturating_neg().min(free),
    };
    row.granted = row.granted.saturating_add(leased.unsigned_abs());
    let reached = threshold(row.granted, ask.limit);
    let crossed = (reached > row.told).then_some(reached);
    row.told = row.told.max(crossed.unwrap_or(0));
    let had = if goes_on { ask.has.left } else { 0 };
    let change = left.saturating_sub(had).saturating_add(leased);
    Lease { period: ask.period, limit: ask.limit, row, goes_on, change, crossed }
}

fn a_hundredth(limit: u64) -> i64 {
    signed((limit / 100).max(1))
}

fn threshold(granted: u64, limit: u64) -> u8 {
    let (granted, limit) = (u128::from(granted), u128::from(limit));
    match granted {
        all if all >= limit => 100,
        most if most * 100 >= limit * 80 => 80,
        _ => 0,
    }
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

impl Lease {
    pub(crate) fn ends_at(&self) -> Timestamp {
        self.period.end(self.row.number)
    }
}

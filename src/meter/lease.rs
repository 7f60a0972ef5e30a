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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 100;

    fn ask(limit: u64, cost: u32, left: i64) -> Ask {
        let has = Holding { number: NOW, resets: Some(0), left };
        Ask { period: Period::Day, number: NOW, limit, cost, has }
    }

    fn row(granted: u64) -> WindowRow {
        WindowRow { number: NOW, granted, ..WindowRow::default() }
    }

    fn lease_one(ask: Ask, row: Option<WindowRow>) -> Lease {
        leases(&[(ask, row)])[0]
    }

    /// What there is in the file afterwards, and the change here.
    fn leased(ask: Ask, before: WindowRow) -> (u64, i64) {
        let lease = lease_one(ask, Some(before));
        (lease.row.granted, lease.change)
    }

    #[test]
    fn lease_is_a_hundredth_at_least_what_is_needed_and_at_most_what_is_left() {
        assert_eq!(leased(ask(1_000, 1, 0), row(0)), (10, 10));
        assert_eq!(leased(ask(1_000, 25, 0), row(0)), (25, 25));
        assert_eq!(leased(ask(1_000, 25, 20), row(100)), (110, 10));
        assert_eq!(leased(ask(1_000, 1, 0), row(994)), (1_000, 6));
        assert_eq!(leased(ask(99, 1, 0), row(0)), (1, 1));
        assert_eq!(leased(ask(99, 3, 0), row(97)), (97, 0), "not enough");
        assert_eq!(leased(ask(1_000, 5, 5), row(100)), (100, 0), "somebody else leased");
    }

    #[test]
    fn debt_is_paid_first_and_by_what_there_is() {
        assert_eq!(leased(ask(100, 1, -5), row(10)), (16, 6));
        assert_eq!(leased(ask(100, 1, -50), row(90)), (100, 10), "all that is left, and no more");
        assert_eq!(leased(ask(100, 1, -5), row(95)), (100, 5));
    }

    #[test]
    fn limit_that_was_lowered_makes_what_is_left_worth_less() {
        assert_eq!(leased(ask(995, 1, 10), row(1_000)), (1_000, -5));
        assert_eq!(leased(ask(10, 1, 10), row(1_000)), (1_000, -10));
        assert_eq!(leased(ask(10, 1, -3), row(1_000)), (1_000, 0));
    }

    #[test]
    fn nothing_is_leased_of_one_period_where_another_cannot_give() {
        let (day, month) = (ask(1_000, 1, 0), Ask { period: Period::Month, ..ask(5, 1, 0) });
        let both = leases(&[(day, Some(row(0))), (month, Some(row(5)))]);
        assert_eq!((both[0].row.granted, both[0].change), (0, 0));
        assert_eq!((both[1].row.granted, both[1].change), (5, 0));
        let both = leases(&[(day, Some(row(0))), (month, Some(row(4)))]);
        assert_eq!((both[0].change, both[1].change), (10, 1));
    }

    #[test]
    fn window_goes_forward_by_the_clock_and_never_back() {
        let behind = WindowRow { number: NOW - 1, granted: 100, told: 100, resets: 0 };
        let lease = lease_one(ask(100, 1, 3), Some(behind));
        let fresh = WindowRow { number: NOW, granted: 1, told: 0, resets: 0 };
        assert_eq!((lease.row, lease.goes_on, lease.change), (fresh, false, 1));
        let ahead = WindowRow { number: NOW + 1, granted: 40, told: 0, resets: 0 };
        let lease = lease_one(ask(100, 1, 3), Some(ahead));
        let more = WindowRow { granted: 41, ..ahead };
        assert_eq!((lease.row, lease.goes_on, lease.change), (more, false, 1));
    }

    #[test]
    fn reset_makes_what_was_leased_before_it_worthless() {
        let reset = WindowRow { resets: 1, ..row(0) };
        let lease = lease_one(ask(100, 1, 3), Some(reset));
        assert_eq!((lease.goes_on, lease.change, lease.row.granted), (false, 1, 1));
        let lease = lease_one(ask(100, 1, 3), None);
        assert_eq!((lease.goes_on, lease.change), (false, 1), "the row was removed");
    }

    #[test]
    fn debt_of_before_the_first_look_is_of_that_window() {
        let has = Holding { number: NOW, resets: None, left: -4 };
        let lease = lease_one(Ask { has, ..ask(100, 1, 0) }, None);
        assert_eq!((lease.goes_on, lease.change, lease.row.granted), (true, 5, 5));
    }

    #[test]
    fn threshold_is_told_once_a_window_the_higher_one_alone_where_both_are_crossed() {
        let mut told = Vec::new();
        let mut before = None;
        for _ in 0..10 {
            let lease = lease_one(ask(10, 1, 0), before);
            told.extend(lease.crossed.map(|percent| (lease.row.granted, percent)));
            before = Some(lease.row);
        }
        assert_eq!(told, [(8, 80), (10, 100)]);
        assert_eq!(lease_one(ask(1, 1, 0), None).crossed, Some(100));
        assert_eq!(lease_one(ask(5, 1, 0), before).crossed, None, "it was told");
        let next = Ask { number: NOW + 1, ..ask(1, 1, 0) };
        assert_eq!(lease_one(next, before).crossed, Some(100));
    }

    #[test]
    fn largest_numbers_do_not_wrap() {
        let most = 1_000_000_000_000_000;
        assert_eq!(leased(ask(most, u32::MAX, i64::MIN), row(u64::MAX)), (u64::MAX, 0));
        let lease = lease_one(ask(most, u32::MAX, i64::MIN), Some(row(0)));
        assert_eq!(lease.row.granted, most);
        assert_eq!(leased(ask(most, 1, i64::MAX), row(0)), (0, 0));
    }
}

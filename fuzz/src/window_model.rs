//! What a token may still do in a window of the calendar, over two trackers.

use std::collections::HashMap;

use crate::bench::instant;
use crate::state_plan::Side;

/// Minute, hour, day or month, and which since 1970.
pub type Key = (usize, i64);

/// Units that were taken of a window, to be settled later. Worth nothing once the window was reset.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    key: Key,
    resets: u32,
}

#[derive(Debug, Default)]
pub struct Windows(HashMap<Key, Window>);

#[derive(Debug)]
struct Window {
    /// All that was granted and not given back, whoever granted it.
    granted: u64,
    /// The same, and what was charged beyond it.
    used: u64,
    /// Who had to do with it so far, where that is one.
    by: Side,
    /// Whether what is left is known to the unit.
    is_exact: bool,
    /// The limit as it was told last, and the largest.
    limit: u64,
    largest: u64,
    resets: u32,
    /// How much of the limit may be granted again, because a reset does not reach what the other had taken.
    again: u64,
}

/// Which minute, hour, day and month an instant is in.
pub fn number(period: usize, wall: i64) -> i64 {
    let seconds = wall.div_euclid(1_000_000);
    match period {
        0 => seconds.div_euclid(60),
        1 => seconds.div_euclid(3_600),
        2 => seconds.div_euclid(86_400),
        _ => {
            let date = instant(wall.into()).date();
            i64::from(date.year()) * 12 + i64::from(u8::from(date.month()))
        }
    }
}

impl Windows {
    fn of(&mut self, by: Side, key: Key, limit: u64) -> &mut Window {
        let window = self.0.entry(key).or_insert(Window {
            granted: 0,
            used: 0,
            by,
            is_exact: true,
            limit,
            largest: limit,
            resets: 0,
            again: 0,
        });
        // A limit that is lowered costs what was taken above it.
        window.is_exact &= window.by == by && limit >= window.limit;
        window.limit = limit;
        window.largest = window.largest.max(limit);
        window
    }

    /// A request was granted.
    ///
    /// # Panics
    /// Where it was too much.
    pub fn grant(
        &mut self,
        by: Side,
        counts: &[Option<u64>; 4],
        units: u32,
        wall: i64,
    ) -> Vec<Taken> {
        let mut taken = Vec::new();
        for (period, limit) in limited(counts) {
            let key = (period, number(period, wall));
            let window = self.of(by, key, limit);
            window.granted += u64::from(units);
            window.used += u64::from(units);
            let most = window.largest.saturating_add(window.again);
            assert!(units == 0 || window.granted <= most, "over the limit: {window:?}");
            let is_over = window.is_exact && window.used > limit;
            assert!(units == 0 || !is_over, "over what was charged: {window:?}");
            taken.push(Taken { key, resets: window.resets });
        }
        taken
    }

    /// Whether a refusal is right: something is used up, or may be.
    pub fn may_refuse(
        &mut self,
        by: Side,
        counts: &[Option<u64>; 4],
        units: u32,
        wall: i64,
    ) -> bool {
        let mut may = false;
        for (period, limit) in limited(counts) {
            let window = self.of(by, (period, number(period, wall)), limit);
            may |= !window.is_exact || window.used + u64::from(units) > limit;
        }
        may && units > 0
    }

    /// A request that had taken `units` was worth `cost`.
    pub fn settle(&mut self, taken: &[Taken], units: u32, cost: u32) {
        for taken in taken {
            let Some(window) = self.0.get_mut(&taken.key) else { continue };
            if window.resets == taken.resets {
                window.granted -= u64::from(units.saturating_sub(cost));
                window.used = window.used + u64::from(cost) - u64::from(units);
            }
        }
    }

    pub fn reset(&mut self, by: Side, wall: i64) {
        for (key, window) in &mut self.0 {
            if key.1 != number(key.0, wall) {
                continue;
            }
            let is_alone = window.by == by && window.is_exact;
            window.is_exact &= is_alone;
            window.again += if is_alone { 0 } else { window.largest };
            (window.granted, window.used) = (0, 0);
            window.resets += 1;
        }
    }

    /// Whoever goes and comes again has given back what it knew of.
    pub fn doubt(&mut self, by: Side) {
        for window in self.0.values_mut() {
            window.is_exact &= window.by != by;
        }
    }
}

fn limited(counts: &[Option<u64>; 4]) -> impl Iterator<Item = (usize, u64)> + '_ {
    counts.iter().enumerate().filter_map(|(period, limit)| Some((period, (*limit)?)))
}

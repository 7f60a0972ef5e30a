//! Row by row, in either direction.

use anyhow::Result;

use super::sieve::brief_columns;
use super::{Look, MOST_ROWS};
use crate::record::Place;
use crate::timestamp::Timestamp;

/// Of how many tokens it is worth it to ask whether an hour has any of their requests.
const FEW: usize = 64;

macro_rules! groups {
    ($order:literal) => {
        concat!(
            "SELECT first_id, last_id, base_at FROM usage_groups
                WHERE first_id <= ?2 AND last_at >= ?3 AND first_at <= ?4 AND first_id >=
                    coalesce((SELECT max(first_id) FROM usage_groups WHERE first_id <= ?1), ?1)
                ORDER BY first_id ",
            $order
        )
    };
}

macro_rules! rows {
    ($order:literal) => {
        concat!(
            brief_columns!("?3"),
            "FROM usage_log WHERE id >= ?1 AND id <= ?2 ORDER BY id ",
            $order
        )
    };
}

/// Statements of a direction.
struct Way {
    groups: &'static str,
    rows: &'static str,
}

const DOWN: Way = Way { groups: groups!("DESC"), rows: rows!("DESC") };
const UP: Way = Way { groups: groups!("ASC"), rows: rows!("ASC") };

const HAS_HOUR: &str = "SELECT 1 FROM hourly_sums WHERE hour = ?1 AND token_id = ?2";

impl Look<'_> {
    /// From a row backwards.
    pub(super) fn down(&mut self, from: i64) -> Result<Option<Place>> {
        let (first, last) = self.ids;
        Ok(self.scan(&DOWN, first, last.min(from))?.map(|(_, last)| Place::Down(last)))
    }

    /// From a row onwards.
    pub(super) fn up(&mut self, from: i64) -> Result<Option<Place>> {
        let (first, last) = self.ids;
        Ok(self.scan(&UP, first.max(from), last)?.map(|(first, _)| Place::Up(first)))
    }

    /// Looks through the rows of a stretch, group by group. Returns what is left of it: the first row of that and the
    /// last, of which one is where to go on.
    fn scan(&mut self, way: &Way, first: i64, last: i64) -> Result<Option<(i64, i64)>> {
        if first > last {
            return Ok(None);
        }
        let (from, until) = self.sieve.times;
        let mut groups = self.snapshot.prepare_cached(way.groups)?;
        let mut rows = self.snapshot.prepare_cached(way.rows)?;
        let mut groups = groups.query((first, last, from, until))?;
        let mut asked = None;
        while let Some(group) = groups.next()? {
            let (starts, ends, base): (i64, i64, i64) =
                (group.get(0)?, group.get(1)?, group.get(2)?);
            let (starts, ends) = (starts.max(first), ends.min(last));
            if self.is_over() {
                return Ok(Some((starts, ends)));
            }
            if self.is_without(Timestamp::from_micros(base).hour(), ends, &mut asked)? {
                continue;
            }
            let mut rows = rows.query((starts, ends, base))?;
            while let Some(row) = rows.next()? {
                let id: i64 = row.get(0)?;
                if self.is_over() {
                    return Ok(Some((id, id)));
                }
                self.looked_at += 1;
                if self.sieve.admits(row)? {
                    self.take(id)?;
                }
            }
        }
        Ok(None)
    }

    fn is_over(&self) -> bool {
        self.is_full() || self.looked_at >= MOST_ROWS
    }

    /// Whether sums say that none of the tokens has a request in an hour, which all rows of a group are of. `asked` is
    /// the answer of the group before: there are many of one hour.
    fn is_without(
        &mut self,
        hour: i64,
        last: i64,
        asked: &mut Option<(i64, bool)>,
    ) -> Result<bool> {
        let Some(few) = self.tokens.as_ref().filter(|tokens| tokens.len() <= FEW) else {
            return Ok(false);
        };
        if last >= self.progress.rolled_up_to || hour < self.progress.hourly_from {
            return Ok(false);
        }
        if let Some((known, is_without)) = *asked
            && known == hour
        {
            return Ok(is_without);
        }
        let mut has_hour = self.snapshot.prepare_cached(HAS_HOUR)?;
        let mut is_without = true;
        for token in few {
            is_without &= !has_hour.exists((hour, token.as_row()))?;
        }
        self.looked_at += few.len();
        *asked = Some((hour, is_without));
        Ok(is_without)
    }
}

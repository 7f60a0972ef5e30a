//! Sums of the log by hour and token, and of hours by day, written in the transaction that stores the records
//! or in one of upkeep's.
//!
//! Each tier is complete up to a mark, so that the one below may be pruned up to there: hourly rows have all
//! of the log before `rolled_up_to`; daily rows have all hours whose (day, token) is not after `folded`. What
//! comes late for a day that is folded is added to both.

use std::collections::HashMap;

use anyhow::Result;
use rusqlite::{Connection, Row};

use super::log;
use super::tier::{ALL, DAILY, HOURLY, Sum, TierWriter};
use crate::clients::Seed;
use crate::id_hash::IdHash;
use crate::tally::Fact;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// Rows that may wait to be rolled up. A question about one token walks those of them that are its own, one
/// about all walks all.
const MAX_TAIL: u64 = 16_384;

/// Rows to roll up for each hour and token among them, before it is worth it: writing a sum costs about a
/// microsecond, and as much again where its row has to be read back.
const ROWS_A_KEY: u64 = 16;
const MIN_TAIL: u64 = 256;

/// Sums to write at once, which takes 4 to 8 ms, and to hold in memory, at half a kilobyte or more each.
const MAX_KEYS: u64 = 4_096;

/// Sums of the present hour that are kept, at 1 to 2 KB each.
const MAX_KEPT: usize = 2_048;

pub(super) const HOURS_A_DAY: i64 = 24;

/// How far things are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Progress {
    pub(super) next_id: i64,
    pub(super) rolled_up_to: i64,
    pub(super) folded: (i64, i64),
    /// The first hour that the hourly rows still have.
    pub(super) hourly_from: i64,
    /// The first day that the daily rows still have.
    pub(super) daily_from: i64,
    /// From when on the log still has every row.
    pub(super) log_from: Timestamp,
    /// How often texts of the dictionaries were changed: who remembers them forgets them then.
    pub(super) names_changed: i64,
    /// What addresses are hashed with.
    pub(super) seed: Seed,
}

const PROGRESS: &str =
    "SELECT next_id, rolled_up_to, folded_day, folded_token, hourly_from, daily_from, log_from,
    names_changed, address_seed FROM progress WHERE id = 1";
const SET_PROGRESS: &str = "UPDATE progress SET next_id = ?1, rolled_up_to = ?2, folded_day = ?3,
    folded_token = ?4, hourly_from = ?5, daily_from = ?6, log_from = ?7, names_changed = ?8 WHERE id = 1";

impl Progress {
    pub(super) fn read(connection: &Connection) -> Result<Self> {
        let mut statement = connection.prepare_cached(PROGRESS)?;
        let read = |row: &Row<'_>| {
            Ok(Self {
                next_id: row.get(0)?,
                rolled_up_to: row.get(1)?,
                folded: (row.get(2)?, row.get(3)?),
                hourly_from: row.get(4)?,
                daily_from: row.get(5)?,
                log_from: Timestamp::from_micros(row.get(6)?),
                names_changed: row.get(7)?,
                seed: Seed(row.get(8)?),
            })
        };
        let progress = statement.query_row([], read)?;
        let plausible = (1..=progress.next_id).contains(&progress.rolled_up_to);
        anyhow::ensure!(plausible, "the database is damaged: its progress is {progress:?}");
        Ok(progress)
    }

    pub(super) fn write(&self, transaction: &Connection) -> Result<()> {
        let (day, token) = self.folded;
        let (hourly, daily, log) = (self.hourly_from, self.daily_from, self.log_from.as_micros());
        let (next, rolled_up_to) = (self.next_id, self.rolled_up_to);
        let row = (next, rolled_up_to, day, token, hourly, daily, log, self.names_changed);
        transaction.prepare_cached(SET_PROGRESS)?.execute(row)?;
        Ok(())
    }

    fn marks(&self) -> Marks {
        (self.folded, self.hourly_from, self.names_changed)
    }

    /// Whether the daily rows have this day of this token.
    pub(super) fn is_folded(&self, day: i64, token: TokenId) -> bool {
        (day, token.as_row()) <= self.folded
    }
}

/// The rows at the end of the log that the hourly rows do not have yet, summed up in memory.
#[derive(Default)]
pub(super) struct Tail {
    /// What it has of the log, as ids; nothing at first, which equals no stretch of a log.
    from: i64,
    until: i64,
    /// What of the tiers it goes by.
    marks: Marks,
    rows: u64,
    /// Boxed, so that the table stays small where there are thousands.
    sums: HashMap<(i64, TokenId), Box<Part>, IdHash>,
    /// How many of them have rows that the file does not have.
    keys: u64,
    /// It must not wait: a row below `from` has grown, or others have appended rows, which nobody is to read
    /// twice.
    overdue: bool,
}

/// The sum of an hour and token. Once it has been written it is kept as the whole of its row, so that nothing needs
/// to be read back for the next rows: that was half of the time of a roll-up.
#[derive(Default)]
struct Part {
    sum: Sum,
    is_new: bool,
    is_whole: bool,
}

/// Up to where days are summed up, and hours removed, and how often texts were changed. Where that moves, nothing in
/// memory is as the file has it.
type Marks = ((i64, i64), i64, i64);

impl Tail {
    /// Whether this is the end of the log as the file has it. It is not once somebody else has written, or a day
    /// was summed up.
    pub(super) fn is_of(&self, progress: &Progress) -> bool {
        (self.from, self.until) == (progress.rolled_up_to, progress.next_id)
            && self.marks == progress.marks()
    }

    /// Reads the tail of the log anew.
    pub(super) fn read(connection: &Connection, progress: &Progress) -> Result<Self> {
        let (from, until) = (progress.rolled_up_to, progress.next_id);
        let mut tail = Self { from, until, marks: progress.marks(), ..Self::default() };
        log::visit(connection, from, until, progress.seed, |row| {
            tail.add(row.at.hour(), row.token, &row.fact);
        })?;
        tail.overdue = tail.rows > 0;
        Ok(tail)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(super) fn add(&mut self, hour: i64, token: TokenId, fact: &Fact) {
        for token in [token, ALL] {
            let part = self.sums.entry((hour, token)).or_default();
            self.keys += u64::from(!part.is_new);
            part.is_new = true;
            part.sum.add(fact);
        }
        self.rows += 1;
    }

    /// The row `id` has grown by a fact.
    pub(super) fn grow(&mut self, id: i64, hour: i64, token: TokenId, added: &Fact) {
        self.overdue |= id < self.from;
        self.add(hour, token, added);
    }

    pub(super) fn keys(&self) -> u64 {
        self.keys
    }

    pub(super) fn end_at(&mut self, next_id: i64) {
        self.until = next_id;
    }

    pub(super) fn is_due(&self) -> bool {
        let worth_it = self.rows >= MIN_TAIL && self.rows >= ROWS_A_KEY * self.keys;
        worth_it || self.rows >= MAX_TAIL || self.keys >= MAX_KEYS || self.overdue
    }

    /// Adds the tail to the hourly rows, and to the daily rows where those have the day. Starts over empty.
    pub(super) fn roll_up(&mut self, transaction: &Connection, to: &mut Progress) -> Result<()> {
        let (hourly, daily) =
            (HOURLY.writer(transaction, to.seed)?, DAILY.writer(transaction, to.seed)?);
        let mut tiers = Tiers { hourly, daily };
        // In the order of the key: neighbours share a page.
        let mut parts: Vec<_> = self.sums.iter_mut().filter(|(_, part)| part.is_new).collect();
        parts.sort_unstable_by_key(|(key, _)| **key);
        for ((hour, token), part) in parts {
            tiers.write(*hour, *token, part, to)?;
        }
        to.rolled_up_to = self.until;
        let mut sums = std::mem::take(&mut self.sums);
        let newest = sums.keys().map(|(hour, _)| *hour).max();
        sums.retain(|(hour, _), part| Some(*hour) == newest && part.is_whole);
        if sums.len() > MAX_KEPT {
            sums = HashMap::default();
        }
        let marks = to.marks();
        *self = Self { from: self.until, until: self.until, marks, sums, ..Self::default() };
        Ok(())
    }
}

/// Both tiers, to be added to.
struct Tiers<'c> {
    hourly: TierWriter<'c>,
    daily: TierWriter<'c>,
}

impl Tiers<'_> {
    /// An hour that is only in the hourly rows is whole afterwards; any other is worth nothing.
    fn write(&mut self, hour: i64, token: TokenId, part: &mut Part, to: &Progress) -> Result<()> {
        let day = hour.div_euclid(HOURS_A_DAY);
        let (is_folded, is_kept) = (to.is_folded(day, token), hour >= to.hourly_from);
        if is_folded {
            self.daily.add(day, token, &mut part.sum.clone())?;
        }
        if is_kept && part.is_whole {
            self.hourly.put(hour, token, &mut part.sum)?;
        } else if is_kept {
            self.hourly.add(hour, token, &mut part.sum)?;
        }
        part.is_new = false;
        part.is_whole = is_kept && !is_folded;
        Ok(())
    }
}

//! Sums of the log by hour and token, and of hours by day, written in the transaction that stores the records
//! or in one of upkeep's.
//!
//! Each tier is complete up to a mark, so that the one below may be pruned up to there: hourly rows have all
//! of the log before `rolled_up_to`; daily rows have all hours whose (day, token) is not after `folded`. What
//! comes late for a day that is folded is added to both.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use rusqlite::{Connection, Row};

use super::log;
use super::tier::{ALL, DAILY, HOURLY, Sum, TierWriter};
use crate::id_hash::IdHash;
use crate::tally::Fact;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// Rows that may wait to be rolled up. A question about one token walks those of them that are its own, one
/// about all walks all: a quarter of a microsecond each.
const MAX_TAIL: u64 = 32_768;

/// Rows to roll up for each hour and token among them, before it is worth it: writing a sum costs about 2 µs.
const ROWS_A_KEY: u64 = 32;
const MIN_TAIL: u64 = 256;

/// Sums to write at once, which takes about 20 ms. Nothing else is written meanwhile.
const MAX_KEYS: u64 = 8_192;

/// Empty sums whose memory is kept.
const MAX_KEPT: usize = 4_096;

pub(super) const HOURS_A_DAY: i64 = 24;

/// How far things are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Progress {
    pub(super) next_id: i64,
    pub(super) rolled_up_to: i64,
    pub(super) folded: (i64, i64),
    /// The first hour that the hourly rows still have.
    pub(super) hourly_from: i64,
    /// From when on the log still has every row.
    pub(super) log_from: Timestamp,
}

const PROGRESS: &str =
    "SELECT next_id, rolled_up_to, folded_day, folded_token, hourly_from, log_from
    FROM progress WHERE id = 1";
const SET_PROGRESS: &str = "UPDATE progress SET next_id = ?1, rolled_up_to = ?2, folded_day = ?3,
    folded_token = ?4, hourly_from = ?5, log_from = ?6 WHERE id = 1";

impl Progress {
    pub(super) fn read(connection: &Connection) -> Result<Self> {
        let mut statement = connection.prepare_cached(PROGRESS)?;
        let read = |row: &Row<'_>| {
            Ok(Self {
                next_id: row.get(0)?,
                rolled_up_to: row.get(1)?,
                folded: (row.get(2)?, row.get(3)?),
                hourly_from: row.get(4)?,
                log_from: Timestamp::from_micros(row.get(5)?),
            })
        };
        let progress = statement.query_row([], read)?;
        let plausible = (1..=progress.next_id).contains(&progress.rolled_up_to);
        anyhow::ensure!(plausible, "the database is damaged: its progress is {progress:?}");
        Ok(progress)
    }

    pub(super) fn write(&self, transaction: &Connection) -> Result<()> {
        let (day, token) = self.folded;
        let (hourly, log) = (self.hourly_from, self.log_from.as_micros());
        let row = (self.next_id, self.rolled_up_to, day, token, hourly, log);
        transaction.prepare_cached(SET_PROGRESS)?.execute(row)?;
        Ok(())
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
    rows: u64,
    /// By hour and token. Those that are empty keep their memory for the next rows.
    sums: HashMap<(i64, TokenId), Sum, IdHash>,
    /// How many of them are not empty.
    keys: u64,
    /// It must not wait: a row below `from` has grown, or others have appended rows, which nobody is to read
    /// twice.
    overdue: bool,
}

impl Tail {
    /// Whether this is the end of the log as the file has it. It is not once somebody else has written.
    pub(super) fn is_of(&self, progress: &Progress) -> bool {
        (self.from, self.until) == (progress.rolled_up_to, progress.next_id)
    }

    /// Reads the tail of the log anew.
    pub(super) fn read(connection: &Connection, progress: &Progress) -> Result<Self> {
        let (from, until) = (progress.rolled_up_to, progress.next_id);
        let mut tail = Self { from, until, ..Self::default() };
        log::visit(connection, from, until, |row| tail.add(row.at.hour(), row.token, &row.fact))?;
        tail.overdue = tail.rows > 0;
        Ok(tail)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(super) fn add(&mut self, hour: i64, token: TokenId, fact: &Fact) {
        let sum = self.sums.entry((hour, token)).or_default();
        self.keys += u64::from(sum.is_empty());
        sum.add(fact);
        self.rows += 1;
    }

    /// The row `id` has grown by a fact.
    pub(super) fn grow(&mut self, id: i64, hour: i64, token: TokenId, added: &Fact) {
        self.overdue |= id < self.from;
        self.add(hour, token, added);
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
        let mut tiers =
            Tiers { hourly: HOURLY.writer(transaction)?, daily: DAILY.writer(transaction)? };
        // In the order of the key: neighbours share a page.
        let mut sums: Vec<_> = self.sums.iter_mut().filter(|(_, sum)| !sum.is_empty()).collect();
        sums.sort_unstable_by_key(|(key, _)| **key);
        let mut all = BTreeMap::<i64, Sum>::new();
        for ((hour, token), sum) in sums {
            all.entry(*hour).or_default().merge(sum);
            tiers.add(*hour, *token, sum, to)?;
            sum.clear();
        }
        for (hour, mut sum) in all {
            tiers.add(hour, ALL, &mut sum, to)?;
        }
        to.rolled_up_to = self.until;
        let mut sums = std::mem::take(&mut self.sums);
        let current = sums.keys().map(|(hour, _)| *hour).max();
        sums.retain(|(hour, _), _| Some(*hour) == current);
        if sums.len() > MAX_KEPT {
            sums = HashMap::default();
        }
        *self = Self { from: self.until, until: self.until, sums, ..Self::default() };
        Ok(())
    }
}

/// Both tiers, to be added to.
struct Tiers<'c> {
    hourly: TierWriter<'c>,
    daily: TierWriter<'c>,
}

impl Tiers<'_> {
    /// `sum` is worth nothing afterwards.
    fn add(&mut self, hour: i64, token: TokenId, sum: &mut Sum, to: &Progress) -> Result<()> {
        let day = hour.div_euclid(HOURS_A_DAY);
        if to.is_folded(day, token) {
            self.daily.add(day, token, &mut sum.clone())?;
        }
        if hour >= to.hourly_from {
            self.hourly.add(hour, token, sum)?;
        }
        Ok(())
    }
}

//! Sums of the log by hour and token, and of hours by day, written in the transaction that stores the records
//! or in one of upkeep's.
//!
//! Each tier is complete up to a mark, so that the one below may be pruned up to there: hourly rows have all
//! of the log before `rolled_up_to`; daily rows have all hours whose (day, token) is not after `folded`. What
//! comes late for a day that is folded is added to both.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::log;
use crate::id_hash::IdHash;
use crate::tally::{Breakdown, Fact, Tally};
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// Values that a row tells apart in each dimension: of one token, and of all.
const MOST_OF_TOKEN: usize = 128;
const MOST_OF_ALL: usize = 1_024;

/// The rows of token 0 are those of all tokens.
pub(super) const ALL: TokenId = TokenId::UNTRACKED;

/// Rows that may wait to be rolled up. A question about one token walks those of them that are its own, one
/// about all walks all: a quarter of a microsecond each.
const MAX_TAIL: u64 = 16_384;

/// Rows to roll up for each hour and token among them, before it is worth it: writing a sum costs about 2 µs.
const ROWS_A_KEY: u64 = 8;
const MIN_TAIL: u64 = 256;

/// Tokens of a day that are folded in one step.
const FOLD_STEP: i64 = 512;

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

/// What requests come to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Sum {
    pub(super) tally: Tally,
    pub(super) breakdown: Breakdown,
}

impl Sum {
    pub(super) fn add(&mut self, fact: &Fact) {
        self.tally.add(fact);
        self.breakdown.add(fact);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        self.breakdown.merge(&other.breakdown);
    }
}

/// The statements of a tier.
pub(super) struct Tier {
    find: &'static str,
    put: &'static str,
    find_counts: &'static str,
    put_counts: &'static str,
}

macro_rules! tier {
    ($table:literal, $counts:literal, $bucket:literal) => {
        Tier {
            find: concat!(
                "SELECT success, client_error, server_error, denied, unfinished, below_400,
                    response_bytes, cost, duration_us, longest_us, latency FROM ",
                $table,
                " WHERE ",
                $bucket,
                " = ?1 AND token_id = ?2"
            ),
            put: concat!(
                "REPLACE INTO ",
                $table,
                " (",
                $bucket,
                ", token_id, success, client_error, server_error, denied, unfinished, below_400,
                    response_bytes, cost, duration_us, longest_us, latency)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
            ),
            find_counts: concat!(
                "SELECT counts FROM ",
                $counts,
                " WHERE ",
                $bucket,
                " = ?1 AND token_id = ?2"
            ),
            put_counts: concat!(
                "REPLACE INTO ",
                $counts,
                " (",
                $bucket,
                ", token_id, counts) VALUES (?1, ?2, ?3)"
            ),
        }
    };
}

pub(super) const HOURLY: Tier = tier!("usage_hourly", "usage_hourly_counts", "hour");
pub(super) const DAILY: Tier = tier!("usage_daily", "usage_daily_counts", "day");

impl Tier {
    /// Merges the totals of a bucket into `sum`. Nothing where there is no row.
    pub(super) fn read_tally(
        &self,
        connection: &Connection,
        bucket: i64,
        token: TokenId,
        sum: &mut Tally,
    ) -> Result<()> {
        let mut statement = connection.prepare_cached(self.find)?;
        let mut rows = statement.query((bucket, token.as_row()))?;
        if let Some(row) = rows.next()? {
            sum.merge(&tally(row)?);
        }
        Ok(())
    }

    pub(super) fn read_breakdown(
        &self,
        connection: &Connection,
        bucket: i64,
        token: TokenId,
        sum: &mut Breakdown,
    ) -> Result<()> {
        let mut statement = connection.prepare_cached(self.find_counts)?;
        let mut rows = statement.query((bucket, token.as_row()))?;
        if let Some(row) = rows.next()? {
            let bytes = row.get_ref(0)?.as_blob()?;
            let counts = Breakdown::decode(bytes).context("the database is damaged: counts")?;
            sum.merge(&counts);
        }
        Ok(())
    }

    /// Adds to what the bucket has.
    fn add(
        &self,
        transaction: &Connection,
        bucket: i64,
        token: TokenId,
        mut sum: Sum,
    ) -> Result<()> {
        self.read_tally(transaction, bucket, token, &mut sum.tally)?;
        self.read_breakdown(transaction, bucket, token, &mut sum.breakdown)?;
        sum.breakdown.cap(if token == ALL { MOST_OF_ALL } else { MOST_OF_TOKEN });
        let mut bytes = Vec::with_capacity(256);
        sum.tally.latency.encode(&mut bytes);
        let column = |sum: u64| i64::try_from(sum).unwrap_or(i64::MAX);
        let tally = &sum.tally;
        transaction.prepare_cached(self.put)?.execute(params![
            bucket,
            token.as_row(),
            column(tally.success),
            column(tally.client_error),
            column(tally.server_error),
            column(tally.denied),
            column(tally.unfinished),
            column(tally.below_400),
            column(tally.response_bytes),
            column(tally.cost),
            column(tally.duration_us),
            column(tally.longest_us),
            bytes,
        ])?;
        bytes.clear();
        sum.breakdown.encode(&mut bytes);
        transaction.prepare_cached(self.put_counts)?.execute((bucket, token.as_row(), bytes))?;
        Ok(())
    }
}

fn tally(row: &Row<'_>) -> Result<Tally> {
    let column = |at: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(at)?.unsigned_abs());
    let bytes = row.get_ref(10)?.as_blob()?;
    Ok(Tally {
        success: column(0)?,
        client_error: column(1)?,
        server_error: column(2)?,
        denied: column(3)?,
        unfinished: column(4)?,
        below_400: column(5)?,
        response_bytes: column(6)?,
        cost: column(7)?,
        duration_us: column(8)?,
        longest_us: column(9)?,
        latency: crate::sketch::Histogram::decode(bytes)
            .context("the database is damaged: latencies")?,
    })
}

/// The rows at the end of the log that the hourly rows do not have yet, summed up in memory.
#[derive(Default)]
pub(super) struct Tail {
    /// What it has of the log, as ids; nothing at first, which equals no stretch of a log.
    from: i64,
    until: i64,
    rows: u64,
    sums: HashMap<(i64, TokenId), Sum, IdHash>,
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
        self.sums.is_empty()
    }

    pub(super) fn add(&mut self, hour: i64, token: TokenId, fact: &Fact) {
        self.rows += 1;
        self.sums.entry((hour, token)).or_default().add(fact);
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
        let worth_it = self.rows >= MIN_TAIL && self.rows >= ROWS_A_KEY * self.sums.len() as u64;
        worth_it || self.rows >= MAX_TAIL || self.overdue
    }

    /// Adds the tail to the hourly rows, and to the daily rows where those have the day. Starts over empty.
    pub(super) fn roll_up(&mut self, transaction: &Connection, to: &mut Progress) -> Result<()> {
        // In the order of the key: neighbours share a page.
        let mut sums: Vec<_> = self.sums.drain().collect();
        sums.sort_unstable_by_key(|(key, _)| *key);
        let mut all = BTreeMap::<i64, Sum>::new();
        for ((hour, token), sum) in sums {
            all.entry(hour).or_default().merge(&sum);
            add_to_tiers(transaction, hour, token, sum, to)?;
        }
        for (hour, sum) in all {
            add_to_tiers(transaction, hour, ALL, sum, to)?;
        }
        to.rolled_up_to = self.until;
        *self = Self { from: self.until, until: self.until, ..Self::default() };
        Ok(())
    }
}

fn add_to_tiers(
    transaction: &Connection,
    hour: i64,
    token: TokenId,
    sum: Sum,
    progress: &Progress,
) -> Result<()> {
    let day = hour.div_euclid(HOURS_A_DAY);
    if progress.is_folded(day, token) {
        DAILY.add(transaction, day, token, sum.clone())?;
    }
    if hour >= progress.hourly_from {
        HOURLY.add(transaction, hour, token, sum)?;
    }
    Ok(())
}

const FIRST_HOUR: &str = "SELECT min(hour) FROM usage_hourly WHERE hour >= ?1";
const NEXT_TOKENS: &str = "SELECT token_id FROM usage_hourly WHERE hour = ?1 AND token_id > ?2
    ORDER BY token_id LIMIT ?3";

/// Folds some tokens of the first day that is over and not folded yet. Returns whether there was one.
pub(super) fn fold_days(transaction: &Connection, today: i64) -> Result<bool> {
    let mut progress = Progress::read(transaction)?;
    let (day, after) = match progress.folded {
        (day, i64::MAX) => (next_day(transaction, day.saturating_add(1))?, -1),
        (i64::MIN, _) => (next_day(transaction, i64::MIN)?, -1),
        (day, token) => (Some(day), token),
    };
    let Some(day) = day.filter(|day| *day < today) else { return Ok(false) };
    let tokens = next_tokens(transaction, day, after)?;
    for token in &tokens {
        let mut sum = Sum::default();
        for hour in hours(day) {
            HOURLY.read_tally(transaction, hour, *token, &mut sum.tally)?;
            HOURLY.read_breakdown(transaction, hour, *token, &mut sum.breakdown)?;
        }
        DAILY.add(transaction, day, *token, sum)?;
    }
    let is_last = tokens.len() < FOLD_STEP as usize;
    let last = tokens.last().map_or(i64::MAX, |token| token.as_row());
    progress.folded = (day, if is_last { i64::MAX } else { last });
    progress.write(transaction)?;
    Ok(true)
}

fn hours(day: i64) -> impl Iterator<Item = i64> {
    (0..HOURS_A_DAY).map(move |hour| day.saturating_mul(HOURS_A_DAY).saturating_add(hour))
}

/// The first day from `day` on that has hourly rows.
fn next_day(connection: &Connection, day: i64) -> Result<Option<i64>> {
    let hour: Option<i64> = connection
        .prepare_cached(FIRST_HOUR)?
        .query_row([day.saturating_mul(HOURS_A_DAY)], |row| row.get(0))
        .optional()?
        .flatten();
    Ok(hour.map(|hour| hour.div_euclid(HOURS_A_DAY)))
}

/// The next tokens of a day in their order: a step at most, from each hour as many, so that none is missed.
fn next_tokens(connection: &Connection, day: i64, after: i64) -> Result<Vec<TokenId>> {
    let mut statement = connection.prepare_cached(NEXT_TOKENS)?;
    let mut tokens = std::collections::BTreeSet::new();
    for hour in hours(day) {
        let mut rows = statement.query((hour, after, FOLD_STEP))?;
        while let Some(row) = rows.next()? {
            tokens.insert(row.get::<_, i64>(0)?);
        }
    }
    Ok(tokens.into_iter().take(FOLD_STEP as usize).map(TokenId::from_row).collect())
}

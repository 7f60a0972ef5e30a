//! Rows of sums: by hour and token, and by day and token.

use anyhow::{Context, Result};
use rusqlite::{CachedStatement, Connection, Row, params};

use super::log_rows::column;
use crate::sketch::Histogram;
use crate::tally::{Breakdown, Fact, Tally};
use crate::token::TokenId;

/// Values that a row tells apart in each dimension, of one token and of all; up to twice as many before it is
/// trimmed.
const MOST_OF_TOKEN: usize = 128;
const MOST_OF_ALL: usize = 1_024;

/// The rows of token 0 are those of all tokens.
pub(super) const ALL: TokenId = TokenId::UNTRACKED;

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

pub(super) const HOURLY: Tier = tier!("hourly_sums", "hourly_counts", "hour");
pub(super) const DAILY: Tier = tier!("daily_sums", "daily_counts", "day");

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
            sum.merge(&breakdown(row)?);
        }
        Ok(())
    }

    pub(super) fn writer<'c>(&self, transaction: &'c Connection) -> Result<TierWriter<'c>> {
        Ok(TierWriter {
            find: transaction.prepare_cached(self.find)?,
            put: transaction.prepare_cached(self.put)?,
            find_counts: transaction.prepare_cached(self.find_counts)?,
            put_counts: transaction.prepare_cached(self.put_counts)?,
            bytes: Vec::with_capacity(1_024),
        })
    }
}

/// Adds to the rows of a tier. Its statements are looked up once, and not for each row: a look-up hashes all of
/// their text.
pub(super) struct TierWriter<'c> {
    find: CachedStatement<'c>,
    put: CachedStatement<'c>,
    find_counts: CachedStatement<'c>,
    put_counts: CachedStatement<'c>,
    bytes: Vec<u8>,
}

impl TierWriter<'_> {
    /// Adds to what the bucket has. `sum` is the row's afterwards.
    pub(super) fn add(&mut self, bucket: i64, token: TokenId, sum: &mut Sum) -> Result<()> {
        let key = (bucket, token.as_row());
        if let Some(row) = self.find.query(key)?.next()? {
            sum.tally.merge(&tally(row)?);
        }
        if let Some(row) = self.find_counts.query(key)?.next()? {
            sum.breakdown.merge(&breakdown(row)?);
        }
        self.put(bucket, token, sum)
    }

    /// Writes the row of a bucket, whatever it was before.
    pub(super) fn put(&mut self, bucket: i64, token: TokenId, sum: &mut Sum) -> Result<()> {
        sum.breakdown.trim(if token == ALL { MOST_OF_ALL } else { MOST_OF_TOKEN });
        self.bytes.clear();
        sum.tally.latency.encode(&mut self.bytes);
        let tally = &sum.tally;
        self.put.execute(params![
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
            self.bytes.as_slice(),
        ])?;
        self.bytes.clear();
        sum.breakdown.encode(&mut self.bytes);
        self.put_counts.execute((bucket, token.as_row(), self.bytes.as_slice()))?;
        Ok(())
    }
}

fn breakdown(row: &Row<'_>) -> Result<Breakdown> {
    Breakdown::decode(row.get_ref(0)?.as_blob()?).context("the database is damaged: counts")
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
        latency: Histogram::decode(bytes).context("the database is damaged: latencies")?,
    })
}

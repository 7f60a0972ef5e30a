//! Rows of sums: by hour and token, and by day and token.

use anyhow::{Context, Result};
use rusqlite::{CachedStatement, Connection, Row, params};

use super::log_rows::column;
use crate::clients::{Clients, EXACT, Seed, Sketch};
use crate::sketch::Histogram;
use crate::tally::{Breakdown, Fact, Tally};
use crate::token::TokenId;

/// Values that a row tells apart in each dimension, of one token and of all; up to twice as many before it is
/// trimmed.
const MOST_OF_TOKEN: usize = 128;
const MOST_OF_ALL: usize = 1_024;

/// Addresses that a row tells apart, and marks that it keeps of more, where it is written rarely.
const ADDRESSES: Limits = Limits { addresses: MOST_OF_ALL, marks: EXACT };

/// The same of an hour of one token, which is written again and again: with as many as the others, storing records took
/// a quarter longer where each token is used from hundreds.
const ADDRESSES_OF_HOUR: Limits = Limits { addresses: 32, marks: 64 };

#[derive(Clone, Copy)]
struct Limits {
    addresses: usize,
    marks: usize,
}

/// The rows of token 0 are those of all tokens.
pub(super) const ALL: TokenId = TokenId::UNTRACKED;

/// What requests come to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Sum {
    pub(super) tally: Tally,
    pub(super) breakdown: Breakdown,
    pub(super) clients: Clients,
}

impl Sum {
    pub(super) fn add(&mut self, fact: &Fact) {
        self.tally.add(fact);
        self.breakdown.add(fact);
        self.clients.add(fact.client, fact.weight);
    }
}

/// Whether latencies are asked for: most of a row are theirs.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Latencies {
    Read,
    Skip,
}

/// The statements of a tier.
pub(super) struct Tier {
    find: &'static str,
    scan: &'static str,
    put: &'static str,
    find_counts: &'static str,
    find_addresses: &'static str,
    put_addresses: &'static str,
    next: &'static str,
    of_token: Limits,
    put_counts: &'static str,
}

macro_rules! tier {
    ($table:literal, $counts:literal, $bucket:literal, $of_token:expr) => {
        Tier {
            of_token: $of_token,
            find: concat!(
                "SELECT success, client_error, server_error, denied, unfinished, below_400,
                    response_bytes, cost, duration_us, longest_us, latency FROM ",
                $table,
                " WHERE ",
                $bucket,
                " = ?1 AND token_id = ?2"
            ),
            scan: concat!(
                "SELECT success, client_error, server_error, denied, unfinished, below_400,
                    response_bytes, cost, duration_us, longest_us, latency, token_id FROM ",
                $table,
                " WHERE ",
                $bucket,
                " = ?1 AND token_id > ?2 AND token_id <= ?3"
            ),
            put: concat!(
                "REPLACE INTO ",
                $table,
                " (",
                $bucket,
                ", token_id, success, client_error, server_error, denied, unfinished, below_400,
                    response_bytes, cost, duration_us, longest_us, latency, addresses)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
            ),
            find_counts: concat!(
                "SELECT counts FROM ",
                $counts,
                " WHERE ",
                $bucket,
                " = ?1 AND token_id = ?2"
            ),
            find_addresses: concat!(
                "SELECT addresses FROM ",
                $table,
                " WHERE ",
                $bucket,
                " = ?1 AND token_id = ?2"
            ),
            put_addresses: concat!(
                "UPDATE ",
                $table,
                " SET addresses = ?3 WHERE ",
                $bucket,
                " = ?1 AND token_id = ?2"
            ),
            next: concat!("SELECT min(", $bucket, ") FROM ", $counts, " WHERE ", $bucket, " > ?1"),
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

pub(super) const HOURLY: Tier = tier!("hourly_sums", "hourly_counts", "hour", ADDRESSES_OF_HOUR);
pub(super) const DAILY: Tier = tier!("daily_sums", "daily_counts", "day", ADDRESSES);

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

    /// Shows the totals of a bucket of all tokens after one, up to another.
    pub(super) fn scan(
        &self,
        connection: &Connection,
        bucket: i64,
        (after, last): (i64, i64),
        latencies: Latencies,
        mut each: impl FnMut(TokenId, &Tally),
    ) -> Result<()> {
        let mut statement = connection.prepare_cached(self.scan)?;
        let mut rows = statement.query((bucket, after, last))?;
        while let Some(row) = rows.next()? {
            let mut tally = counts(row)?;
            if latencies == Latencies::Read {
                tally.latency = histogram(row)?;
            }
            each(TokenId::from_row(row.get(11)?), &tally);
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

    /// Merges the addresses of a bucket into `sum`.
    pub(super) fn read_clients(
        &self,
        connection: &Connection,
        bucket: i64,
        token: TokenId,
        seed: Seed,
        sum: &mut Clients,
    ) -> Result<()> {
        let mut statement = connection.prepare_cached(self.find_addresses)?;
        let mut rows = statement.query((bucket, token.as_row()))?;
        if let Some(row) = rows.next()? {
            sum.merge(&clients(row, seed)?);
        }
        Ok(())
    }

    /// Writes the addresses of a bucket that is there.
    pub(super) fn put_clients(
        &self,
        transaction: &Connection,
        bucket: i64,
        token: TokenId,
        clients: &Clients,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        clients.encode(&mut bytes);
        let mut put = transaction.prepare_cached(self.put_addresses)?;
        put.execute((bucket, token.as_row(), bytes.as_slice()))?;
        Ok(())
    }

    /// The first bucket after this one, of whatever token.
    pub(super) fn next_bucket(&self, connection: &Connection, after: i64) -> Result<Option<i64>> {
        Ok(connection.prepare_cached(self.next)?.query_row([after], |row| row.get(0))?)
    }

    /// Adds the addresses of a bucket to a sketch.
    pub(super) fn read_sketch(
        &self,
        connection: &Connection,
        bucket: i64,
        token: TokenId,
        seed: Seed,
        sum: &mut Sketch,
    ) -> Result<()> {
        let mut statement = connection.prepare_cached(self.find_addresses)?;
        let mut rows = statement.query((bucket, token.as_row()))?;
        if let Some(row) = rows.next()? {
            sum.add_encoded(row.get_ref(0)?.as_blob()?, seed).context(DAMAGED_ADDRESSES)?;
        }
        Ok(())
    }

    pub(super) fn writer<'c>(
        &self,
        transaction: &'c Connection,
        seed: Seed,
    ) -> Result<TierWriter<'c>> {
        Ok(TierWriter {
            seed,
            of_token: self.of_token,
            find: transaction.prepare_cached(self.find)?,
            put: transaction.prepare_cached(self.put)?,
            find_counts: transaction.prepare_cached(self.find_counts)?,
            put_counts: transaction.prepare_cached(self.put_counts)?,
            find_addresses: transaction.prepare_cached(self.find_addresses)?,
            bytes: Vec::with_capacity(1_024),
            address_bytes: Vec::with_capacity(1_024),
        })
    }
}

/// Adds to the rows of a tier. Its statements are looked up once, and not for each row: a look-up hashes all of
/// their text.
pub(super) struct TierWriter<'c> {
    seed: Seed,
    of_token: Limits,
    find: CachedStatement<'c>,
    put: CachedStatement<'c>,
    find_counts: CachedStatement<'c>,
    put_counts: CachedStatement<'c>,
    find_addresses: CachedStatement<'c>,
    bytes: Vec<u8>,
    address_bytes: Vec<u8>,
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
        if let Some(row) = self.find_addresses.query(key)?.next()? {
            sum.clients.merge(&clients(row, self.seed)?);
        }
        self.put(bucket, token, sum)
    }

    /// Writes the row of a bucket, whatever it was before.
    pub(super) fn put(&mut self, bucket: i64, token: TokenId, sum: &mut Sum) -> Result<()> {
        let most = if token == ALL { MOST_OF_ALL } else { MOST_OF_TOKEN };
        sum.breakdown.trim(most);
        let limits = if token == ALL { ADDRESSES } else { self.of_token };
        sum.clients.trim(limits.addresses, limits.marks);
        self.bytes.clear();
        sum.tally.latency.encode(&mut self.bytes);
        self.address_bytes.clear();
        sum.clients.encode(&mut self.address_bytes);
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
            self.address_bytes.as_slice(),
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

const DAMAGED_ADDRESSES: &str = "the database is damaged: addresses";

fn clients(row: &Row<'_>, seed: Seed) -> Result<Clients> {
    Clients::decode(row.get_ref(0)?.as_blob()?, seed).context(DAMAGED_ADDRESSES)
}

fn tally(row: &Row<'_>) -> Result<Tally> {
    Ok(Tally { latency: histogram(row)?, ..counts(row)? })
}

fn histogram(row: &Row<'_>) -> Result<Histogram> {
    Histogram::decode(row.get_ref(10)?.as_blob()?).context("the database is damaged: latencies")
}

/// All but the latencies.
fn counts(row: &Row<'_>) -> Result<Tally> {
    let column = |at: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(at)?.unsigned_abs());
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
        latency: Histogram::default(),
    })
}

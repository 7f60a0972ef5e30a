//! Rows on their way into the log, some to a statement.

use std::net::IpAddr;

use anyhow::Result;
use rusqlite::{CachedStatement, Connection};

use super::log;
use crate::tally::Fact;
use crate::token::TokenId;

/// Everything that a row of the log says.
#[derive(Clone, Copy)]
pub(super) struct NewRow {
    pub(super) id: i64,
    pub(super) at: i64,
    pub(super) token: TokenId,
    pub(super) back: i64,
    pub(super) address: Option<IpAddr>,
    pub(super) fact: Fact,
}

/// Rows to a statement. Starting and ending a statement costs as much as what it does for one row: sixteen at a
/// time cost 0.44 µs each, one at a time 0.55 µs.
const ROWS: usize = 16;
const COLUMNS: usize = 14;

macro_rules! insert {
    ($($row:literal)+) => {
        concat!(
            "INSERT INTO usage_log
                (id, at, token_id, back, route, method, status, outcome, duration_us, response_bytes,
                 client_address, user_agent, cost, weight)
                VALUES ",
            $($row, "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),+
        )
    };
}

const INSERT_ONE: &str = insert!("");
const INSERT: &str =
    insert!("" ", " ", " ", " ", " ", " ", " ", " ", " ", " ", " ", " ", " ", " ", " ", ");

pub(super) struct LogRows<'c> {
    connection: &'c Connection,
    insert: CachedStatement<'c>,
    waiting: Vec<NewRow>,
}

impl<'c> LogRows<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self> {
        let insert = connection.prepare_cached(INSERT)?;
        Ok(Self { connection, insert, waiting: Vec::with_capacity(ROWS) })
    }

    pub(super) fn push(&mut self, row: NewRow) -> Result<()> {
        self.waiting.push(row);
        if self.waiting.len() == ROWS {
            for (at, row) in self.waiting.iter().enumerate() {
                bind(&mut self.insert, at * COLUMNS, row)?;
            }
            self.insert.raw_execute()?;
            self.waiting.clear();
        }
        Ok(())
    }

    /// Inserts what waits for company.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut insert = self.connection.prepare_cached(INSERT_ONE)?;
        for row in self.waiting.drain(..) {
            bind(&mut insert, 0, &row)?;
            insert.raw_execute()?;
        }
        Ok(())
    }
}

/// Bound by hand: a list of parameters costs a fifth more.
fn bind(insert: &mut CachedStatement<'_>, after: usize, row: &NewRow) -> Result<()> {
    let fact = &row.fact;
    insert.raw_bind_parameter(after + 1, row.id)?;
    insert.raw_bind_parameter(after + 2, row.at)?;
    insert.raw_bind_parameter(after + 3, row.token.as_row())?;
    insert.raw_bind_parameter(after + 4, row.back)?;
    insert.raw_bind_parameter(after + 5, fact.route)?;
    insert.raw_bind_parameter(after + 6, fact.method)?;
    insert.raw_bind_parameter(after + 7, fact.status)?;
    insert.raw_bind_parameter(after + 8, fact.outcome.code())?;
    insert.raw_bind_parameter(after + 9, column(fact.duration_us))?;
    insert.raw_bind_parameter(after + 10, column(fact.response_bytes))?;
    let (address, length) = row.address.map(log::address_bytes).unwrap_or_default();
    insert.raw_bind_parameter(after + 11, row.address.map(|_| &address[..length]))?;
    insert.raw_bind_parameter(after + 12, fact.user_agent)?;
    insert.raw_bind_parameter(after + 13, (fact.cost != 1).then_some(column(fact.cost)))?;
    insert.raw_bind_parameter(after + 14, (fact.weight != 1).then_some(column(fact.weight)))?;
    Ok(())
}

/// A sum as a column can hold it.
pub(super) fn column(sum: u64) -> i64 {
    i64::try_from(sum).unwrap_or(i64::MAX)
}

//! Rows on their way into the log, some to a statement.

use anyhow::Result;
use rusqlite::{CachedStatement, Connection};

use super::log;
use crate::address::{AddressBytes, ClientAddress};
use crate::tally::Fact;
use crate::token::TokenId;

macro_rules! four {
    ($($rows:tt)+) => {
        concat!($($rows)+, ", ", $($rows)+, ", ", $($rows)+, ", ", $($rows)+)
    };
}

/// Everything that a row of the log says.
#[derive(Clone, Copy)]
pub(super) struct NewRow {
    pub(super) id: i64,
    pub(super) after_us: i64,
    pub(super) token: TokenId,
    pub(super) back: i64,
    pub(super) address: Option<ClientAddress>,
    pub(super) fact: Fact,
}

/// Rows to a statement.
const ROWS: usize = 16;
const COLUMNS: usize = 10;

/// Rows of one request that cost 1: the two columns that say otherwise are left out.
///
/// None but the first row of a batch says its id. The others get the one after, and SQLite then appends without
/// looking whether there is such a row, which took a sixth of the time.
const INSERT_PLAIN: &str = concat!(
    "INSERT INTO usage_log (after_us, token_id, back, endpoint, status, outcome, duration_us,
        response_bytes, client_address, user_agent) VALUES ",
    four!(four!("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"))
);
const INSERT: &str = "INSERT INTO usage_log (after_us, token_id, back, endpoint, status, outcome,
    duration_us, response_bytes, client_address, user_agent, cost, weight, id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

pub(super) struct LogRows<'c> {
    connection: &'c Connection,
    insert: CachedStatement<'c>,
    insert_plain: CachedStatement<'c>,
    waiting: Vec<NewRow>,
    is_first: bool,
}

impl<'c> LogRows<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self> {
        Ok(Self {
            connection,
            insert: connection.prepare_cached(INSERT)?,
            insert_plain: connection.prepare_cached(INSERT_PLAIN)?,
            waiting: Vec::with_capacity(ROWS),
            is_first: true,
        })
    }

    /// Rows come in the order of their ids, without a gap.
    pub(super) fn push(&mut self, row: NewRow) -> Result<()> {
        self.waiting.push(row);
        if self.is_first || !row.is_plain() {
            return self.flush();
        }
        if self.waiting.len() == ROWS {
            for (at, row) in self.waiting.iter().enumerate() {
                bind(&mut self.insert_plain, at * COLUMNS, row)?;
            }
            self.insert_plain.raw_execute()?;
            self.waiting.clear();
            self.check_id(row.id)?;
        }
        Ok(())
    }

    /// Inserts what waits for company.
    pub(super) fn flush(&mut self) -> Result<()> {
        let Some(last) = self.waiting.last().map(|row| row.id) else { return Ok(()) };
        for row in self.waiting.drain(..) {
            bind(&mut self.insert, 0, &row)?;
            let Fact { cost, weight, .. } = row.fact;
            self.insert.raw_bind_parameter(COLUMNS + 1, (cost != 1).then_some(column(cost)))?;
            self.insert.raw_bind_parameter(COLUMNS + 2, (weight != 1).then_some(column(weight)))?;
            self.insert.raw_bind_parameter(COLUMNS + 3, self.is_first.then_some(row.id))?;
            self.insert.raw_execute()?;
            self.is_first = false;
        }
        self.check_id(last)
    }

    fn check_id(&self, expected: i64) -> Result<()> {
        let id = self.connection.last_insert_rowid();
        anyhow::ensure!(id == expected, "the log goes on at row {id}, not {expected}");
        Ok(())
    }
}

impl NewRow {
    fn is_plain(&self) -> bool {
        self.fact.cost == 1 && self.fact.weight == 1
    }
}

/// Bound by hand: a list of parameters costs a fifth more.
fn bind(insert: &mut CachedStatement<'_>, after: usize, row: &NewRow) -> Result<()> {
    let fact = &row.fact;
    insert.raw_bind_parameter(after + 1, row.after_us)?;
    insert.raw_bind_parameter(after + 2, row.token.as_row())?;
    insert.raw_bind_parameter(after + 3, row.back)?;
    insert.raw_bind_parameter(after + 4, log::endpoint(fact.route, fact.method))?;
    insert.raw_bind_parameter(after + 5, fact.status)?;
    insert.raw_bind_parameter(after + 6, fact.outcome.code())?;
    insert.raw_bind_parameter(after + 7, column(fact.duration_us))?;
    insert.raw_bind_parameter(after + 8, column(fact.response_bytes))?;
    let address = row.address.map(ClientAddress::to_bytes);
    insert.raw_bind_parameter(after + 9, address.as_ref().map(AddressBytes::as_slice))?;
    insert.raw_bind_parameter(after + 10, fact.user_agent)?;
    Ok(())
}

/// A sum as a column can hold it.
pub(super) fn column(sum: u64) -> i64 {
    i64::try_from(sum).unwrap_or(i64::MAX)
}

//! Rows of the usage log.

use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row};

use super::Reader;
use super::dictionary::OTHER;
use crate::address::ClientAddress;
use crate::clients::{Client, Seed};
use crate::query::Scope;
use crate::record::{Method, Outcome, UsageRecord};
use crate::tally::Fact;
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// A row of the log, as far as sums and chains need it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogRow {
    pub(super) at: Timestamp,
    pub(super) token: TokenId,
    /// The distance to the previous row of the token, 0 at its first.
    pub(super) back: i64,
    pub(super) fact: Fact,
}

/// Route and method in one number: the method's code in the low four bits, above them 0 for no route, 1 for one that
/// the dictionary had no room for, else the number of the route and one.
pub(super) fn endpoint(route: Option<i64>, method: Method) -> i64 {
    let route = route.map_or(0, |id| id.saturating_add(1));
    route.saturating_mul(16) | i64::from(method.code())
}

fn route_of(endpoint: i64) -> Option<i64> {
    (endpoint >> 4).checked_sub(1).filter(|id| *id >= 0)
}

fn method_of(endpoint: i64) -> Method {
    Method::from_code((endpoint & 15) as u8)
}

macro_rules! fact_columns {
    ($base:literal) => {
        concat!(
            "SELECT ",
            $base,
            " + after_us, token_id, back, outcome, status, duration_us, response_bytes,
                coalesce(cost, 1), coalesce(weight, 1), endpoint, user_agent, log.id, client_address "
        )
    };
}

/// Group by group, because the times of its rows are told from its own.
const STRETCH: &str = concat!(
    fact_columns!("base_at"),
    "FROM usage_groups CROSS JOIN usage_log AS log
        ON log.id >= max(first_id, ?1) AND log.id <= min(last_id, ?2 - 1)
        WHERE first_id < ?2 AND first_id >=
            coalesce((SELECT max(first_id) FROM usage_groups WHERE first_id <= ?1), ?1)"
);
const ONE: &str = concat!(fact_columns!("?2"), "FROM usage_log AS log WHERE log.id = ?1");
const GROUP: &str = "SELECT first_id, base_at FROM usage_groups WHERE first_id <= ?1 ORDER BY first_id DESC LIMIT 1";

/// Shows every row of a stretch of the log, in order.
pub(super) fn visit(
    connection: &Connection,
    from: i64,
    until: i64,
    seed: Seed,
    mut each: impl FnMut(&LogRow),
) -> Result<()> {
    visit_numbered(connection, from, until, seed, |_, row| each(row))
}

/// The same with the number of each row.
pub(super) fn visit_numbered(
    connection: &Connection,
    from: i64,
    until: i64,
    seed: Seed,
    mut each: impl FnMut(i64, &LogRow),
) -> Result<()> {
    let mut statement = connection.prepare_cached(STRETCH)?;
    let mut rows = statement.query((from, until))?;
    while let Some(row) = rows.next()? {
        each(row.get(11)?, &log_row(row, seed)?);
    }
    Ok(())
}

/// Shows the rows of one token from `id` backwards, down to `from`.
pub(super) fn visit_chain(
    connection: &Connection,
    mut id: i64,
    from: i64,
    seed: Seed,
    mut each: impl FnMut(&LogRow),
) -> Result<()> {
    let mut one = connection.prepare_cached(ONE)?;
    let mut group_of = connection.prepare_cached(GROUP)?;
    let mut group = (i64::MAX, 0_i64);
    while id >= from {
        // Many rows in a row have the same group.
        if id < group.0 {
            let found = group_of.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)));
            let Some(found) = found.optional()? else { return Ok(()) };
            group = found;
        }
        let mut rows = one.query((id, group.1))?;
        let Some(row) = rows.next()? else { return Ok(()) };
        let row = log_row(row, seed)?;
        each(&row);
        if row.back <= 0 {
            return Ok(());
        }
        id = id.saturating_sub(row.back);
    }
    Ok(())
}

fn log_row(row: &Row<'_>, seed: Seed) -> Result<LogRow> {
    let number = |at: usize| Ok::<_, rusqlite::Error>(row.get::<_, i64>(at)?.unsigned_abs());
    let outcome = Outcome::from_code(row.get(3)?).context("a row with an unknown outcome")?;
    let endpoint: i64 = row.get(9)?;
    Ok(LogRow {
        at: Timestamp::from_micros(row.get(0)?),
        token: TokenId::from_row(row.get(1)?),
        back: row.get(2)?,
        fact: Fact {
            outcome,
            status: row.get(4)?,
            duration_us: number(5)?,
            response_bytes: number(6)?,
            cost: number(7)?,
            weight: number(8)?,
            route: route_of(endpoint),
            user_agent: row.get(10)?,
            method: method_of(endpoint),
            client: address(row.get_ref(12)?).map(|address| Client::new(address, seed)),
        },
    })
}

/// What a route reads as where none was said.
pub(super) const UNMATCHED: &str = "<unmatched>";

macro_rules! record_columns {
    () => {
        "SELECT (SELECT base_at FROM usage_groups WHERE first_id <= log.id
                ORDER BY first_id DESC LIMIT 1) + after_us,
            token_id, endpoint, back, route.text, (endpoint >> 4) - 1, status, outcome, duration_us,
            response_bytes, client_address, agent.text, user_agent, coalesce(cost, 1),
            coalesce(weight, 1), log.id, token.owner "
    };
}

macro_rules! join_names {
    () => {
        " LEFT JOIN names AS route ON route.id = (log.endpoint >> 4) - 1
          LEFT JOIN names AS agent ON agent.id = log.user_agent
          LEFT JOIN catalogue AS token ON token.id = log.token_id "
    };
}

const RECORD: &str =
    concat!(record_columns!(), "FROM usage_log AS log", join_names!(), "WHERE log.id = ?1");

impl Reader {
    /// Whether there is anything to ask about: the token, or a token of the owner.
    pub(crate) fn knows(&self, scope: &Scope) -> Result<bool> {
        let found = match scope {
            Scope::All => Some(()),
            Scope::Owner(owner) => {
                let mut statement =
                    self.0.prepare_cached("SELECT 1 FROM catalogue WHERE owner = ?1 LIMIT 1")?;
                statement.query_row([owner], |_| Ok(())).optional()?
            }
            // Nobody is asked about: what no token has is nothing.
            Scope::Tag(_) => Some(()),
            Scope::Token(token) => {
                let mut statement =
                    self.0.prepare_cached("SELECT 1 FROM catalogue WHERE id = ?1")?;
                statement.query_row([token.as_row()], |_| Ok(())).optional()?
            }
        };
        Ok(found.is_some())
    }
}

/// Records by their numbers.
pub(super) struct Records<'c>(CachedStatement<'c>);

impl<'c> Records<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self> {
        Ok(Self(connection.prepare_cached(RECORD)?))
    }

    /// A record, and the number of the one before it of its token, if there is one.
    pub(super) fn find(&mut self, id: i64) -> Result<Option<(UsageRecord, Option<i64>)>> {
        let mut rows = self.0.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let back: i64 = row.get(3)?;
        Ok(Some((record(row)?, id.checked_sub(back).filter(|_| back > 0))))
    }
}

const HEAD: &str = "SELECT last_id FROM usage_heads WHERE token_id = ?1";
const TOKENS_OF_OWNER: &str = "SELECT id FROM catalogue WHERE owner = ?1";
const TOKENS_OF_TAG: &str = "SELECT id FROM catalogue
    WHERE EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?1)";

/// The newest row of a token, where its chain of back links starts.
pub(super) fn head(connection: &Connection, token: TokenId) -> Result<Option<i64>> {
    let mut statement = connection.prepare_cached(HEAD)?;
    Ok(statement.query_row([token.as_row()], |row| row.get(0)).optional()?)
}

/// The tokens that are asked about; `None` stands for all.
pub(super) fn tokens_of(connection: &Connection, scope: &Scope) -> Result<Option<Vec<TokenId>>> {
    let (sql, text) = match scope {
        Scope::All => return Ok(None),
        Scope::Token(token) => return Ok(Some(vec![*token])),
        Scope::Owner(owner) => (TOKENS_OF_OWNER, owner),
        Scope::Tag(tag) => (TOKENS_OF_TAG, tag),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let tokens = statement.query_map([text], |row| Ok(TokenId::from_row(row.get(0)?)))?;
    Ok(Some(tokens.collect::<rusqlite::Result<_>>()?))
}

fn record(row: &Row<'_>) -> Result<UsageRecord> {
    let outcome = Outcome::from_code(row.get(7)?).context("a row with an unknown outcome")?;
    Ok(UsageRecord {
        id: row.get::<_, i64>(15)?.unsigned_abs(),
        at: Timestamp::from_micros(row.get(0)?).to_date_time(),
        token_id: TokenId::from_row(row.get(1)?),
        owner: row.get(16)?,
        method: method_of(row.get(2)?).as_str().to_owned(),
        route: name(row, 4)?.unwrap_or_else(|| UNMATCHED.to_owned()),
        status: row.get(6)?,
        outcome,
        duration: Duration::from_micros(row.get::<_, i64>(8)?.unsigned_abs()),
        response_bytes: row.get::<_, i64>(9)?.unsigned_abs(),
        client_address: address(row.get_ref(10)?),
        user_agent: name(row, 11)?,
        cost: row.get::<_, i64>(13)?.unsigned_abs(),
        weight: u32::try_from(row.get::<_, i64>(14)?).unwrap_or(u32::MAX),
    })
}

/// A text of a dictionary and, in the column after it, its number: a number without a text is `<other>`.
fn name(row: &Row<'_>, text: usize) -> Result<Option<String>> {
    let name: Option<String> = row.get(text)?;
    let id: Option<i64> = row.get(text + 1)?;
    Ok(name.or_else(|| id.filter(|id| *id >= 0).map(|_| OTHER.to_owned())))
}

/// What is no address of ours counts as none.
pub(super) fn address(value: ValueRef<'_>) -> Option<ClientAddress> {
    value.as_blob_or_null().ok().flatten().and_then(ClientAddress::from_bytes)
}

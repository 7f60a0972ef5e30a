//! Rows of the usage log.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row};

use super::Reader;
use super::dictionary::OTHER;
use crate::query::Scope;
use crate::record::{Outcome, UsageRecord};
use crate::timestamp::Timestamp;
use crate::token::TokenId;

pub(super) const INSERT: &str = "INSERT INTO usage_log
    (id, at, token_id, back, route, method, status, outcome, duration_us, response_bytes,
     client_address, user_agent, cost)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

/// What a route reads as where none was said.
pub(super) const UNMATCHED: &str = "<unmatched>";

/// The rows of one token, newest first, by back link: a look-up by row id each, however long the log is.
/// A link to a row that was pruned ends the chain.
macro_rules! chain_of_token {
    ($token:literal) => {
        concat!(
            "WITH RECURSIVE chain AS (
                SELECT log.* FROM usage_heads JOIN usage_log AS log ON log.id = last_id
                WHERE usage_heads.token_id = ",
            $token,
            " UNION ALL
                SELECT log.* FROM chain JOIN usage_log AS log ON log.id = chain.id - chain.back
                WHERE chain.back > 0
            ) "
        )
    };
}
pub(super) use chain_of_token;

macro_rules! record_columns {
    () => {
        "SELECT at, token_id, method.text, method, route.text, route, status, outcome, duration_us,
            response_bytes, client_address, agent.text, user_agent, coalesce(cost, 1),
            coalesce(weight, 1) "
    };
}

macro_rules! join_names {
    () => {
        " LEFT JOIN names AS method ON method.id = log.method
          LEFT JOIN names AS route ON route.id = log.route
          LEFT JOIN names AS agent ON agent.id = log.user_agent "
    };
}

const RECENT_OF_TOKEN: &str = concat!(
    chain_of_token!("?2"),
    record_columns!(),
    "FROM (SELECT * FROM chain LIMIT ?1) AS log",
    join_names!()
);
const RECENT_OF_OWNER: &str = concat!(
    record_columns!(),
    "FROM usage_log AS log",
    join_names!(),
    "WHERE token_id IN (SELECT id FROM tokens WHERE owner = ?2) ORDER BY log.id DESC LIMIT ?1"
);
const RECENT: &str = concat!(
    record_columns!(),
    "FROM usage_log AS log",
    join_names!(),
    "ORDER BY log.id DESC LIMIT ?1"
);

impl Reader {
    /// The latest records, newest first in the order of commit.
    pub(crate) fn recent(&self, scope: &Scope, limit: u32) -> Result<Vec<UsageRecord>> {
        let sql = match scope {
            Scope::All => RECENT,
            Scope::Owner(_) => RECENT_OF_OWNER,
            Scope::Token(_) => RECENT_OF_TOKEN,
        };
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = match scope {
            Scope::All => statement.query([limit])?,
            Scope::Owner(owner) => statement.query((limit, owner))?,
            Scope::Token(token) => statement.query((limit, token.as_row()))?,
        };
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            records.push(record(row)?);
        }
        Ok(records)
    }

    /// Whether there is anything to ask about: the token, or a token of the owner.
    pub(crate) fn knows(&self, scope: &Scope) -> Result<bool> {
        let found = match scope {
            Scope::All => Some(()),
            Scope::Owner(owner) => {
                let mut statement =
                    self.0.prepare_cached("SELECT 1 FROM tokens WHERE owner = ?1 LIMIT 1")?;
                statement.query_row([owner], |_| Ok(())).optional()?
            }
            Scope::Token(token) => {
                let mut statement = self.0.prepare_cached("SELECT 1 FROM tokens WHERE id = ?1")?;
                statement.query_row([token.as_row()], |_| Ok(())).optional()?
            }
        };
        Ok(found.is_some())
    }
}

fn record(row: &Row<'_>) -> Result<UsageRecord> {
    let outcome = Outcome::from_code(row.get(7)?).context("a row with an unknown outcome")?;
    Ok(UsageRecord {
        at: Timestamp::from_micros(row.get(0)?).to_date_time(),
        token_id: TokenId::from_row(row.get(1)?),
        method: name(row, 2)?.unwrap_or_default(),
        route: name(row, 4)?.unwrap_or_else(|| UNMATCHED.to_owned()),
        status: row.get(6)?,
        outcome,
        duration: Duration::from_micros(row.get::<_, i64>(8)?.unsigned_abs()),
        response_bytes: row.get::<_, i64>(9)?.unsigned_abs(),
        client_address: address(row.get_ref(10)?),
        user_agent: name(row, 11)?,
        cost: row.get(13)?,
        weight: row.get(14)?,
    })
}

/// A text of a dictionary and, in the column after it, its number: a number without a text is `<other>`.
fn name(row: &Row<'_>, text: usize) -> Result<Option<String>> {
    let name: Option<String> = row.get(text)?;
    let id: Option<i64> = row.get(text + 1)?;
    Ok(name.or_else(|| id.map(|_| OTHER.to_owned())))
}

/// 4 or 16 bytes; an IPv4 address in IPv6 clothes is stored as what it is.
pub(super) fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(value: ValueRef<'_>) -> Option<IpAddr> {
    let bytes = value.as_blob_or_null().ok().flatten()?;
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

//! Everything that is kept of an owner, page by page. Each page is one short read, so that nobody who reads for long
//! keeps the write-ahead log from starting over.

mod sums;

use anyhow::{Context, Result};
use rusqlite::{Connection, Row};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::Reader;
use super::log;
use crate::address::ClientAddress;
use crate::audit::Act;
use crate::reason::DenialReason;
use crate::record::UsageRecord;
use crate::timestamp::Timestamp;
use crate::token::{Token, TokenId};

/// Lines to a page.
const PAGE: i64 = 256;

/// Entries of the audit that one page looks at.
const AUDIT_PAGE: i64 = 4_096;

/// What is exported of each token, one after the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Section {
    Credentials,
    LateUses,
    Addresses,
    UserAgents,
    QuotaWindows,
    Days,
    Hours,
    Records,
}

impl Section {
    pub(crate) const ALL: [Self; 8] = [
        Self::Credentials,
        Self::LateUses,
        Self::Addresses,
        Self::UserAgents,
        Self::QuotaWindows,
        Self::Days,
        Self::Hours,
        Self::Records,
    ];
}

/// Where the next page begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Cursor {
    Start,
    After(i64),
    AfterBytes(Vec<u8>),
}

impl Cursor {
    fn number(&self) -> i64 {
        match self {
            Self::After(number) => *number,
            _ => i64::MIN,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::AfterBytes(bytes) => bytes,
            _ => &[],
        }
    }
}

/// Some lines, and where the next page begins, if there is one.
pub(crate) struct Page {
    pub(crate) lines: Vec<Value>,
    pub(crate) next: Option<Cursor>,
}

const CREDENTIALS: &str = "SELECT id, state, issuer, jti, kid, expires_at, fragment, created_at,
        first_used_at, ends_at, ends_on_use, retired_at
    FROM credentials WHERE token_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
const LATE_USES: &str = "SELECT credential_id, reason, count, first_at, last_at, last_address,
        last_agent, last_route
    FROM late_uses WHERE credential_id IN (SELECT id FROM credentials WHERE token_id = ?1)
    ORDER BY credential_id, reason";
const ADDRESSES: &str = "SELECT address, seen_at FROM token_addresses
    WHERE token_id = ?1 AND address > ?2 ORDER BY address LIMIT ?3";
const USER_AGENTS: &str = "SELECT id, text, used_on FROM names
    WHERE kind = 1 AND brought_by = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
const QUOTA_WINDOWS: &str = "SELECT period, window_number, granted FROM quota_windows
    WHERE token_id = ?1 ORDER BY period";
const AUDIT: &str = "SELECT id, at, actor, actor_token, act, token_id, reason, detail FROM audit
    WHERE id > ?2 AND id <= ?3 AND (actor = ?1
        OR EXISTS (SELECT 1 FROM catalogue WHERE catalogue.id = token_id AND owner = ?1)
        OR EXISTS (SELECT 1 FROM catalogue WHERE catalogue.id = actor_token AND owner = ?1))
    ORDER BY id";
const LAST_ENTRY: &str = "SELECT coalesce(max(id), 0) FROM audit";

impl Reader {
    /// A page of what is kept of a token.
    pub(crate) fn export(&self, token: TokenId, part: Section, from: &Cursor) -> Result<Page> {
        let snapshot = self.0.unchecked_transaction()?;
        match part {
            Section::Credentials => {
                listed(&snapshot, CREDENTIALS, token, from.number(), credential)
            }
            Section::LateUses => all(&snapshot, LATE_USES, token, late_use),
            Section::Addresses => addresses(&snapshot, token, from.bytes()),
            Section::UserAgents => listed(&snapshot, USER_AGENTS, token, from.number(), user_agent),
            Section::QuotaWindows => all(&snapshot, QUOTA_WINDOWS, token, quota_window),
            Section::Days => sums::page(&snapshot, &sums::DAYS, token, from.number()),
            Section::Hours => sums::page(&snapshot, &sums::HOURS, token, from.number()),
            Section::Records => records(&snapshot, token, from),
        }
    }

    /// A page of the audit: what was done to an owner's tokens, by him, or with them.
    pub(crate) fn export_audit(&self, owner: &str, from: &Cursor) -> Result<Page> {
        let snapshot = self.0.unchecked_transaction()?;
        let start = from.number().max(0);
        let end = start.saturating_add(AUDIT_PAGE);
        let mut statement = snapshot.prepare_cached(AUDIT)?;
        let mut rows = statement.query((owner, start, end))?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            lines.push(audit_entry(row)?);
        }
        let last: i64 = snapshot.prepare_cached(LAST_ENTRY)?.query_row([], |row| row.get(0))?;
        Ok(Page { lines, next: (end < last).then_some(Cursor::After(end)) })
    }
}

type ToLine = fn(TokenId, &Row<'_>) -> Result<Value>;

/// Rows in the order of a number in their first column.
fn listed(
    snapshot: &Connection,
    sql: &str,
    token: TokenId,
    after: i64,
    line: ToLine,
) -> Result<Page> {
    let mut statement = snapshot.prepare_cached(sql)?;
    let mut rows = statement.query((token.as_row(), after, PAGE))?;
    let (mut lines, mut last) = (Vec::new(), after);
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        lines.push(line(token, row)?);
    }
    let is_full = lines.len() as i64 >= PAGE;
    Ok(Page { lines, next: is_full.then_some(Cursor::After(last)) })
}

/// Rows of which there are few.
fn all(snapshot: &Connection, sql: &str, token: TokenId, line: ToLine) -> Result<Page> {
    let mut statement = snapshot.prepare_cached(sql)?;
    let mut rows = statement.query([token.as_row()])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(line(token, row)?);
    }
    Ok(Page { lines, next: None })
}

/// The `state` of a credential in words.
const STATES: [&str; 4] = ["current", "new", "outgoing", "retired"];
/// The `period` of a quota in words.
const PERIODS: [&str; 4] = ["minute", "hour", "day", "month"];

fn word(words: &[&'static str], code: i64) -> Value {
    usize::try_from(code)
        .ok()
        .and_then(|code| words.get(code))
        .map_or(json!(code), |word| json!(word))
}

fn credential(token: TokenId, row: &Row<'_>) -> Result<Value> {
    Ok(json!({
        "type": "credential",
        "token_id": token,
        "id": row.get::<_, i64>(0)?,
        "state": word(&STATES, row.get(1)?),
        "issuer": row.get::<_, Option<String>>(2)?,
        "jti": row.get::<_, Option<String>>(3)?,
        "kid": row.get::<_, Option<String>>(4)?,
        "expires_at": time(row.get(5)?),
        "fragment": row.get::<_, String>(6)?,
        "created_at": time(row.get(7)?),
        "first_used_at": time(row.get(8)?),
        "ends_at": time(row.get(9)?),
        "ends_on_use": row.get::<_, i64>(10)? != 0,
        "retired_at": time(row.get(11)?),
    }))
}

fn late_use(token: TokenId, row: &Row<'_>) -> Result<Value> {
    let reason = u8::try_from(row.get::<_, i64>(1)?).ok().filter(|reason| *reason > 0);
    Ok(json!({
        "type": "late_use",
        "token_id": token,
        "credential_id": row.get::<_, i64>(0)?,
        "reason": reason.and_then(DenialReason::from_code).map(DenialReason::as_str),
        "count": row.get::<_, i64>(2)?,
        "first_at": time(row.get(3)?),
        "last_at": time(row.get(4)?),
        "last_address": log::address(row.get_ref(5)?),
        "last_agent": row.get::<_, Option<String>>(6)?,
        "last_route": row.get::<_, Option<String>>(7)?,
    }))
}

fn addresses(snapshot: &Connection, token: TokenId, after: &[u8]) -> Result<Page> {
    let mut statement = snapshot.prepare_cached(ADDRESSES)?;
    let mut rows = statement.query((token.as_row(), after, PAGE))?;
    let (mut lines, mut last) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        last = row.get_ref(0)?.as_blob()?.to_vec();
        lines.push(json!({
            "type": "address",
            "token_id": token,
            "address": ClientAddress::from_bytes(&last),
            "seen_at": time(row.get(1)?),
        }));
    }
    let is_full = lines.len() as i64 >= PAGE;
    Ok(Page { lines, next: is_full.then_some(Cursor::AfterBytes(last)) })
}

fn user_agent(token: TokenId, row: &Row<'_>) -> Result<Value> {
    let day: i64 = row.get(2)?;
    Ok(json!({
        "type": "user_agent",
        "token_id": token,
        "user_agent": row.get::<_, String>(1)?,
        "used_on": time(Some(Timestamp::of_hour(day.saturating_mul(24)).as_micros())),
    }))
}

fn quota_window(token: TokenId, row: &Row<'_>) -> Result<Value> {
    Ok(json!({
        "type": "quota_window",
        "token_id": token,
        "period": word(&PERIODS, row.get(0)?),
        "window": row.get::<_, i64>(1)?,
        "granted": row.get::<_, i64>(2)?,
    }))
}

/// From the newest backwards.
fn records(snapshot: &Connection, token: TokenId, from: &Cursor) -> Result<Page> {
    let start = match from {
        Cursor::After(id) => Some(*id),
        _ => log::head(snapshot, token)?,
    };
    let (mut found, mut lines, mut next) = (log::Records::new(snapshot)?, Vec::new(), start);
    while let Some(id) = next.filter(|_| (lines.len() as i64) < PAGE) {
        let Some((record, before)) = found.find(id)? else {
            next = None;
            break;
        };
        lines.push(record_line(&record)?);
        next = before;
    }
    Ok(Page { lines, next: next.map(Cursor::After) })
}

fn record_line(record: &UsageRecord) -> Result<Value> {
    let mut line = serde_json::to_value(record)?;
    line["type"] = json!("record");
    Ok(line)
}

fn audit_entry(row: &Row<'_>) -> Result<Value> {
    let detail: Option<String> = row.get(7)?;
    let detail =
        detail.map(|detail| serde_json::from_str(&detail).unwrap_or(Value::String(detail)));
    Ok(json!({
        "type": "audit",
        "id": row.get::<_, i64>(0)?,
        "at": time(row.get(1)?),
        "actor": row.get::<_, Option<String>>(2)?,
        "actor_token": row.get::<_, Option<i64>>(3)?,
        "act": Act::from_code(row.get(4)?).context("an unknown act in the audit")?.as_str(),
        "token_id": row.get::<_, Option<i64>>(5)?,
        "reason": row.get::<_, Option<String>>(6)?,
        "detail": detail,
    }))
}

/// A token as a line: everything but its secret.
pub(crate) fn token_line(token: &Token) -> Value {
    json!({
        "type": "token",
        "id": token.id,
        "owner": token.owner,
        "name": token.name,
        "kind": token.kind,
        "status": token.status,
        "description": token.description,
        "tags": token.tags,
        "scopes": token.scopes,
        "restrictions": token.restrictions,
        "metadata": token.metadata,
        "fragment": token.fragment,
        "created_at": rfc3339(token.created_at),
        "expires_at": token.expires_at.map(rfc3339),
        "last_used_at": token.last_used.at().map(rfc3339),
        "revocation": token.revocation.as_ref().map(|revocation| json!({
            "at": rfc3339(revocation.at),
            "by": revocation.by,
            "reason": revocation.reason,
        })),
    })
}

fn time(micros: Option<i64>) -> Value {
    micros.map_or(Value::Null, |micros| rfc3339(Timestamp::from_micros(micros).to_date_time()))
}

/// Null for a year that RFC 3339 cannot say.
fn rfc3339(at: time::OffsetDateTime) -> Value {
    at.format(&Rfc3339).map_or(Value::Null, Value::String)
}

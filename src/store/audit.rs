//! The book of administration.

use anyhow::{Context, Result};
use rusqlite::{Connection, Row, named_params};

use super::{Catalogue, Reader};
use crate::audit::{Act, AuditEntry, AuditFilter, Behalf, Deed};
use crate::timestamp::Timestamp;
use crate::token::TokenId;

/// Entries that one step removes.
const STEP: i64 = 1_024;

const ADD: &str = "INSERT INTO audit (at, actor, actor_token, act, token_id, reason, detail)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const LIST: &str = "SELECT id, at, actor, actor_token, act, token_id, reason, detail FROM audit
    WHERE id < :before AND (:token IS NULL OR token_id = :token) AND (:actor IS NULL OR actor = :actor)
        AND (:act IS NULL OR act = :act) AND (:from IS NULL OR at >= :from) AND (:until IS NULL OR at < :until)
    ORDER BY id DESC LIMIT :limit";
const LIST_OF_TOKEN: &str = "SELECT id, at, actor, actor_token, act, token_id, reason, detail FROM audit
    WHERE id < :before AND token_id = :token AND (:actor IS NULL OR actor = :actor)
        AND (:act IS NULL OR act = :act) AND (:from IS NULL OR at >= :from) AND (:until IS NULL OR at < :until)
    ORDER BY id DESC LIMIT :limit";
const FORGET: &str =
    "DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT ?2) AND at < ?1";

impl Catalogue<'_> {
    /// Enters what is done in this transaction.
    pub(crate) fn enter(&self, deeds: &[Deed], behalf: &Behalf, at: Timestamp) -> Result<()> {
        let mut add = self.connection.prepare_cached(ADD)?;
        for deed in deeds {
            add.execute((
                at.as_micros(),
                &behalf.actor,
                behalf.token.map(TokenId::as_row),
                deed.act.code(),
                deed.token.map(TokenId::as_row),
                &behalf.reason,
                &deed.detail,
            ))?;
        }
        Ok(())
    }
}

impl Reader {
    /// Entries, newest first.
    pub(crate) fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEntry>> {
        let sql = if filter.token.is_some() { LIST_OF_TOKEN } else { LIST };
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(named_params! {
            ":before": filter.before.unwrap_or(i64::MAX),
            ":token": filter.token.map(TokenId::as_row),
            ":actor": filter.actor,
            ":act": filter.act.map(Act::code),
            ":from": filter.from.map(Timestamp::as_micros),
            ":until": filter.until.map(Timestamp::as_micros),
            ":limit": limit,
        })?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.push(entry(row)?);
        }
        Ok(entries)
    }
}

fn entry(row: &Row<'_>) -> Result<AuditEntry> {
    let token = |id: Option<i64>| id.map(TokenId::from_row);
    Ok(AuditEntry {
        id: row.get(0)?,
        at: Timestamp::from_micros(row.get(1)?).to_date_time(),
        actor: row.get(2)?,
        actor_token: token(row.get(3)?),
        act: Act::from_code(row.get(4)?).context("an unknown act in the audit")?,
        token_id: token(row.get(5)?),
        reason: row.get(6)?,
        detail: row.get(7)?,
    })
}

/// Removes a step of entries from before this instant. Returns whether there were any.
pub(super) fn prune(transaction: &Connection, before: Timestamp) -> Result<bool> {
    Ok(transaction.prepare_cached(FORGET)?.execute((before.as_micros(), STEP))? > 0)
}

//! The catalogue: tokens, what they are known by, and the numbered changes of their authority.

mod authority;

pub(crate) use authority::Authority;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::instant;
use crate::opaque::TokenHash;
use crate::timestamp::Timestamp;
use crate::token::{
    LastUsed, Revocation, Token, TokenFilter, TokenId, TokenKind, TokenState, TokenStatus,
};

/// What a token is known by.
#[derive(Clone, Debug)]
pub(crate) enum CredentialKey {
    Hash(TokenHash),
    Jwt { issuer: String, jti: String },
}

/// A row of the catalogue.
#[derive(Clone, Debug)]
pub(crate) struct TokenRow {
    pub(crate) id: TokenId,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) kind: TokenKind,
    pub(crate) state: TokenState,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) resource: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) fragment: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) revoked_by: Option<String>,
    pub(crate) revoke_reason: Option<String>,
}

impl TokenRow {
    pub(crate) fn status(&self, now: Timestamp) -> TokenStatus {
        self.state.status(self.expires_at, now)
    }

    /// The row as callers see it. `tracked_since` tells a token that was never used from one whose use
    /// went unseen.
    pub(crate) fn to_token(&self, tracked_since: Option<Timestamp>, now: Timestamp) -> Token {
        let last_used = match (self.last_used_at, tracked_since) {
            (Some(at), _) => LastUsed::At(at.to_date_time()),
            (None, Some(since)) if self.created_at >= since => LastUsed::Never,
            (None, _) => LastUsed::NotTracked,
        };
        let revocation = self.revoked_at.map(|at| Revocation {
            at: at.to_date_time(),
            by: self.revoked_by.clone(),
            reason: self.revoke_reason.clone(),
        });
        Token {
            id: self.id,
            owner: self.owner.clone(),
            name: self.name.clone(),
            kind: self.kind,
            status: self.status(now),
            description: self.description.clone(),
            tags: self.tags.clone(),
            scopes: self.scopes.clone(),
            resource: self.resource.clone(),
            metadata: self.metadata.clone(),
            fragment: self.fragment.clone(),
            created_at: self.created_at.to_date_time(),
            expires_at: self.expires_at.map(Timestamp::to_date_time),
            last_used,
            revocation,
        }
    }
}

/// A look-up: the row, if there is one, and the generation that it is as new as.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) generation: u64,
    pub(crate) row: Option<TokenRow>,
}

/// Changes that were read from the log of changes.
#[derive(Debug)]
pub(crate) struct Changes {
    /// The newest generation there is.
    pub(crate) generation: u64,
    /// Whose authority changed, a token perhaps more than once; `None` where the log does not reach back
    /// far enough to tell.
    pub(crate) tokens: Option<Vec<TokenId>>,
}

/// How many changes are kept for others to read.
const CHANGES_KEPT: i64 = 100_000;

/// The catalogue through one connection: within a transaction where it writes.
pub(crate) struct Catalogue<'a> {
    connection: &'a Connection,
}

macro_rules! token_columns {
    () => {
        "tokens.id, owner, name, tokens.kind, state, description, tags, scopes, resource, metadata,
         fragment, tokens.created_at, expires_at, last_used_at, revoked_at, revoked_by, revoke_reason"
    };
}

/// Row and generation in one statement, so that one snapshot answers both.
macro_rules! find_by {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            token_columns!(),
            ", (SELECT coalesce(max(generation), 0) FROM changes)
             FROM (SELECT 1) LEFT JOIN tokens ON tokens.id = ",
            $condition
        )
    };
}

/// The status as a number, in the order of the states, for comparing with what is asked for.
macro_rules! is_status {
    () => {
        "(:status IS NULL OR :status = CASE
            WHEN state = 2 THEN 2
            WHEN state = 3 OR expires_at <= :now THEN 3
            ELSE state END)"
    };
}

const FIND_JWT: &str =
    find_by!("(SELECT token_id FROM credentials WHERE issuer = ?1 AND jti = ?2)");
const FIND_HASH: &str = find_by!("(SELECT token_id FROM credentials WHERE hash = ?1)");
const FIND_ID: &str = find_by!("?1");
const LIST: &str = concat!(
    "SELECT ",
    token_columns!(),
    " FROM tokens WHERE tokens.id > :after AND (:name IS NULL OR name = :name) AND ",
    is_status!(),
    " ORDER BY tokens.id LIMIT :limit"
);
const LIST_OF_OWNER: &str = concat!(
    "SELECT ",
    token_columns!(),
    " FROM tokens WHERE owner = :owner AND tokens.id > :after
        AND (:name IS NULL OR name = :name) AND ",
    is_status!(),
    " ORDER BY tokens.id LIMIT :limit"
);
const COUNT: &str = concat!(
    "SELECT count(*) FROM tokens
        WHERE (:owner IS NULL OR owner = :owner) AND (:name IS NULL OR name = :name) AND ",
    is_status!()
);
const LIVING_OF_ISSUER: &str =
    "SELECT count(*) FROM credentials JOIN tokens ON tokens.id = token_id
    WHERE issuer = ?1 AND jti IS NOT NULL AND state IN (0, 1)
        AND (expires_at IS NULL OR expires_at > ?2)";
const NAMESAKE: &str = "SELECT id FROM tokens WHERE owner = ?1 AND name = ?2 AND state IN (0, 1)";
const EXPIRE_DUE: &str = "UPDATE tokens SET state = 3 WHERE id IN
    (SELECT id FROM tokens WHERE state IN (0, 1) AND expires_at <= ?1 LIMIT ?2) RETURNING id";
const INSERT: &str = "INSERT INTO tokens
    (owner, name, kind, state, description, tags, scopes, resource, metadata, fragment, created_at,
     expires_at)
    VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) RETURNING id";
const INSERT_CREDENTIAL: &str =
    "INSERT INTO credentials (token_id, issuer, jti, hash, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
const REPLACE: &str = "UPDATE tokens SET name = ?2, state = ?3, description = ?4, tags = ?5,
    scopes = ?6, resource = ?7, metadata = ?8, expires_at = ?9, revoked_at = ?10, revoked_by = ?11,
    revoke_reason = ?12 WHERE id = ?1";
const LOG_CHANGE: &str = "INSERT INTO changes (generation, token_id)
    VALUES ((SELECT coalesce(max(generation), 0) + 1 FROM changes), ?1) RETURNING generation";
const FORGET_CHANGES: &str = "DELETE FROM changes WHERE generation <= ?1";
const GENERATION: &str = "SELECT coalesce(max(generation), 0) FROM changes";
const OLDEST_CHANGE: &str = "SELECT coalesce(min(generation), 0) FROM changes";
const CHANGES: &str = "SELECT generation, token_id FROM changes WHERE generation > ?1";

impl<'a> Catalogue<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    pub(crate) fn find(&self, key: &CredentialKey) -> Result<Found> {
        match key {
            CredentialKey::Jwt { issuer, jti } => {
                let mut statement = self.connection.prepare_cached(FIND_JWT)?;
                statement.query_row((issuer, jti), |row| Ok(found(row)))?
            }
            CredentialKey::Hash(hash) => {
                let mut statement = self.connection.prepare_cached(FIND_HASH)?;
                statement.query_row([hash.0], |row| Ok(found(row)))?
            }
        }
    }

    pub(crate) fn find_id(&self, id: TokenId) -> Result<Found> {
        let mut statement = self.connection.prepare_cached(FIND_ID)?;
        statement.query_row([id.as_row()], |row| Ok(found(row)))?
    }

    pub(crate) fn list(
        &self,
        filter: &TokenFilter,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<TokenRow>> {
        let sql = if filter.owner.is_some() { LIST_OF_OWNER } else { LIST };
        let mut statement = self.connection.prepare_cached(sql)?;
        let after = filter.after.map_or(0, TokenId::as_row);
        let status = filter.status.map(status_code);
        let now = now.as_micros();
        let name = &filter.name;
        let mut rows = match &filter.owner {
            Some(owner) => statement.query(named_params! {
                ":owner": owner, ":after": after, ":name": name, ":status": status, ":now": now,
                ":limit": limit,
            })?,
            None => statement.query(named_params! {
                ":after": after, ":name": name, ":status": status, ":now": now, ":limit": limit,
            })?,
        };
        let mut tokens = Vec::new();
        while let Some(row) = rows.next()? {
            tokens.push(token(row)?);
        }
        Ok(tokens)
    }

    pub(crate) fn count(&self, filter: &TokenFilter, now: Timestamp) -> Result<u64> {
        let mut statement = self.connection.prepare_cached(COUNT)?;
        let count: i64 = statement.query_row(
            named_params! {
                ":owner": filter.owner, ":name": filter.name, ":now": now.as_micros(),
                ":status": filter.status.map(status_code),
            },
            |row| row.get(0),
        )?;
        Ok(count.unsigned_abs())
    }

    /// The newest change.
    pub(crate) fn generation(&self) -> Result<u64> {
        self.number(GENERATION)
    }

    /// What changed after `generation`.
    pub(crate) fn changes_since(&self, generation: u64) -> Result<Changes> {
        let mut statement = self.connection.prepare_cached(CHANGES)?;
        let mut rows = statement.query([i64::try_from(generation)?])?;
        let (mut newest, mut tokens) = (generation, Vec::new());
        while let Some(row) = rows.next()? {
            newest = newest.max(row.get::<_, i64>(0)?.unsigned_abs());
            tokens.push(TokenId::from_row(row.get(1)?));
        }
        let complete = newest == generation || self.number(OLDEST_CHANGE)? <= generation + 1;
        Ok(Changes { generation: newest, tokens: complete.then_some(tokens) })
    }

    fn number(&self, sql: &str) -> Result<u64> {
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([], |row| row.get::<_, i64>(0))?.unsigned_abs())
    }

    /// Logs that the authority of a token changes with this transaction. Returns the generation.
    pub(crate) fn log_change(&self, id: TokenId) -> Result<u64> {
        let mut log = self.connection.prepare_cached(LOG_CHANGE)?;
        let generation: i64 = log.query_row([id.as_row()], |row| row.get(0))?;
        self.connection.prepare_cached(FORGET_CHANGES)?.execute([generation - CHANGES_KEPT])?;
        Ok(generation.unsigned_abs())
    }

    /// How many living tokens of an issuer there are.
    pub(crate) fn living_of_issuer(&self, issuer: &str, now: Timestamp) -> Result<u64> {
        let mut statement = self.connection.prepare_cached(LIVING_OF_ISSUER)?;
        let count: i64 = statement.query_row((issuer, now.as_micros()), |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// The living token of this owner and name, if there is one.
    pub(crate) fn living_namesake(&self, owner: &str, name: &str) -> Result<Option<TokenId>> {
        let mut statement = self.connection.prepare_cached(NAMESAKE)?;
        let found = statement.query_row((owner, name), |row| row.get(0)).optional()?;
        Ok(found.map(TokenId::from_row))
    }

    /// Adds a token (its id is not looked at) and what it is known by.
    pub(crate) fn insert(&self, row: &TokenRow, key: &CredentialKey) -> Result<TokenId> {
        let id: i64 = self.connection.prepare_cached(INSERT)?.query_row(
            params![
                row.owner,
                row.name,
                row.kind.code(),
                row.description,
                serde_json::to_string(&row.tags)?,
                serde_json::to_string(&row.scopes)?,
                row.resource,
                serde_json::to_string(&row.metadata)?,
                row.fragment,
                row.created_at.as_micros(),
                row.expires_at.map(Timestamp::as_micros),
            ],
            |row| row.get(0),
        )?;
        let (issuer, jti, hash) = match key {
            CredentialKey::Jwt { issuer, jti } => (Some(issuer), Some(jti), None),
            CredentialKey::Hash(hash) => (None, None, Some(hash.0)),
        };
        let created_at = row.created_at.as_micros();
        self.connection
            .prepare_cached(INSERT_CREDENTIAL)?
            .execute((id, issuer, jti, hash, created_at))?;
        Ok(TokenId::from_row(id))
    }

    /// Writes back everything of a row that can change. Its last use is not among it: that column has
    /// writers of its own.
    pub(crate) fn replace(&self, row: &TokenRow) -> Result<()> {
        self.connection.prepare_cached(REPLACE)?.execute(params![
            row.id.as_row(),
            row.name,
            row.state.code(),
            row.description,
            serde_json::to_string(&row.tags)?,
            serde_json::to_string(&row.scopes)?,
            row.resource,
            serde_json::to_string(&row.metadata)?,
            row.expires_at.map(Timestamp::as_micros),
            row.revoked_at.map(Timestamp::as_micros),
            row.revoked_by,
            row.revoke_reason,
        ])?;
        Ok(())
    }

    /// Marks up to `most` tokens that are past their expiry.
    pub(crate) fn expire_due(&self, most: u32, now: Timestamp) -> Result<Vec<TokenId>> {
        let mut statement = self.connection.prepare_cached(EXPIRE_DUE)?;
        let mut rows = statement.query((now.as_micros(), most))?;
        let mut expired = Vec::new();
        while let Some(row) = rows.next()? {
            expired.push(TokenId::from_row(row.get(0)?));
        }
        Ok(expired)
    }
}

fn status_code(status: TokenStatus) -> u8 {
    match status {
        TokenStatus::Active => TokenState::Active,
        TokenStatus::Expired => TokenState::MarkedExpired,
        TokenStatus::Revoked => TokenState::Revoked,
        TokenStatus::Suspended => TokenState::Suspended,
    }
    .code()
}

fn found(row: &Row<'_>) -> Result<Found> {
    let generation = row.get::<_, i64>(17)?.unsigned_abs();
    let known = row.get::<_, Option<i64>>(0)?.is_some();
    Ok(Found { generation, row: known.then(|| token(row)).transpose()? })
}

fn token(row: &Row<'_>) -> Result<TokenRow> {
    let json = |column: usize| -> Result<String> { Ok(row.get(column)?) };
    Ok(TokenRow {
        id: TokenId::from_row(row.get(0)?),
        owner: row.get(1)?,
        name: row.get(2)?,
        kind: TokenKind::from_code(row.get(3)?).context("a token of an unknown kind")?,
        state: TokenState::from_code(row.get(4)?).context("a token in an unknown state")?,
        description: row.get(5)?,
        tags: serde_json::from_str(&json(6)?)?,
        scopes: serde_json::from_str(&json(7)?)?,
        resource: row.get(8)?,
        metadata: serde_json::from_str(&json(9)?)?,
        fragment: row.get(10)?,
        created_at: Timestamp::from_micros(row.get(11)?),
        expires_at: instant(row.get(12)?),
        last_used_at: instant(row.get(13)?),
        revoked_at: instant(row.get(14)?),
        revoked_by: row.get(15)?,
        revoke_reason: row.get(16)?,
    })
}

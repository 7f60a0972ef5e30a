//! The catalogue: tokens, what they are known by, and the numbered changes of their authority.

mod authority;
mod list;
mod rotation;
mod row;

pub(crate) use authority::Authority;
pub(crate) use list::{At, Part};
pub(crate) use rotation::Named;
pub(crate) use row::TokenRow;

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::opaque::TokenHash;
use crate::timestamp::Timestamp;
use crate::token::{CredentialId, Phase, TokenId};
use row::{restrictions_column, token, token_columns};

/// What a token is known by.
#[derive(Clone, Debug)]
pub(crate) enum CredentialKey {
    Hash(TokenHash),
    Jwt { issuer: String, jti: String },
}

/// A credential to be added to a token.
#[derive(Clone, Debug)]
pub(crate) struct NewCredential {
    pub(crate) key: CredentialKey,
    /// The name of the key that signed it, where it has one that is known.
    pub(crate) kid: Option<String>,
    /// When it ends by its own word, where that is known.
    pub(crate) expires_at: Option<Timestamp>,
    /// A part of it that helps its owner recognise it and nobody to use it.
    pub(crate) fragment: String,
}

/// A look-up: the row, if there is one.
#[derive(Debug)]
pub(crate) struct Found {
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
    pub(super) connection: &'a Connection,
}

macro_rules! find_by {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            token_columns!(),
            " FROM (SELECT 1) LEFT JOIN catalogue ON catalogue.id = ",
            $condition
        )
    };
}

const FIND_JWT: &str =
    find_by!("(SELECT token_id FROM credentials WHERE issuer = ?1 AND jti = ?2)");
const FIND_HASH: &str = find_by!("(SELECT token_id FROM credentials WHERE hash = ?1)");
const FIND_ID: &str = find_by!("?1");
const LIVING_OF_ISSUER: &str =
    "SELECT count(*) FROM credentials JOIN catalogue ON catalogue.id = token_id
    WHERE issuer = ?1 AND jti IS NOT NULL AND credentials.state < 2 AND catalogue.state IN (0, 1)
        AND (catalogue.expires_at IS NULL OR catalogue.expires_at > ?2)";
const NAMESAKE: &str =
    "SELECT id FROM catalogue WHERE owner = ?1 AND name = ?2 AND state IN (0, 1)";
const EXPIRE_DUE: &str = "UPDATE catalogue SET state = iif(state = 1, 4, 3) WHERE id IN
    (SELECT id FROM catalogue WHERE state IN (0, 1) AND expires_at <= ?1 LIMIT ?2) RETURNING id";
const INSERT: &str = "INSERT INTO catalogue
    (owner, name, kind, state, description, tags, scopes, restrictions, metadata, fragment, created_at,
     expires_at)
    VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) RETURNING id";
const INSERT_CREDENTIAL: &str =
    "INSERT INTO credentials (token_id, state, issuer, jti, hash, kid, expires_at, fragment, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) RETURNING id";
const REPLACE: &str = "UPDATE catalogue SET name = ?2, state = ?3, description = ?4, tags = ?5,
    scopes = ?6, restrictions = ?7, metadata = ?8, expires_at = ?9, revoked_at = ?10, revoked_by = ?11,
    revoke_reason = ?12 WHERE id = ?1";
const REVOKE: &str =
    "UPDATE catalogue SET state = 2, revoked_at = ?2, revoked_by = ?3, revoke_reason = ?4
    WHERE id = ?1 AND state <> 2";
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
    pub(crate) fn insert(&self, row: &TokenRow, credential: &NewCredential) -> Result<TokenId> {
        let id: i64 = self.connection.prepare_cached(INSERT)?.query_row(
            params![
                row.owner,
                row.name,
                row.kind.code(),
                row.description,
                serde_json::to_string(&row.tags)?,
                serde_json::to_string(&row.scopes)?,
                restrictions_column(&row.restrictions)?,
                serde_json::to_string(&row.metadata)?,
                row.fragment,
                row.created_at.as_micros(),
                row.expires_at.map(Timestamp::as_micros),
            ],
            |row| row.get(0),
        )?;
        let id = TokenId::from_row(id);
        self.insert_credential(id, Phase::Current, credential, row.created_at)?;
        Ok(id)
    }

    fn insert_credential(
        &self,
        token: TokenId,
        phase: Phase,
        credential: &NewCredential,
        created_at: Timestamp,
    ) -> Result<CredentialId> {
        let (issuer, jti, hash) = match &credential.key {
            CredentialKey::Jwt { issuer, jti } => (Some(issuer), Some(jti), None),
            CredentialKey::Hash(hash) => (None, None, Some(hash.0)),
        };
        let id = self.connection.prepare_cached(INSERT_CREDENTIAL)?.query_row(
            params![
                token.as_row(),
                phase.code(),
                issuer,
                jti,
                hash,
                credential.kid,
                credential.expires_at.map(Timestamp::as_micros),
                credential.fragment,
                created_at.as_micros(),
            ],
            |row| row.get(0),
        )?;
        Ok(CredentialId::from_row(id))
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
            restrictions_column(&row.restrictions)?,
            serde_json::to_string(&row.metadata)?,
            row.expires_at.map(Timestamp::as_micros),
            row.revoked_at.map(Timestamp::as_micros),
            row.revoked_by,
            row.revoke_reason,
        ])?;
        Ok(())
    }

    /// Revokes those of the tokens that are not, and returns them.
    pub(crate) fn revoke(
        &self,
        tokens: &[TokenId],
        at: Timestamp,
        by: Option<&str>,
        reason: Option<&str>,
    ) -> Result<Vec<TokenId>> {
        let mut statement = self.connection.prepare_cached(REVOKE)?;
        let mut revoked = Vec::with_capacity(tokens.len());
        for token in tokens {
            if statement.execute((token.as_row(), at.as_micros(), by, reason))? > 0 {
                revoked.push(*token);
            }
        }
        Ok(revoked)
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

fn found(row: &Row<'_>) -> Result<Found> {
    let known = row.get::<_, Option<i64>>(0)?.is_some();
    Ok(Found { row: known.then(|| token(row)).transpose()? })
}

//! The part of the catalogue that a first sight of a token asks for.

use anyhow::{Context, Result};
use rusqlite::{OptionalExtension, Row};

use super::row::restrictions;
use super::{Catalogue, CredentialKey};
use crate::restrictions::Restrictions;
use crate::store::instant;
use crate::timestamp::Timestamp;
use crate::token::{CredentialId, Phase, Standing, TokenId, TokenKind, TokenState};

/// What requests of a token are judged by, and the generation that it is as new as. Reading all columns of
/// the row costs a tenth more of a first sight.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) generation: u64,
    pub(crate) id: TokenId,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) kind: TokenKind,
    pub(crate) state: TokenState,
    pub(crate) scopes: Vec<String>,
    pub(crate) restrictions: Option<Restrictions>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) standing: Standing,
}

/// Row and generation in one statement, so that one snapshot answers both.
macro_rules! authority_by {
    ($condition:literal) => {
        concat!(
            "SELECT (SELECT coalesce(max(generation), 0) FROM changes), catalogue.id, owner, name, kind,
             catalogue.state, scopes, restrictions, catalogue.expires_at, last_used_at, credentials.id, credentials.state, ends_at
             FROM credentials JOIN catalogue ON catalogue.id = token_id WHERE ",
            $condition
        )
    };
}

const AUTHORITY_OF_JWT: &str = authority_by!("issuer = ?1 AND jti = ?2");
const AUTHORITY_OF_HASH: &str = authority_by!("hash = ?1");
const AUTHORITY_OF_CREDENTIAL: &str = authority_by!("credentials.id = ?1");

impl Catalogue<'_> {
    /// What the token of a credential may do, if the catalogue has it.
    pub(crate) fn authority(&self, key: &CredentialKey) -> Result<Option<Authority>> {
        let found = match key {
            CredentialKey::Jwt { issuer, jti } => {
                let mut statement = self.connection.prepare_cached(AUTHORITY_OF_JWT)?;
                statement.query_row((issuer, jti), |row| Ok(authority(row))).optional()?
            }
            CredentialKey::Hash(hash) => {
                let mut statement = self.connection.prepare_cached(AUTHORITY_OF_HASH)?;
                statement.query_row([hash.0], |row| Ok(authority(row))).optional()?
            }
        };
        found.transpose()
    }

    /// What the token of a credential may do, by the credential's number.
    pub(crate) fn authority_of(&self, id: CredentialId) -> Result<Option<Authority>> {
        let mut statement = self.connection.prepare_cached(AUTHORITY_OF_CREDENTIAL)?;
        statement.query_row([id.as_row()], |row| Ok(authority(row))).optional()?.transpose()
    }
}

fn authority(row: &Row<'_>) -> Result<Authority> {
    let scopes = row.get_ref(6)?.as_str()?;
    Ok(Authority {
        generation: row.get::<_, i64>(0)?.unsigned_abs(),
        id: TokenId::from_row(row.get(1)?),
        owner: row.get(2)?,
        name: row.get(3)?,
        kind: TokenKind::from_code(row.get(4)?).context("a token of an unknown kind")?,
        state: TokenState::from_code(row.get(5)?).context("a token in an unknown state")?,
        scopes: serde_json::from_str(scopes)?,
        restrictions: restrictions(row, 7)?,
        expires_at: instant(row.get(8)?),
        last_used_at: instant(row.get(9)?),
        standing: Standing::new(
            CredentialId::from_row(row.get(10)?),
            phase(row.get(11)?)?,
            instant(row.get(12)?),
        ),
    })
}

pub(super) fn phase(code: u8) -> Result<Phase> {
    Phase::from_code(code).context("a credential in an unknown state")
}

//! A token as a row.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rusqlite::Row;

use crate::restrictions::Restrictions;
use crate::store::instant;
use crate::timestamp::Timestamp;
use crate::token::{
    CredentialId, LastUsed, Revocation, Token, TokenId, TokenKind, TokenState, TokenStatus,
};

/// A row of the catalogue.
#[derive(Clone, Debug)]
pub(crate) struct TokenRow {
    pub(crate) id: TokenId,
    /// The one that its clients surely have.
    pub(crate) credential: CredentialId,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) kind: TokenKind,
    pub(crate) state: TokenState,
    pub(crate) description: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) restrictions: Restrictions,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) fragment: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) revoked_by: Option<String>,
    pub(crate) revoke_reason: Option<String>,
}

/// The columns of a row, in the order in which [`token`] reads them. The last is the credential that its clients surely
/// have: the current one, else the one that was replaced last, else the new one; a step or two in an index.
macro_rules! token_columns {
    () => {
        "catalogue.id, owner, name, catalogue.kind, catalogue.state, description, tags, scopes, restrictions, metadata,
         catalogue.fragment, catalogue.created_at, catalogue.expires_at, last_used_at, revoked_at, revoked_by,
         revoke_reason,
         coalesce((SELECT max(id) FROM credentials WHERE token_id = catalogue.id AND credentials.state = 0),
            (SELECT max(id) FROM credentials WHERE token_id = catalogue.id AND credentials.state = 2),
            (SELECT max(id) FROM credentials WHERE token_id = catalogue.id AND credentials.state = 1),
            (SELECT max(id) FROM credentials WHERE token_id = catalogue.id), 0)"
    };
}
pub(super) use token_columns;

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
            restrictions: self.restrictions.clone(),
            metadata: self.metadata.clone(),
            fragment: self.fragment.clone(),
            credential_id: self.credential,
            created_at: self.created_at.to_date_time(),
            expires_at: self.expires_at.map(Timestamp::to_date_time),
            last_used,
            revocation,
        }
    }
}

pub(super) fn token(row: &Row<'_>) -> Result<TokenRow> {
    let json = |column: usize| -> Result<String> { Ok(row.get(column)?) };
    Ok(TokenRow {
        id: TokenId::from_row(row.get(0)?),
        owner: row.get(1)?,
        name: row.get(2)?,
        kind: kind(row.get(3)?)?,
        state: TokenState::from_code(row.get(4)?).context("a token in an unknown state")?,
        description: row.get(5)?,
        tags: serde_json::from_str(&json(6)?)?,
        scopes: serde_json::from_str(&json(7)?)?,
        restrictions: restrictions(row, 8)?.unwrap_or_default(),
        metadata: serde_json::from_str(&json(9)?)?,
        fragment: row.get(10)?,
        created_at: Timestamp::from_micros(row.get(11)?),
        expires_at: instant(row.get(12)?),
        last_used_at: instant(row.get(13)?),
        revoked_at: instant(row.get(14)?),
        revoked_by: row.get(15)?,
        revoke_reason: row.get(16)?,
        credential: CredentialId::from_row(row.get(17)?),
    })
}

pub(super) fn kind(code: u8) -> Result<TokenKind> {
    TokenKind::from_code(code).context("a token of an unknown kind")
}

/// What cannot be read is an error, not a token without restrictions.
pub(super) fn restrictions(row: &Row<'_>, column: usize) -> Result<Option<Restrictions>> {
    let text = row.get_ref(column)?.as_str_or_null()?;
    Ok(text.map(serde_json::from_str).transpose()?)
}

pub(super) fn restrictions_column(restrictions: &Restrictions) -> Result<Option<String>> {
    let some = (!restrictions.is_empty()).then(|| serde_json::to_string(restrictions));
    Ok(some.transpose()?)
}

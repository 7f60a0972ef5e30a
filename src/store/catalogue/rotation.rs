//! The credentials of a token, and how one gives way to the next.

use anyhow::Result;
use rusqlite::{OptionalExtension, Row, params};

use super::authority::phase;
use super::row::kind;
use super::{Catalogue, NewCredential};
use crate::credential::{Credential, shown_state};
use crate::store::instant;
use crate::timestamp::Timestamp;
use crate::token::{CredentialId, Phase, Standing, TokenId, TokenKind};

/// A credential that somebody named, with what its successor is made for.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) token: TokenId,
    pub(crate) owner: String,
    pub(crate) kind: TokenKind,
    /// The token's own expiry.
    pub(crate) expires_at: Option<Timestamp>,
    /// Who signed it; `None` for an opaque one.
    pub(crate) issuer: Option<String>,
}

const NAMED: &str = "SELECT catalogue.id, owner, kind, catalogue.expires_at, issuer
    FROM credentials JOIN catalogue ON catalogue.id = token_id WHERE credentials.id = ?1";
const LIVING: &str =
    "SELECT id, state, ends_at FROM credentials WHERE token_id = ?1 AND state IN (0, 1, 2)";
/// A credential that was never current has no end of its own.
const REPLACED_BEFORE: &str = "SELECT max(id) FROM credentials
    WHERE token_id = ?1 AND id < ?2 AND (ends_at IS NOT NULL OR ends_on_use = 1)";
const NEWEST: &str = "SELECT max(id) FROM credentials WHERE token_id = ?1";
const MARK_LAPSED: &str = "UPDATE credentials SET state = 3, retired_at = ends_at
    WHERE token_id = ?1 AND state = 2 AND ends_at <= ?2";
const END_ALL: &str = "UPDATE credentials SET state = 3,
        ends_at = CASE state WHEN 1 THEN NULL ELSE min(coalesce(ends_at, ?2), ?2) END,
        retired_at = CASE state WHEN 1 THEN ?2 ELSE min(coalesce(ends_at, ?2), ?2) END
    WHERE token_id = ?1 AND state IN (0, 1, 2)";
const END_UNUSED: &str =
    "UPDATE credentials SET state = 3, retired_at = ?2 WHERE token_id = ?1 AND state = 1";
const SEND_OUT: &str = "UPDATE credentials SET state = 2, ends_at = ?2, ends_on_use = ?3
    WHERE id = ?1 AND (state = 0 OR (state = 2 AND (ends_at IS NULL OR ends_at > ?4)))";
const SET_FRAGMENT: &str = "UPDATE catalogue SET fragment = ?2 WHERE id = ?1";
const PROMOTE: &str = "UPDATE credentials SET state = 0, first_used_at = ?2
    WHERE id = ?1 AND state = 1 RETURNING token_id";
/// One whose deadline came first ended there.
const END_ON_USE: &str =
    "UPDATE credentials SET state = 3, retired_at = min(coalesce(ends_at, ?2), ?2)
    WHERE token_id = ?1 AND state = 2 AND ends_on_use = 1 RETURNING id, ends_at IS NULL OR ends_at > ?2";
const CREDENTIALS: &str = "SELECT credentials.id, credentials.fragment, kind, credentials.state,
        credentials.created_at, first_used_at, ends_at, retired_at
    FROM credentials JOIN catalogue ON catalogue.id = token_id WHERE token_id = ?1
    ORDER BY credentials.id DESC LIMIT ?2";

impl Catalogue<'_> {
    pub(crate) fn named(&self, id: CredentialId) -> Result<Option<Named>> {
        let mut statement = self.connection.prepare_cached(NAMED)?;
        statement.query_row([id.as_row()], |row| Ok(named(row))).optional()?.transpose()
    }

    /// The credentials of a token that nobody ended; the deadline of some may have passed.
    pub(crate) fn living_credentials(&self, token: TokenId) -> Result<Vec<Standing>> {
        let mut statement = self.connection.prepare_cached(LIVING)?;
        let mut rows = statement.query([token.as_row()])?;
        let mut living = Vec::new();
        while let Some(row) = rows.next()? {
            let id = CredentialId::from_row(row.get(0)?);
            living.push(Standing::new(id, phase(row.get(1)?)?, instant(row.get(2)?)));
        }
        Ok(living)
    }

    /// The credential that another one took the place of.
    pub(crate) fn replaced_by(
        &self,
        token: TokenId,
        id: CredentialId,
    ) -> Result<Option<CredentialId>> {
        let mut statement = self.connection.prepare_cached(REPLACED_BEFORE)?;
        let found: Option<i64> =
            statement.query_row((token.as_row(), id.as_row()), |row| row.get(0))?;
        Ok(found.map(CredentialId::from_row))
    }

    /// The newest credential of a token.
    pub(crate) fn newest_credential(&self, token: TokenId) -> Result<CredentialId> {
        let mut statement = self.connection.prepare_cached(NEWEST)?;
        Ok(CredentialId::from_row(statement.query_row([token.as_row()], |row| row.get(0))?))
    }

    /// Marks those whose deadline has passed, so that no later terms bring them back.
    pub(crate) fn mark_lapsed(&self, token: TokenId, now: Timestamp) -> Result<()> {
        let mut mark = self.connection.prepare_cached(MARK_LAPSED)?;
        mark.execute((token.as_row(), now.as_micros()))?;
        Ok(())
    }

    /// Ends every credential of a token.
    pub(crate) fn end_all(&self, token: TokenId, now: Timestamp) -> Result<()> {
        let mut end = self.connection.prepare_cached(END_ALL)?;
        end.execute((token.as_row(), now.as_micros()))?;
        Ok(())
    }

    /// Ends the credential that was handed out and not used.
    pub(crate) fn end_unused(&self, token: TokenId, now: Timestamp) -> Result<()> {
        let mut end = self.connection.prepare_cached(END_UNUSED)?;
        end.execute((token.as_row(), now.as_micros()))?;
        Ok(())
    }

    /// Puts a credential on its way out, or gives one that is on it other terms. One that is over stays so.
    pub(crate) fn send_out(
        &self,
        id: CredentialId,
        ends_at: Option<Timestamp>,
        ends_on_use: bool,
        now: Timestamp,
    ) -> Result<()> {
        let mut send = self.connection.prepare_cached(SEND_OUT)?;
        let ends_at = ends_at.map(Timestamp::as_micros);
        send.execute((id.as_row(), ends_at, ends_on_use, now.as_micros()))?;
        Ok(())
    }

    /// Adds a credential that nobody has used yet. The token shows its fragment from now on.
    pub(crate) fn hand_out(
        &self,
        token: TokenId,
        credential: &NewCredential,
        now: Timestamp,
    ) -> Result<CredentialId> {
        let id = self.insert_credential(token, Phase::New, credential, now)?;
        let mut show = self.connection.prepare_cached(SET_FRAGMENT)?;
        show.execute((token.as_row(), &credential.fragment))?;
        Ok(id)
    }

    /// A new credential is used for the first time. Returns its token; `None` where it is not new any longer.
    pub(crate) fn promote(&self, id: CredentialId, now: Timestamp) -> Result<Option<TokenId>> {
        let mut promote = self.connection.prepare_cached(PROMOTE)?;
        let token = promote.query_row((id.as_row(), now.as_micros()), |row| row.get(0));
        Ok(token.optional()?.map(TokenId::from_row))
    }

    /// Ends what the first use of a new credential ends. Returns those that it was for this use to end.
    pub(crate) fn end_on_use(&self, token: TokenId, now: Timestamp) -> Result<Vec<CredentialId>> {
        let mut end = self.connection.prepare_cached(END_ON_USE)?;
        let mut rows = end.query((token.as_row(), now.as_micros()))?;
        let mut ended = Vec::new();
        while let Some(row) = rows.next()? {
            if row.get(1)? {
                ended.push(CredentialId::from_row(row.get(0)?));
            }
        }
        Ok(ended)
    }

    /// The newest credentials of a token, newest first, without their late use.
    pub(crate) fn credentials(
        &self,
        token: TokenId,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Credential>> {
        let mut statement = self.connection.prepare_cached(CREDENTIALS)?;
        let mut rows = statement.query(params![token.as_row(), limit])?;
        let mut credentials = Vec::new();
        while let Some(row) = rows.next()? {
            credentials.push(credential(row, now)?);
        }
        Ok(credentials)
    }
}

fn named(row: &Row<'_>) -> Result<Named> {
    Ok(Named {
        token: TokenId::from_row(row.get(0)?),
        owner: row.get(1)?,
        kind: kind(row.get(2)?)?,
        expires_at: instant(row.get(3)?),
        issuer: row.get(4)?,
    })
}

fn credential(row: &Row<'_>, now: Timestamp) -> Result<Credential> {
    let (ends_at, retired_at) = (instant(row.get(6)?), instant(row.get(7)?));
    let (state, retired_at) = shown_state(phase(row.get(3)?)?, ends_at, retired_at, now);
    Ok(Credential {
        id: CredentialId::from_row(row.get(0)?),
        fragment: row.get(1)?,
        kind: kind(row.get(2)?)?,
        state,
        created_at: Timestamp::from_micros(row.get(4)?).to_date_time(),
        first_used_at: instant(row.get(5)?).map(Timestamp::to_date_time),
        ends_at: ends_at.map(Timestamp::to_date_time),
        retired_at: retired_at.map(Timestamp::to_date_time),
        late_uses: Vec::new(),
    })
}

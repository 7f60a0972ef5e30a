//! Changing tokens: what they may do, and whether they may do anything.

use serde_json::{Map, Value};

use super::Tokens;
use super::change::{Changed, Effect, edit, revoked};
use crate::audit::{Act, Deed};
use crate::error::Error;
use crate::store::TokenRow;
use crate::timestamp::Timestamp;
use crate::token::{Token, TokenId, TokenState, TokenUpdate};

/// Tokens to a step of [`Tokens::mark_expired`]: a few milliseconds each.
const EXPIRE_STEP: u32 = 1_000;

/// What became of a revocation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Revoked {
    /// The token was revoked before; when, by whom and why stays as it was.
    Already,
    /// The token is revoked from now on.
    Now,
    /// There is no such token, so that nothing can be done with it either (RFC 7009 §2.2).
    Unknown,
}

impl Tokens<'_> {
    /// Changes a token, from its next request on.
    ///
    /// # Errors
    /// `InvalidInput` names the field; `NotFound`; `Revoked`, which is final; `AlreadyExists` where the
    /// name, or the name of a token that comes back to life, is taken.
    pub fn update(&self, id: TokenId, update: TokenUpdate) -> Result<Token, Error> {
        update.validate()?;
        let now = self.engine.now();
        let expiry = update.expiry.map(|expiry| expiry.resolve(now)).transpose()?;
        let trusted = self.trusted_now();
        let row = self.change(move |catalogue| {
            edit(catalogue, id, trusted, Act::Update, |row| {
                if let Some(expires_at) = expiry {
                    row.expires_at = expires_at;
                    let alive = expires_at.is_none_or(|expires_at| now < expires_at);
                    if alive {
                        row.state = row.state.revived();
                    }
                }
                apply(row, update);
            })
        })?;
        Ok(self.show(&row, now))
    }

    /// Revokes a token for good, from the next call on. Repeating it is success.
    ///
    /// # Errors
    /// `InvalidInput` where the reason has more than 500 bytes or control characters.
    pub fn revoke(&self, id: TokenId, reason: &str) -> Result<Revoked, Error> {
        let now = self.engine.now();
        let behalf = self.behalf.because(reason);
        let (by, reason) = (behalf.actor.clone(), behalf.reason.clone());
        self.for_reason(behalf).refuse(id, TokenState::Revoked, move |catalogue| {
            let Some(mut row) = catalogue.find_id(id)?.row else {
                return Ok(Changed::nothing(Revoked::Unknown));
            };
            if row.state == TokenState::Revoked {
                return Ok(Changed::nothing(Revoked::Already));
            }
            row.state = TokenState::Revoked;
            (row.revoked_at, row.revoked_by, row.revoke_reason) = (Some(now), by, reason);
            catalogue.replace(&row)?;
            Ok(Changed::of(Revoked::Now, vec![id]).noting(Deed::of(Act::Revoke, id)))
        })
    }

    /// Refuses a token until it is resumed, from the next call on, whatever becomes of its expiry meanwhile.
    ///
    /// # Errors
    /// `NotFound`; `Revoked`.
    pub fn suspend(&self, id: TokenId) -> Result<Token, Error> {
        let now = self.engine.now();
        let trusted = self.trusted_now();
        let row = self.refuse(id, TokenState::Suspended, move |catalogue| {
            edit(catalogue, id, trusted, Act::Suspend, |row| row.state = row.state.suspended())
        })?;
        Ok(self.show(&row, now))
    }

    /// Ends a suspension. A token that is past its expiry stays so until that is edited.
    ///
    /// # Errors
    /// `NotFound`; `Revoked`.
    pub fn resume(&self, id: TokenId) -> Result<Token, Error> {
        let now = self.engine.now();
        if self.engine.cache.is_revoked(id) {
            return Err(revoked());
        }
        let trusted = self.trusted_now();
        let row = self.change(move |catalogue| {
            let resumed = edit(catalogue, id, trusted, Act::Resume, |row| {
                row.state = row.state.resumed();
            })?;
            Ok(resumed.with(Effect::Lifts(id)))
        })?;
        Ok(self.show(&row, now))
    }

    /// Marks the tokens that are past their expiry, which frees their names, in steps of 1,000. They were
    /// refused before. Returns how many there were.
    ///
    /// # Errors
    /// See [`Tokens`]; `ClockInDoubt` where the clock may be wrong.
    pub fn mark_expired(&self) -> Result<u64, Error> {
        let now = self.engine.upkeep.check_clock()?;
        let mut marked = 0;
        loop {
            let step = self.change(move |catalogue| {
                let tokens = catalogue.expire_due(EXPIRE_STEP, now)?;
                let deeds = tokens.iter().map(|token| Deed::of(Act::Expire, *token)).collect();
                Ok(Changed { deeds, ..Changed::of(tokens.len() as u64, tokens) })
            })?;
            marked += step;
            if step < u64::from(EXPIRE_STEP) {
                return Ok(marked);
            }
        }
    }
}

fn apply(row: &mut TokenRow, update: TokenUpdate) {
    row.name = update.name.unwrap_or(std::mem::take(&mut row.name));
    row.description = update.description.unwrap_or(row.description.take());
    row.tags = update.tags.unwrap_or(std::mem::take(&mut row.tags));
    row.scopes = update.scopes.unwrap_or(std::mem::take(&mut row.scopes));
    row.restrictions = update.restrictions.unwrap_or(std::mem::take(&mut row.restrictions));
    row.metadata = update.metadata.unwrap_or(std::mem::take(&mut row.metadata));
}

/// What differs between two states of a token, each field with its values before and after, for the book.
pub(super) fn difference(before: &TokenRow, after: &TokenRow) -> anyhow::Result<Option<String>> {
    let (before, after) = (fields(before)?, fields(after)?);
    let differing: Map<String, Value> = before
        .into_iter()
        .zip(after)
        .filter(|((_, before), (_, after))| before != after)
        .map(|((name, before), (_, after))| (name.to_owned(), Value::Array(vec![before, after])))
        .collect();
    let some = (!differing.is_empty()).then(|| serde_json::to_string(&differing));
    Ok(some.transpose()?)
}

fn fields(row: &TokenRow) -> anyhow::Result<[(&'static str, Value); 8]> {
    Ok([
        ("name", row.name.as_str().into()),
        ("status", row.state.as_str().into()),
        ("description", row.description.as_deref().into()),
        ("tags", row.tags.as_slice().into()),
        ("scopes", row.scopes.as_slice().into()),
        ("restrictions", serde_json::to_value(&row.restrictions)?),
        ("metadata", serde_json::to_value(&row.metadata)?),
        ("expires_at", row.expires_at.and_then(Timestamp::to_text).into()),
    ])
}

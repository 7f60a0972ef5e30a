//! The catalogue for administrators, and the one place that keeps cache and store coherent.

mod adopt;
mod change;

use std::fmt;

use uuid::Builder as UuidBuilder;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::jwt::NewClaims;
use crate::opaque;
use crate::secret::{Secret, random};
use crate::store::{CredentialKey, TokenRow, to_error};
use crate::timestamp::Timestamp;
use crate::token::{
    Issued, NewToken, Token, TokenFilter, TokenId, TokenKind, TokenPage, TokenState, TokenUpdate,
    check_text,
};
use change::{Changed, Effect, edit, free_name, not_found, revoked};

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

/// The catalogue: makes tokens, shows them, and changes what they may do.
///
/// Changes go through the writer's thread before any usage, block until they are on the disk, whatever the
/// [`Durability`](crate::Durability) of records is, and take effect in this process before that: a revoked token is refused by the
/// next call, whatever is cached. Every other process on the file follows within 250 ms.
///
/// # Errors
/// Each call fails with `Closed` once the tracker is closed, and with `Storage` or `Busy` where the file
/// cannot be read or written. The kind is `NotDurable` where a refusal is in force in this process and
/// could not be stored, and where it is unknown whether a change was: the call is to be repeated.
#[derive(Clone)]
pub struct Tokens<'t> {
    engine: &'t Engine,
    actor: Option<String>,
}

impl<'t> Tokens<'t> {
    pub(crate) fn new(engine: &'t Engine) -> Self {
        Self { engine, actor: None }
    }

    /// The same catalogue, in the name of `actor`: whoever revokes is kept with the revocation. Up to 320
    /// bytes.
    #[must_use]
    pub fn acting_as(mut self, actor: impl Into<String>) -> Self {
        self.actor = Some(actor.into());
        self
    }

    /// Makes a token. The secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// `InvalidInput` names the field that is out of bounds. `AlreadyExists` where a living token of this
    /// owner has the name.
    pub fn issue(&self, new: NewToken) -> Result<Issued, Error> {
        new.validate()?;
        let now = self.engine.now();
        let expires_at = future(new.expiry.resolve(now)?, now)?;
        let (secret, key, fragment) = match new.kind {
            TokenKind::Opaque => self.make_opaque()?,
            _ => self.make_jwt(&new, now, expires_at)?,
        };
        let token = self.insert(new, key, fragment, expires_at, now)?;
        Ok(Issued { token, secret })
    }

    /// Makes a JWT known that was issued elsewhere with one of the configured keys, by its issuer (the
    /// first configured one, unless said) and its `jti`, 1 to 256 bytes.
    ///
    /// # Errors
    /// As [`Tokens::issue`]; `AlreadyExists` also where the `jti` is known.
    pub fn register(&self, new: NewToken, issuer: Option<&str>, jti: &str) -> Result<Token, Error> {
        new.validate()?;
        check_text("jti", jti, 1, 256)?;
        if new.kind == TokenKind::Opaque {
            return Err(Error::invalid("kind", "must be a JWT to have a `jti`"));
        }
        let issuer = self.engine.issuers().named(issuer)?.name().to_owned();
        let now = self.engine.now();
        let expires_at = new.expiry.resolve(now)?;
        let key = CredentialKey::Jwt { issuer, jti: jti.to_owned() };
        self.insert(new, key, fragment_of(jti), expires_at, now)
    }

    /// One token, living or dead.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&self, id: TokenId) -> Result<Token, Error> {
        let found = self.engine.store.ask(|reader| reader.catalogue().find_id(id));
        let row = found.map_err(to_error)?.row.ok_or_else(not_found)?;
        Ok(self.show(&row, self.engine.now()))
    }

    /// A page of tokens, oldest first, living and dead.
    ///
    /// # Errors
    /// `InvalidInput` where the limit is out of bounds.
    pub fn list(&self, filter: &TokenFilter) -> Result<TokenPage, Error> {
        let limit = filter.page_size()?;
        let now = self.engine.now();
        let rows = self.engine.store.ask(|reader| {
            // One more than a page tells whether there is another.
            reader.catalogue().list(filter, limit + 1, now)
        });
        let rows = rows.map_err(to_error)?;
        let shown = rows.iter().take(limit as usize);
        let tokens: Vec<Token> = shown.map(|row| self.show(row, now)).collect();
        let more = rows.len() > tokens.len();
        let next = tokens.last().filter(|_| more).map(|token| token.id);
        Ok(TokenPage { tokens, next })
    }

    /// How many tokens the filter finds, whatever its page.
    ///
    /// # Errors
    /// See [`Tokens`].
    pub fn count(&self, filter: &TokenFilter) -> Result<u64, Error> {
        let now = self.engine.now();
        let count = self.engine.store.ask(|reader| reader.catalogue().count(filter, now));
        count.map_err(to_error)
    }

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
            edit(catalogue, id, trusted, |row| {
                if let Some(expires_at) = expiry {
                    row.expires_at = expires_at;
                    let alive = expires_at.is_none_or(|expires_at| now < expires_at);
                    if row.state == TokenState::MarkedExpired && alive {
                        row.state = TokenState::Active;
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
        check_text("reason", reason, 0, 500)?;
        check_text("actor", self.actor.as_deref().unwrap_or_default(), 0, 320)?;
        let (now, by) = (self.engine.now(), self.actor.clone());
        let reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        self.refuse(id, TokenState::Revoked, move |catalogue| {
            let Some(mut row) = catalogue.find_id(id)?.row else {
                return Ok(Changed::nothing(Revoked::Unknown));
            };
            if row.state == TokenState::Revoked {
                return Ok(Changed::nothing(Revoked::Already));
            }
            row.state = TokenState::Revoked;
            (row.revoked_at, row.revoked_by, row.revoke_reason) = (Some(now), by, reason);
            catalogue.replace(&row)?;
            Ok(Changed { value: Revoked::Now, tokens: vec![id], effect: Effect::None })
        })
    }

    /// Refuses a token until it is resumed, from the next call on.
    ///
    /// # Errors
    /// `NotFound`; `Revoked`.
    pub fn suspend(&self, id: TokenId) -> Result<Token, Error> {
        let now = self.engine.now();
        let trusted = self.trusted_now();
        let row = self.refuse(id, TokenState::Suspended, move |catalogue| {
            edit(catalogue, id, trusted, |row| row.state = TokenState::Suspended)
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
            let resumed = edit(catalogue, id, trusted, |row| {
                if row.state == TokenState::Suspended {
                    row.state = TokenState::Active;
                }
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
                Ok(Changed { value: tokens.len() as u64, tokens, effect: Effect::None })
            })?;
            marked += step;
            if step < u64::from(EXPIRE_STEP) {
                return Ok(marked);
            }
        }
    }

    fn make_opaque(&self) -> Result<(Secret, CredentialKey, String), Error> {
        let secret = self.engine.opaque_prefix.generate()?;
        let (text, shown) = (secret.expose(), secret.expose().len() - 4);
        let prefix = &text[..text.find('_').map_or(0, |at| at + 1)];
        let fragment = format!("{prefix}…{}", &text[shown..]);
        let key = CredentialKey::Hash(opaque::hash(text));
        Ok((secret, key, fragment))
    }

    fn make_jwt(
        &self,
        new: &NewToken,
        now: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Result<(Secret, CredentialKey, String), Error> {
        let issuer = self.engine.issuers().signing_issuer()?.name().to_owned();
        let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
        let jti = UuidBuilder::from_unix_timestamp_millis(millis, &random::<10>()?).into_uuid();
        let jti = jti.to_string();
        let secret = self.engine.issuers().sign(&NewClaims {
            subject: &new.owner,
            token_id: &jti,
            issued_at: now,
            expires_at,
            marked: new.kind == TokenKind::Jwt,
        })?;
        if secret.expose().len() > self.engine.max_token_length {
            let message = "is shorter than the token would be: shorten owner, issuer or audience";
            return Err(Error::invalid("max_token_length", message));
        }
        let fragment = fragment_of(&jti);
        Ok((secret, CredentialKey::Jwt { issuer, jti }, fragment))
    }

    fn insert(
        &self,
        new: NewToken,
        key: CredentialKey,
        fragment: String,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Token, Error> {
        let mut row = new_row(new, fragment, expires_at, now);
        let trusted = self.trusted_now();
        let row = self.change(move |catalogue| {
            if catalogue.find(&key)?.row.is_some() {
                let error = Error::new(ErrorKind::AlreadyExists, "the `jti` is known already");
                return Err(error.naming("jti").into());
            }
            let tokens = free_name(catalogue, &row, trusted)?;
            row.id = catalogue.insert(&row, &key)?;
            let effect = Effect::Forgets(row.id);
            Ok(Changed { value: row, tokens, effect })
        })?;
        Ok(self.show(&row, now))
    }

    /// The time, if anything may be marked by it.
    fn trusted_now(&self) -> Option<Timestamp> {
        self.engine.upkeep.clock.trusted_now()
    }

    fn show(&self, row: &TokenRow, now: Timestamp) -> Token {
        row.to_token(self.engine.tracked_since, now)
    }
}

impl fmt::Debug for Tokens<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("actor", &self.actor).finish_non_exhaustive()
    }
}

fn future(expires_at: Option<Timestamp>, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    if expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(Error::invalid("expires_at", "must be in the future"));
    }
    Ok(expires_at)
}

/// The ends of a `jti`: enough to recognise a token by, and in itself no secret.
fn fragment_of(jti: &str) -> String {
    if jti.len() <= 16 || !jti.is_ascii() {
        return jti.chars().take(16).collect();
    }
    format!("{}…{}", &jti[..8], &jti[jti.len() - 4..])
}

fn new_row(
    new: NewToken,
    fragment: String,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> TokenRow {
    TokenRow {
        id: TokenId::from_row(0),
        owner: new.owner,
        name: new.name,
        kind: new.kind,
        state: TokenState::Active,
        description: new.description,
        tags: new.tags,
        scopes: new.scopes,
        resource: new.resource,
        metadata: new.metadata,
        fragment,
        created_at: now,
        expires_at,
        last_used_at: None,
        revoked_at: None,
        revoked_by: None,
        revoke_reason: None,
    }
}

fn apply(row: &mut TokenRow, update: TokenUpdate) {
    row.name = update.name.unwrap_or(std::mem::take(&mut row.name));
    row.description = update.description.unwrap_or(row.description.take());
    row.tags = update.tags.unwrap_or(std::mem::take(&mut row.tags));
    row.scopes = update.scopes.unwrap_or(std::mem::take(&mut row.scopes));
    row.resource = update.resource.unwrap_or(row.resource.take());
    row.metadata = update.metadata.unwrap_or(std::mem::take(&mut row.metadata));
}

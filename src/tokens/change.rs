//! How a change of the catalogue is made: on the writer's thread, and coherent with the cache.

use std::sync::Arc;

use super::Tokens;
use super::delegate::Permit;
use super::edit::difference;
use crate::audit::{Act, Behalf, Deed};
use crate::cache::Cache;
use crate::error::{Error, ErrorKind};
use crate::store::{Catalogue, CommitError, Session, TokenRow, to_error};
use crate::timestamp::Timestamp;
use crate::token::{TokenId, TokenState};

/// What a change of the catalogue comes to.
pub(super) struct Changed<T> {
    pub(super) value: T,
    /// Whose authority changes with it.
    pub(super) tokens: Vec<TokenId>,
    pub(super) effect: Effect,
    /// What the book is to say of it.
    pub(super) deeds: Vec<Deed>,
    /// The token as it was, where it is edited.
    pub(super) before: Option<Box<TokenRow>>,
}

/// What a committed change does to the refusals in this process.
pub(super) enum Effect {
    Forgets(TokenId),
    Lifts(TokenId),
    None,
    Refuses(TokenId, TokenState),
    RefusesAll(Vec<TokenId>, TokenState),
}

impl<T> Changed<T> {
    pub(super) fn nothing(value: T) -> Self {
        Self::of(value, Vec::new())
    }

    pub(super) fn of(value: T, tokens: Vec<TokenId>) -> Self {
        Self { value, tokens, effect: Effect::None, deeds: Vec::new(), before: None }
    }

    /// With this token marked expired.
    pub(super) fn expiring(mut self, token: Option<TokenId>) -> Self {
        self.tokens.extend(token);
        self.deeds.extend(token.map(|token| Deed::of(Act::Expire, token)));
        self
    }

    pub(super) fn noting(mut self, deed: Deed) -> Self {
        self.deeds.push(deed);
        self
    }

    pub(super) fn with(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }
}

impl Tokens<'_> {
    /// Runs a change that refuses a token. The token is refused in this process before the change even
    /// begins, and stays so if it cannot be stored.
    pub(super) fn refuse<T: Send + 'static>(
        &self,
        id: TokenId,
        state: TokenState,
        work: impl FnOnce(&Catalogue<'_>) -> anyhow::Result<Changed<T>> + Send + 'static,
    ) -> Result<T, Error> {
        self.behalf.check()?;
        self.check_permit()?;
        let cache = &self.engine.cache;
        cache.refuse(id, state);
        let refuses = Effect::Refuses(id, state);
        match self.refusing(&[id]).change(move |catalogue| Ok(work(catalogue)?.with(refuses))) {
            Ok(value) => Ok(value),
            Err(error) if is_answer(&error) => {
                cache.refusal_withdrawn(id);
                Err(error)
            }
            Err(error) => {
                cache.refusal_failed(id);
                if error.kind() == ErrorKind::Closed {
                    return Err(error);
                }
                let message = "the refusal is in force here but not durable yet: repeat it";
                Err(Error::new(ErrorKind::NotDurable, message).with_source(error.into()))
            }
        }
    }

    /// Runs a change on the writer's thread. Its changes of authority are logged in its transaction, and
    /// applied in this process before the commit starts.
    pub(super) fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Catalogue<'_>) -> anyhow::Result<Changed<T>> + Send + 'static,
    ) -> Result<T, Error> {
        self.behalf.check()?;
        self.engine.queue.run(self.making(work))?.map_err(change_error)
    }

    /// The change as work for the writer's thread, whoever waits for it.
    pub(super) fn making<T, W>(
        &self,
        work: W,
    ) -> impl FnOnce(&mut Session) -> Result<T, CommitError> + Send + 'static + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Catalogue<'_>) -> anyhow::Result<Changed<T>> + Send + 'static,
    {
        let (cache, behalf) = (Arc::clone(&self.engine.cache), self.behalf.clone());
        let (permit, clock) = (self.permit.clone(), Arc::clone(&self.engine.clock));
        let now = self.engine.now();
        move |session| {
            make(session, &cache, &behalf, now, |catalogue| {
                permitted(catalogue, &cache, permit.as_ref(), clock.now().into(), work)
            })
        }
    }
}

/// One change, from its transaction to its effect. On the writer's thread, so that effects keep the order of
/// commits.
fn make<T>(
    session: &mut Session,
    cache: &Cache,
    behalf: &Behalf,
    now: Timestamp,
    work: impl FnOnce(&Catalogue<'_>) -> anyhow::Result<Changed<T>>,
) -> Result<T, CommitError> {
    let outcome = session.change(|catalogue| {
        let changed = work(catalogue)?;
        for token in &changed.tokens {
            catalogue.log_change(*token)?;
        }
        catalogue.enter(&changed.deeds, behalf, now)?;
        let generation = catalogue.generation()?;
        cache.apply(&changed.tokens, generation);
        Ok((changed, generation))
    });
    let (changed, generation) = outcome.inspect_err(|_| cache.failed())?;
    cache.committed();
    match changed.effect {
        Effect::Forgets(token) => cache.refusal_forgotten(token),
        Effect::Lifts(token) => cache.refusal_lifted(token, generation),
        Effect::None => {}
        Effect::Refuses(token, state) => cache.refusal_committed(token, state, generation),
        Effect::RefusesAll(tokens, state) => cache.refusals_committed(&tokens, state, generation),
    }
    Ok(changed.value)
}

/// The work of whoever may do it, at the time that it is done: as his token was before the work, which may change
/// that too.
fn permitted<T>(
    catalogue: &Catalogue<'_>,
    cache: &Cache,
    permit: Option<&Permit>,
    now: Timestamp,
    work: impl FnOnce(&Catalogue<'_>) -> anyhow::Result<Changed<T>>,
) -> anyhow::Result<Changed<T>> {
    let Some(permit) = permit else { return work(catalogue) };
    let actor = permit.actor(catalogue, cache, now)?;
    let changed = work(catalogue)?;
    actor.check(catalogue, &changed.deeds, changed.before.as_deref())?;
    Ok(changed)
}

fn change_error(error: CommitError) -> Error {
    match error {
        CommitError::RolledBack(error) => to_error(error),
        CommitError::Unknown(error) => {
            let message = "the change may be stored or not: repeat it";
            Error::new(ErrorKind::NotDurable, message).with_source(error)
        }
    }
}

/// Whether the catalogue answered, as against failed.
pub(super) fn is_answer(error: &Error) -> bool {
    use ErrorKind::{
        AlreadyExists, AlreadyRotated, Expired, Forbidden, InvalidInput, NotFound, Revoked,
    };
    matches!(
        error.kind(),
        AlreadyExists | AlreadyRotated | Expired | Forbidden | InvalidInput | NotFound | Revoked
    )
}

/// Reads a row, lets `edit` change it, and writes it back.
pub(super) fn edit(
    catalogue: &Catalogue<'_>,
    id: TokenId,
    now: Option<Timestamp>,
    act: Act,
    edit: impl FnOnce(&mut TokenRow),
) -> anyhow::Result<Changed<TokenRow>> {
    let mut row = catalogue.find_id(id)?.row.ok_or_else(not_found)?;
    if row.state == TokenState::Revoked {
        return Err(revoked().into());
    }
    let before = row.clone();
    edit(&mut row);
    let expired = free_name(catalogue, &row, now)?;
    catalogue.replace(&row)?;
    let deed = Deed::of(act, id).with(difference(&before, &row)?);
    let changed = Changed::of(row, vec![id]).expiring(expired).noting(deed);
    Ok(Changed { before: Some(Box::new(before)), ..changed })
}

/// Sees to it that the name of a living row is its own. A namesake past its expiry is marked so, which
/// frees the name, and returned; without a `now` that can be relied on, none is.
pub(super) fn free_name(
    catalogue: &Catalogue<'_>,
    row: &TokenRow,
    now: Option<Timestamp>,
) -> anyhow::Result<Option<TokenId>> {
    let living = matches!(row.state, TokenState::Active | TokenState::Suspended);
    let Some(namesake) = catalogue.living_namesake(&row.owner, &row.name)?.filter(|_| living)
    else {
        return Ok(None);
    };
    if namesake == row.id {
        return Ok(None);
    }
    let mut other = catalogue.find_id(namesake)?.row.ok_or_else(not_found)?;
    let is_past = |expires_at| now.is_some_and(|now| now >= expires_at);
    if !other.expires_at.is_some_and(is_past) {
        let message = "the `name` is taken by a living token of this owner";
        return Err(Error::new(ErrorKind::AlreadyExists, message).naming("name").into());
    }
    other.state = other.state.marked_expired();
    catalogue.replace(&other)?;
    Ok(Some(namesake))
}

pub(super) fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "no such token")
}

pub(super) fn revoked() -> Error {
    Error::new(ErrorKind::Revoked, "the token is revoked, and that is final")
}

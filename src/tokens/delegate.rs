//! Managing tokens in the name of a token's bearer: never more than that token may do itself.

use std::sync::Arc;

use super::Tokens;
use crate::audit::{Act, Behalf, Deed};
use crate::cache::Cache;
use crate::error::{Error, ErrorKind};
use crate::identity::Identity;
use crate::scope::any_covers;
use crate::store::{Catalogue, TokenRow, to_error};
use crate::timestamp::Timestamp;
use crate::token::{CredentialId, Phase, Standing, TokenId, TokenStatus};

/// With which token its bearer acts, and what that takes.
#[derive(Clone, Debug)]
pub(super) struct Permit {
    token: TokenId,
    /// The credential that was presented.
    credential: CredentialId,
    /// When it ends, by itself or with its token.
    ends_at: Option<Timestamp>,
    /// What the token must have.
    scope: Arc<str>,
    /// Whether the act refuses this very token, so that a refusal of it which is under way is its own.
    refuses_itself: bool,
}

/// The token that is acted with, as it is when the act is done.
pub(super) struct Actor {
    row: TokenRow,
    /// Whether the credential that was presented is on its way out, and the one after it used.
    is_replaced: bool,
}

impl Tokens<'_> {
    /// The same catalogue, in the name of a token's bearer, who must have the
    /// [management scope](crate::Builder::management_scope).
    ///
    /// * Every act and every question is checked against the bearer's token as it is then, in the transaction of the
    ///   act: one that is revoked, suspended, expired or has lost the management scope manages nothing any longer, nor does a
    ///   credential that is retired.
    /// * Nobody gives more than he has. A token that is issued or registered, and one that is updated, resumed or
    ///   rotated, before and after, has no scope that the bearer's does not cover, is at least as restricted, and
    ///   does not outlive it, nor a credential that is on its way out. Each token has its quota for
    ///   itself: two that have the bearer's do twice as much.
    /// * A credential that was rotated out cannot rotate its own token, once the one after it is used.
    /// * Tokens of all owners can be managed. One that has more than the bearer's can be shown, suspended and
    ///   revoked, and its owner not erased.
    ///
    /// The audit shows the bearer's token, and its owner as the actor unless [`Tokens::acting_as`] names somebody.
    /// Costs a look-up more for each call.
    ///
    /// ```
    /// # use token_tracker::{ErrorKind, NewToken, TokenTracker};
    /// # let tracker = TokenTracker::builder().in_memory()?;
    /// let manager = NewToken::opaque("alice", "manager").scopes(["tokens:manage", "items:*"]);
    /// let manager = tracker.tokens().issue(manager)?;
    ///
    /// let access = tracker.authenticate(&manager.secret)?;
    /// let tokens = tracker.tokens().on_behalf_of(access.identity())?;
    /// tokens.issue(NewToken::opaque("bob", "reader").scope("items:read"))?;
    /// let error = tokens.issue(NewToken::opaque("bob", "admin").scope("admin")).unwrap_err();
    /// assert_eq!((error.kind(), error.field()), (ErrorKind::Forbidden, Some("scopes")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Forbidden`, here and from every later call: without a field where the bearer's token is not good any longer
    /// or is in no catalogue, naming `scopes` where it lacks the management scope, and naming what of `scopes`,
    /// `restrictions` and `expires_at` would be more than it has.
    pub fn on_behalf_of(&self, identity: &Identity) -> Result<Self, Error> {
        if !identity.is_tracked() {
            return Err(forbidden("the token that is acted with is in no catalogue"));
        }
        let scope = Arc::clone(&self.engine.management_scope);
        if !identity.has_scope(&scope) {
            return Err(lacks_scope());
        }
        let (token, credential) = (identity.token_id(), identity.credential_id());
        let actor = self.behalf.actor.clone().or_else(|| Some(identity.owner().to_owned()));
        let behalf = Behalf { actor, token: Some(token), ..self.behalf.clone() };
        let ends_at = identity.grant.ends_at;
        let permit = Permit { token, credential, ends_at, scope, refuses_itself: false };
        Ok(Self { permit: Some(permit), ..self.for_reason(behalf) })
    }

    /// The same, to refuse tokens among which the bearer's own may be.
    pub(super) fn refusing(&self, tokens: &[TokenId]) -> Self {
        let refusing = |permit: Permit| {
            let refuses_itself = tokens.contains(&permit.token);
            Permit { refuses_itself, ..permit }
        };
        Self { permit: self.permit.clone().map(refusing), ..self.clone() }
    }

    /// The bearer's own token, if he acts with one.
    pub(super) fn own(&self) -> Option<TokenId> {
        self.permit.as_ref().map(|permit| permit.token)
    }

    /// Whether a bearer has all that others of these tokens have.
    pub(super) fn check_has(&self, tokens: &[TokenId]) -> Result<(), Error> {
        let Some(permit) = &self.permit else { return Ok(()) };
        let now = self.engine.now();
        let checked = self.engine.store.ask(|reader| {
            let catalogue = reader.catalogue();
            let actor = permit.actor(&catalogue, &self.engine.cache, now)?;
            for token in tokens.iter().filter(|token| **token != permit.token) {
                catalogue.find_id(*token)?.row.map_or(Ok(()), |row| actor.contains(&row))?;
            }
            Ok(())
        });
        checked.map_err(to_error)
    }

    /// The same, for what belongs to an act that was permitted and ended the bearer's own token.
    pub(super) fn permitted_before(&self) -> Self {
        Self { permit: None, ..self.clone() }
    }
}

impl Permit {
    /// The bearer's token, if he may manage tokens now. A refusal of it that is under way counts.
    pub(super) fn actor(
        &self,
        catalogue: &Catalogue<'_>,
        cache: &Cache,
        now: Timestamp,
    ) -> anyhow::Result<Actor> {
        // Before the row: as if that were older than it is, which refuses a moment longer and never too few.
        let generation = catalogue.generation()?;
        let found = catalogue.find_id(self.token)?;
        let refused = !self.refuses_itself && cache.refused(self.token, generation);
        let good = |row: &TokenRow| {
            let not_before = row.restrictions.not_before.map(Timestamp::from);
            row.status(now) == TokenStatus::Active
                && self.ends_at.is_none_or(|ends_at| now < ends_at)
                && not_before.is_none_or(|not_before| now >= not_before)
        };
        let dead =
            || forbidden("the token that is acted with is revoked, suspended, expired or replaced");
        let mut row = found.row.filter(|row| !refused && good(row)).ok_or_else(dead)?;
        let living = catalogue.living_credentials(self.token)?;
        let own = living.iter().find(|other| other.id == self.credential);
        let own = own.filter(|own| !own.is_over(now)).ok_or_else(dead)?;
        if !any_covers(&row.scopes, &self.scope) {
            return Err(lacks_scope().into());
        }
        row.expires_at = [row.expires_at, self.ends_at, own.ends_at()].into_iter().flatten().min();
        let is_current = |other: &Standing| other.phase == Phase::Current;
        let is_replaced = own.phase == Phase::Outgoing && living.iter().any(is_current);
        Ok(Actor { row, is_replaced })
    }
}

impl Actor {
    /// Whether what was done gives nobody more than the actor has, by the rows that it leaves behind, and by the one
    /// that it found.
    pub(super) fn check(
        &self,
        catalogue: &Catalogue<'_>,
        deeds: &[Deed],
        before: Option<&TokenRow>,
    ) -> anyhow::Result<()> {
        for deed in deeds.iter().filter(|deed| gives(deed.act)) {
            before.map_or(Ok(()), |row| self.contains(row))?;
            let is_own = deed.token == Some(self.row.id);
            if deed.act == Act::ResetQuota && is_own {
                return Err(forbidden("nobody gives himself more of his quota").into());
            }
            if deed.act == Act::Rotate && is_own && self.is_replaced {
                return Err(forbidden("the credential that is acted with was replaced").into());
            }
            if let Some(token) = deed.token
                && let Some(row) = catalogue.find_id(token)?.row
            {
                self.contains(&row)?;
            }
        }
        Ok(())
    }

    /// Whether a token may do nothing that the actor's may not.
    fn contains(&self, row: &TokenRow) -> Result<(), Error> {
        let actor = &self.row;
        let more = |field: &'static str| {
            let message = format!("the `{field}` would be more than the token acted with has");
            Err(forbidden(message).naming(field))
        };
        if !row.scopes.iter().all(|scope| any_covers(&actor.scopes, scope)) {
            return more("scopes");
        }
        if !row.restrictions.is_within(&actor.restrictions) {
            return more("restrictions");
        }
        let within = |end: Timestamp| row.expires_at.is_some_and(|expires_at| expires_at <= end);
        if actor.expires_at.is_some_and(|end| !within(end)) {
            return more("expires_at");
        }
        Ok(())
    }
}

/// Whether an act gives a token anything, or lets it go on.
fn gives(act: Act) -> bool {
    match act {
        Act::Adopt
        | Act::Issue
        | Act::Register
        | Act::ResetQuota
        | Act::Resume
        | Act::Rotate
        | Act::Update => true,
        Act::Erase | Act::Expire | Act::Remove | Act::Retire | Act::Revoke | Act::Suspend => false,
    }
}

fn forbidden(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Forbidden, message)
}

fn lacks_scope() -> Error {
    forbidden("the `scopes` of the token acted with do not have the management scope")
        .naming("scopes")
}

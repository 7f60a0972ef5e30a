//! From the text of a token to what the catalogue knows of it.

use std::sync::Arc;

use super::{Engine, Moment};
use crate::cache::Admission;
use crate::identity::Grant;
use crate::jwt::{Outside, Terms, VerifiedJwt};
use crate::live::Live;
use crate::policy::judge_token;
use crate::reason::DenialReason;
use crate::request::is_b64token;
use crate::store::{Authority, CredentialKey};
use crate::timestamp::Timestamp;
use crate::token::{Standing, TokenId, TokenKind, TokenState};

/// How often a look-up is repeated that a change of authority overtook. Twice is rare already.
const MAX_LOOK_UPS: u32 = 8;

/// What a token is found to be.
pub(super) enum Sight {
    /// Good, and to be taken into the catalogue first.
    Adoptable(Newcomer),
    /// In the catalogue, living or dead.
    Known(Arc<Grant>),
    /// Good without being in the catalogue.
    Passed(Grant),
    Stranger(DenialReason),
}

/// A token of an outside issuer whose signature is good, and that is in no catalogue.
pub(crate) struct Newcomer {
    pub(crate) issuer: String,
    pub(crate) token_id: Option<String>,
    pub(crate) subject: Option<String>,
    /// The name of the key that signed it, if it has one.
    pub(crate) kid: Option<String>,
    pub(crate) terms: Terms,
}

impl Engine {
    /// Verifies a token, and looks it up in the catalogue.
    pub(super) fn look_up(&self, token: &str, now: Moment) -> anyhow::Result<Sight> {
        if token.len() > self.max_token_length {
            return Ok(Sight::Stranger(DenialReason::TooLong));
        }
        let malformed = Sight::Stranger(DenialReason::Malformed);
        if !is_b64token(token) {
            return Ok(malformed);
        }
        let keys_replaced = self.cache.keys_replaced();
        if !token.contains('.') {
            let Some(hash) = self.opaque_prefix.parse(token) else { return Ok(malformed) };
            let found = self.find(&CredentialKey::Hash(hash), Terms::default(), keys_replaced)?;
            let unknown = |_| Sight::Stranger(DenialReason::UnknownToken);
            return Ok(found.map_or_else(unknown, Sight::Known));
        }
        let jwt = match self.issuers().verify(token, now.wall) {
            Ok(jwt) => jwt,
            Err(reason) => return Ok(Sight::Stranger(reason)),
        };
        let VerifiedJwt { issuer, token_id, subject, kid, outside, mut terms } = jwt;
        if let Some(jti) = token_id.clone() {
            let key = CredentialKey::Jwt { issuer: issuer.clone(), jti };
            match self.find(&key, terms, keys_replaced)? {
                Ok(grant) => return Ok(Sight::Known(grant)),
                Err(returned) => terms = returned,
            }
        }
        Ok(judge_newcomer(Newcomer { issuer, token_id, subject, kid, terms }, outside, now.wall))
    }

    /// What is granted to a credential, or its terms back where the catalogue does not have it.
    fn find(
        &self,
        key: &CredentialKey,
        mut terms: Terms,
        keys_replaced: u64,
    ) -> anyhow::Result<Result<Arc<Grant>, Terms>> {
        self.store.read(|reader| {
            for _ in 0..MAX_LOOK_UPS {
                let Some(found) = reader.catalogue().authority(key)? else {
                    return Ok(Err(terms));
                };
                let generation = found.generation;
                match self.cache.admit(self.grant(found, terms), generation, keys_replaced) {
                    Admission::Current(grant) => return Ok(Ok(grant)),
                    Admission::Outdated(grant) => terms = grant.terms,
                }
            }
            anyhow::bail!("the token changes faster than it can be looked up")
        })
    }

    /// What is granted by the catalogue. The kind is that of the token presented: a JWT is a legacy one where it
    /// lacks the mark.
    fn grant(&self, found: Authority, mut terms: Terms) -> Grant {
        let kind = match found.kind {
            TokenKind::Opaque => TokenKind::Opaque,
            _ if terms.marked => TokenKind::Jwt,
            _ => TokenKind::LegacyJwt,
        };
        let ends_at = match (found.expires_at, terms.expires_at) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        terms.audiences = self.lists.share(terms.audiences);
        let metered = found.restrictions.as_ref().is_some_and(|narrowed| narrowed.quota.is_some());
        Grant {
            id: found.id,
            owner: found.owner.into(),
            name: found.name.into(),
            kind,
            scopes: self.lists.share(found.scopes.into()),
            meter: metered.then(|| self.limiter.meter(found.id)),
            restrictions: found.restrictions.map(Box::new),
            expires_at: found.expires_at,
            ends_at,
            state: found.state,
            standing: found.standing,
            terms,
            live: Live::new(found.last_used_at),
        }
    }
}

/// What becomes of a newcomer by the rule for its issuer.
fn judge_newcomer(newcomer: Newcomer, outside: Option<Outside>, now: Timestamp) -> Sight {
    let Some(rule @ (Outside::Pass | Outside::Adopt { .. })) = outside else {
        return Sight::Stranger(DenialReason::UnknownToken);
    };
    let adopts = rule != Outside::Pass;
    let lacks_expiry =
        newcomer.terms.lacks_expiry || (adopts && newcomer.terms.expires_at.is_none());
    let lacks_name = adopts && (newcomer.token_id.is_none() || newcomer.subject.is_none());
    if lacks_expiry || lacks_name {
        return Sight::Stranger(DenialReason::MissingClaim);
    }
    let passed = passed(newcomer.subject.as_deref().unwrap_or_default(), newcomer.terms);
    match judge_token(&passed, now) {
        Err(reason) => Sight::Stranger(reason),
        Ok(()) if adopts => Sight::Adoptable(Newcomer { terms: passed.terms, ..newcomer }),
        Ok(()) => Sight::Passed(passed),
    }
}

/// What is granted to a token that goes by its own word alone.
fn passed(subject: &str, terms: Terms) -> Grant {
    Grant {
        id: TokenId::UNTRACKED,
        owner: subject.into(),
        name: "".into(),
        kind: TokenKind::Outside,
        scopes: Arc::clone(&terms.scopes),
        restrictions: None,
        meter: None,
        expires_at: terms.expires_at,
        ends_at: terms.expires_at,
        state: TokenState::Active,
        standing: Standing::UNTRACKED,
        terms,
        live: Live::new(None),
    }
}
